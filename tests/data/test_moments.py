"""Means and deviations of numbers far from 0, and what is kept of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlab.data.encoding.fitted_encoder import Encoder
from fmlab.data.encoding.moments import Moments
from fmlab.data.store.cache import cached_dataset
from fmlab.plugin.registry import build


@settings(deadline=None)
@given(
    st.sampled_from([(0, 1), (1.6e9, 40), (1.6e12, 1e-2), (-1e6, 1e-6), (1e-8, 1e-12), (1e15, 3), (5, 0)]),
    st.integers(1, 60),
    st.integers(0, 3),
)
def test_moments_do_not_depend_on_blocks_or_on_the_distance_from_0(shape, rows, missing) -> None:
    center, size = shape
    rng = np.random.default_rng(rows)
    data = center + size * rng.normal(size=(rows, 2))
    data[:missing, 1] = np.nan
    moments, blocks = Moments(2), np.array_split(data, np.sort(rng.integers(0, rows + 1, 3)))
    for block in blocks[::-1]:
        moments.add(block)
    for column in range(2):
        exact = data[:, column][~np.isnan(data[:, column])]
        if len(exact):
            low = exact.min()
            assert moments.mean[column] - low == pytest.approx((exact - low).mean(), rel=1e-9, abs=abs(center) * 1e-15)
            spread = np.abs(exact - low).max()
            assert moments.deviation[column] == pytest.approx((exact - low).std(), rel=1e-6, abs=1e-9 * spread)
            assert moments.varied[column] == (len(np.unique(exact)) > 1)


def made(path: Path, text: str, **options):
    path.write_text(text)
    source = build("data", {"name": "csv", "path": str(path), **options}, path.parent)
    return cached_dataset(source, name="csv", options=options, root=path.parent, cache=path.parent / "cache")


@pytest.mark.parametrize(("center", "step"), [(1.6e9, 1), (1.7e12, 1), (123456789, 0.001), (1e6, 1e-6), (0.5, 1e-9)])
def test_numbers_far_from_0_keep_their_differences(center, step, tmp_path: Path, caplog) -> None:
    numbers = [center + step * (n % 121) for n in range(400)]
    rows = "".join(f"{n % 2},s{n % 7},{x!r}\n" for n, x in enumerate(numbers))
    data = made(tmp_path / "t.csv", "y,site,x\n" + rows, label="y", categorical=["site"], numeric=["x"])
    column = [f.name for f in data.schema.fields].index("x")
    values = data.context.values[:, column]
    assert len(np.unique(values)) == 121
    assert float(values.std()) == pytest.approx(1, abs=1e-3)
    assert np.corrcoef(values, np.arange(400) % 121)[0, 1] > 0.999999
    assert "one number" not in caplog.text
    encoder = Encoder.of(data)
    import pyarrow as pa

    table = pa.RecordBatch.from_arrays(
        [
            pa.array(cells).dictionary_encode()
            for cells in ([f"s{n % 7}" for n in range(400)], list(map(repr, numbers)))
        ],
        names=["site", "x"],
    )
    assert encoder.encode(table, encoder.tallies()).values[:, column].tolist() == values.tolist()


def test_one_number_in_all_rows_is_said(tmp_path: Path, caplog) -> None:
    rows = "".join(f"{n % 2},s{n % 7},{0.1}\n" for n in range(400))
    made(tmp_path / "t.csv", "y,site,x\n" + rows, label="y", categorical=["site"], numeric=["x"])
    assert "x: one number in all training rows" in caplog.text


@pytest.mark.parametrize(
    ("center", "step", "kind"),
    [
        (1, 1, np.float32),
        (0.1, 0.5, np.float32),
        (1.6e9, 1, np.float64),
        (0.5, 1e-6, np.float64),
        (1e140, 1e139, np.float64),
    ],
)
def test_labels_are_as_wide_as_they_must_be(center, step, kind, tmp_path: Path) -> None:
    labels = [center + step * (n % 5) for n in range(50)]
    data = made(tmp_path / "t.csv", "y,u\n" + "".join(f"{y!r},{n % 7}\n" for n, y in enumerate(labels)), label="y")
    assert data.label.dtype == kind
    assert len(np.unique(data.label)) == 5
    if kind is np.float64:
        assert data.label.tolist() == labels

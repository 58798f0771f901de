"""Numbers of parameters as papers print them, on vocabularies of the size that they print."""

from typing import Any

import pytest
from fmlab_models.afm import AFM
from fmlab_models.dcn import DCN
from fmlab_models.deepfm import DeepFM
from fmlab_models.ffm import FFM
from fmlab_models.fm import FM
from fmlab_models.lorentzfm import LorentzFM
from fmlab_models.nfm import NFM
from fmlab_models.xdeepfm import XDeepFM

from fmlab.data import Field, Schema

# LorentzFM, table 3, in thousands. The number of features is a ninth of its own parameters. Its text gives a choice of
# layers for all models; the ones found here are those whose counts agree, on Avazu others than the text has.
CIN: dict[str, Any] = {"hidden": (400, 400), "cin_layer_sizes": (100,) * 4, "split_half": True}
AVAZU_CIN = CIN | {"hidden": (400, 400, 400)}
TABLE_3: dict[str, tuple[int, int, dict[Any, tuple[float, dict[str, Any]]]]] = {
    "steam": (
        12,
        46_100,
        {FM: (507, {}), NFM: (519, {}), DeepFM: (717, {}), XDeepFM: (865, CIN), DCN: (530, {}), LorentzFM: (415, {})},
    ),
    "movielens": (
        12,
        9_400,
        {FM: (103, {}), NFM: (115, {}), DeepFM: (313, {}), XDeepFM: (498, CIN), DCN: (126, {}), LorentzFM: (85, {})},
    ),
    "kkbox": (  # 7 + 6 = 13 fields, although its table 1 says 12
        13,
        38_200,
        {FM: (420, {}), NFM: (432, {}), DeepFM: (634, {}), XDeepFM: (808, CIN), DCN: (444, {}), LorentzFM: (344, {})},
    ),
    "avazu": (  # 11.24M of DCN are not explained by any layers of the text
        21,
        972_000,
        {
            FM: (10_680, {}),
            NFM: (11_360, {"hidden": (1024, 512, 256)}),
            DeepFM: (11_100, {"hidden": (400, 400, 400)}),
            XDeepFM: (11_460, AVAZU_CIN),
            LorentzFM: (8_750, {}),
        },
    ),
}


def wide(columns: int, features: int) -> Schema:
    """A field for each column, all features but a few in the last."""
    sizes = [1] * (columns - 1) + [features - columns + 1]
    return Schema(tuple(Field(f"f{n}", "context", size) for n, size in enumerate(sizes)))


def count(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("data", "model"), [(d, m) for d, (_, _, models) in TABLE_3.items() for m in models])
def test_lorentzfm_table_3_within_a_percent(data: str, model: Any) -> None:
    """DCN has a linear part there, xDeepFM has none but on Avazu: weights of all features more, or less, than ours."""
    columns, features, models = TABLE_3[data]
    printed, options = models[model]
    linear = {DCN: features, XDeepFM: 0 if data == "avazu" else -features}.get(model, 0)
    assert (count(model(wide(columns, features), dim=10, **options)) + linear) / 1000 == pytest.approx(
        printed, rel=0.01
    )


@pytest.mark.parametrize(
    ("model", "options", "printed"),
    [
        (FM, {}, 1.38),
        (NFM, {"hidden": (256,)}, 1.45),
        (AFM, {"attention_dim": 256}, 1.45),
        (DeepFM, {"hidden": (100,)}, 1.64),
    ],
)
def test_ifm_table_2_within_a_percent(model: Any, options: dict[str, Any], printed: float) -> None:
    """Frappe, in millions, vectors of 256; layers are those whose counts agree, the paper gives none."""
    assert count(model(wide(10, 5382), dim=256, **options)) / 1e6 == pytest.approx(printed, rel=0.01)


def test_ifm_table_2_counts_a_vector_of_ffm_for_a_features_own_field_too() -> None:
    """13.8M with F vectors a feature; they never meet on single-valued fields, and ours has F - 1 (FmFM, table 2)."""
    assert (count(FFM(wide(10, 5382), dim=256)) + 5382 * 256) / 1e6 == pytest.approx(13.8, rel=0.01)

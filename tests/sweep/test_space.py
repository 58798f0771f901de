import itertools

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from fmlab.config.overrides import override
from fmlab.errors import FmlabError
from fmlab.sweep.space_config import parse

CONDITIONAL = {
    "optimizer.lr": [
        {"choice": [0.05, 0.1, 0.2], "when": {"model": "lorentzfm"}},
        {"const": 0.001, "when": {"model": ["fm", "deepfm"]}},
    ],
    "model.hidden": {"choice": [[512, 256], [100, 100]], "when": {"model": "deepfm"}},
    "model": {"choice": ["lorentzfm", "fm", "deepfm"]},
    "batch_size": {"choice": [64, 128]},
}


def by_hand():
    for model in ("lorentzfm", "fm", "deepfm"):
        rates = (0.05, 0.1, 0.2) if model == "lorentzfm" else (0.001,)
        hidden = ([512, 256], [100, 100]) if model == "deepfm" else (None,)
        for lr, sizes, batch in itertools.product(rates, hidden, (64, 128)):
            point = {"model": model, "optimizer.lr": lr, "batch_size": batch}
            yield {**point, "model.hidden": sizes} if sizes else point


def key(overrides):
    return sorted(override(k, v) for k, v in overrides.items())


def test_a_conditional_grid_holds_each_point_that_makes_sense_once():
    space = parse(CONDITIONAL, {})
    points = [key(p.overrides) for p in space.grid()]
    assert sorted(points) == sorted(key(p) for p in by_hand())
    assert space.size() == len(points) == 12


def test_constants_are_set_but_not_searched():
    points = [p for p in parse(CONDITIONAL, {}).grid() if p.overrides["model"] == "fm"]
    assert all("optimizer.lr@fm|deepfm" not in p.params and p.overrides["optimizer.lr"] == 0.001 for p in points)


def test_a_given_override_takes_its_key_out_of_the_space():
    space = parse(CONDITIONAL, {"model": "lorentzfm"})
    assert space.size() == 6
    assert all(set(p.overrides) == {"optimizer.lr", "batch_size"} for p in space.grid())


def test_number_grids_include_both_ends_without_rounding_noise():
    space = parse({"a": {"float": [0, 0.5], "step": 0.1}, "b": {"int": [0, 3]}}, {})
    assert sorted({p.params["a"] for p in space.grid()}) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert sorted({p.params["b"] for p in space.grid()}) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"lr": {"chioce": [1]}}, "must hold one of choice, int, float, const"),
        ({"lr": {"choice": [1], "wen": {}}}, "did you mean 'when'"),
        ({"lr": {"float": [2, 1]}}, r"must be \[low, high\]"),
        ({"lr": {"float": [0, 1], "log": True}}, "lower bound above 0"),
        ({"lr": {"int": [0.5, 1]}}, r"must be \[low, high\]"),
        ({"lr": {"choice": [1, 1]}}, "must not repeat"),
        ({"lr": {"choice": [1], "when": {"modle": "fm"}}, "model": {"choice": ["fm"]}}, "did you mean 'model'"),
        ({"a": {"choice": [1], "when": {"b": 1}}, "b": {"choice": [1], "when": {"a": 1}}}, "circle"),
    ],
)
def test_a_mistake_in_a_space_is_named(raw, message):
    with pytest.raises(FmlabError, match=message):
        parse(raw, {})


def test_two_cases_of_one_key_may_not_hold_at_once():
    cases = [{"const": 1, "when": {"m": ["a", "b"]}}, {"const": 2, "when": {"m": "b"}}]
    with pytest.raises(FmlabError, match="only one case"):
        list(parse({"m": {"choice": ["a", "b"]}, "lr": cases}, {}).branches())


scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9).filter(lambda x: x == x)
words = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1)


@given(scalars | words | st.lists(scalars | words, max_size=3))
def test_hydra_reads_back_every_value_that_a_space_writes(value):
    assert OverridesParser.create().parse_override(override("a.b", value)).value() == value

"""The space over all models: who takes part, where options are searched, where each model starts."""

import pytest
from omegaconf import OmegaConf
from optuna.trial import create_trial

from fmlab.automl.portfolio import Entry, suited
from fmlab.config import composition
from fmlab.errors import FmlabError
from fmlab.plugin import registry
from fmlab.plugin.option import Option
from fmlab.plugin.signature import Signature
from fmlab.run.task_opening import open_task
from fmlab.sweep import automl as auto
from fmlab.sweep.launch import for_several_metrics
from fmlab.sweep.model_domains import inside
from fmlab.sweep.partial_epochs import on_all_rows, whole_passes
from fmlab.sweep.small_models import Sizes
from fmlab.sweep.space_config import parse
from fmlab.sweep.spec import read
from fmlab.sweep.suitable_models import suitable

RAW = {
    "budget": 100,
    "trial_time_fraction": 0.1,
    "fixed": {"data": "synthetic", "protocol": "full_ranking"},
    "auto": {
        "priority": ["mf", "ffm"],
        "initial_values": {"batch_size": 1024},
        "options": {"dim": {"int": [4, 64], "log": True}, "hidden": {"choice": [[7], [9]]}},
    },
    "space": {
        "optimizer.lr": [
            {"float": [0.02, 1.0], "log": True, "when": {"optimizer": "radagrad"}},
            {"float": [0.0001, 0.03], "log": True, "when": {"optimizer": "adam"}},
        ],
        "batch_size": {"choice": [256, 1024]},
    },
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    config = composition.compose(
        ["data=synthetic", "data.users=40", "data.items=30", "data.positives=6", f"cache_dir={cache}"], {}
    )
    return OmegaConf.to_container(OmegaConf.masked_copy(config, [k for k in config if k != "hydra"]), resolve=True)


@pytest.fixture
def some(monkeypatch):
    kept = ("mf", "deepfm", "lorentzfm", "cml", "itemknn", "broken")
    names = registry.names

    def listed(kind):
        return tuple(n for n in (*names(kind), "broken") if n in kept) if kind == "model" else names(kind)

    monkeypatch.setattr(registry, "names", listed)


@pytest.mark.usefixtures("some")
def test_every_model_that_suits_the_data_takes_part_and_starts_from_its_paper(plain):
    sweep = read("auto", auto.expand(RAW, plain))
    starts = {p["model"]: p for p in sweep.initial_points}
    assert list(starts) == ["mf", *sorted(set(starts) - {"mf"})]
    assert set(starts) == {"mf", "deepfm", "lorentzfm", "cml", "itemknn"}
    assert starts["lorentzfm"] == {
        "model": "lorentzfm",
        "model.dim": 10,
        "loss": "bce",
        "optimizer.lr": 0.2,
        "batch_size": 1024,
    }
    assert starts["deepfm"]["model.hidden"] == [400, 400]
    assert starts["deepfm"]["optimizer"] == "adam"
    branches = {}
    for point in sweep.space.branches():
        branches.setdefault(point.overrides["model"], []).append(point.overrides)
    assert {b["loss"] for b in branches["cml"]} == {"hinge"}
    (free,) = [p for p in sweep.space.parameters if p.key == "loss" and "mf" in p.when["model"]]
    assert set(free.domain.values) == {"bce", "bpr"}
    assert {b["optimizer"] for b in branches["lorentzfm"]} == {"radagrad"}
    assert "model.dim" not in branches["itemknn"][0]
    assert "model.hidden" not in branches["mf"][0]


@pytest.mark.usefixtures("some")
def test_models_of_other_packages_are_tried_before_the_rest(plain, monkeypatch):
    package = registry.package
    monkeypatch.setattr(registry, "package", lambda e: "acme" if e.name == "itemknn" else package(e))
    order = [p["model"] for p in read("auto", auto.expand(RAW, plain)).initial_points]
    assert order == ["mf", "itemknn", "cml", "deepfm", "lorentzfm"]


@pytest.mark.usefixtures("some")
def test_a_model_says_itself_where_its_options_are_searched(plain, monkeypatch):
    schema = registry.schema

    def said(kind, name):
        found = schema(kind, name)
        if (kind, name) != ("model", "mf"):
            return found
        return Signature(found.options, found.doc, found.defaults, found.positional, {"dim": {"choice": [3, 5]}})

    monkeypatch.setattr(registry, "schema", said)
    sweep = read("auto", auto.expand(RAW, plain))
    sizes = {p.overrides["model.dim"] for p in sweep.space.branches() if p.overrides["model"] == "mf"}
    assert sizes <= {3, 5, schema("model", "mf").options[0].default}
    wrong = Signature((Option("dim", int, 4),), space={"dimm": {"int": [1, 2]}})
    monkeypatch.setattr(registry, "schema", lambda k, n: wrong if (k, n) == ("model", "mf") else schema(k, n))
    with pytest.raises(FmlabError, match=r"'dimm'.*did you mean 'dim'"):
        auto.expand(RAW, plain)


def test_a_literal_space_is_read_from_source(tmp_path, monkeypatch):
    from fmlab.plugin import signature as signatures
    from fmlab.plugin.source import forget

    (tmp_path / "spaced.py").write_text(
        "class A:\n    space = {'n': {'int': [1, 3]}}\n    def __init__(self, schema, *, n: int = 2): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    assert signatures.of_source("spaced", "A").space == {"n": {"int": [1, 3]}}


@pytest.mark.usefixtures("some")
def test_first_trials_share_half_of_the_budget_and_later_ones_are_limited(plain):
    sweep = read("auto", auto.expand(RAW, plain))
    assert sum(sweep.time_limit(n) for n in range(len(sweep.initial_points))) == pytest.approx(50)
    assert sweep.time_limit(len(sweep.initial_points)) == pytest.approx(10)
    three = read("auto", {**auto.expand(RAW, plain), "workers": 3})
    assert sum(three.time_limit(n) for n in range(len(three.initial_points))) == pytest.approx(
        150
    )  # three run at a time
    assert three.time_limit(len(three.initial_points)) == pytest.approx(10)


@pytest.mark.usefixtures("some")
def test_models_that_are_not_trained_in_steps_have_no_batches(plain):
    """ItemKNN with another batch size would be the same trial again."""
    sweep = read("auto", auto.expand(RAW, plain))
    sizes = {p.params["model"]: "batch_size" in p.params for p in sweep.space.branches()}
    assert sizes == {"mf": True, "deepfm": True, "lorentzfm": True, "cml": True, "itemknn": False}


@pytest.mark.usefixtures("some")
def test_on_small_data_batches_are_smaller(plain):
    """So that 27 epochs are more than a few steps."""
    rows = len(open_task(plain).training.rows)
    sweep = read("auto", auto.expand({**RAW, "auto": {**RAW["auto"], "steps": rows // 70}}, plain))
    assert {p.params["batch_size"] for p in sweep.space.branches() if "batch_size" in p.params} == {64}
    assert {p["batch_size"] for p in sweep.initial_points if "batch_size" in p} == {64}
    with pytest.raises(FmlabError, match=r"auto\.steps must be a whole number"):
        auto.expand({**RAW, "auto": {**RAW["auto"], "steps": 0}}, plain)


@pytest.mark.usefixtures("some")
def test_of_large_data_an_epoch_is_a_part_which_a_refit_does_not_keep(plain):
    from fmlab.sweep.refit import _raw
    from fmlab.sweep.trial_overrides import lasting_overrides

    rows = len(open_task(plain).training.rows)
    for most, limit in ((rows // 4, True), (rows, False)):
        raw = {
            **RAW,
            "auto": {**RAW["auto"], "rows": most},
            "metric": "mrr",
            "direction": "maximize",
            "refit_seeds": [1],
        }
        sweep = read("auto", auto.expand(raw, plain))
        lasting = lasting_overrides(sweep, [], 1)
        assert [o.partition("=")[0] for o in lasting].count("trainer.limit_train_batches") == limit
    sweep = read("auto", {**auto.expand(raw, plain), "train_fraction": 0.25})
    assert "trainer.limit_train_batches=0.25" in lasting_overrides(sweep, [], 1)
    assert sweep.identity()["part"] == 0.25
    best = create_trial(value=1.0, user_attrs={"point": next(sweep.space.branches()).params})
    again = read("auto", _raw(sweep, best))
    assert not [o for o in lasting_overrides(again, [], 1) if "limit_train_batches" in o]
    with pytest.raises(FmlabError, match=r"auto\.rows must be a whole number"):
        auto.expand({**RAW, "auto": {"rows": 0}}, plain)


def test_a_schedule_with_an_end_has_as_many_passes_where_an_epoch_is_a_part():
    falls, stalls = {"scheduler": "cosine", "trainer.max_epochs": 8}, {"scheduler": "plateau", "trainer.max_epochs": 27}
    cases = [
        {"const": 27, "when": {"scheduler": "plateau"}},
        {"int": [2, 30], "log": True, "when": {"scheduler": "cosine"}},
        {"choice": [3, 9], "when": {"scheduler": ["cosine", "plateau"]}},
        {"choice": [3, 9], "when": {"scheduler": ["cosine"]}},
    ]
    space, points = whole_passes({"trainer.max_epochs": cases, "x": 1}, [falls, stalls, {"model": "ease"}], 0.4)
    assert points == [{**falls, "trainer.max_epochs": 20}, stalls, {"model": "ease"}]
    wanted = [cases[0], {**cases[1], "int": [5, 75]}, cases[2], {**cases[3], "choice": [8, 22]}]
    assert space == {"trainer.max_epochs": wanted, "x": 1}
    assert on_all_rows(points[0], 0.4) == falls
    assert on_all_rows(stalls, 0.4) == stalls
    assert whole_passes({"x": 1}, [falls], None) == ({"x": 1}, [falls])
    assert on_all_rows(falls, None) == falls


@pytest.mark.parametrize("name", [n for n in registry.names("model") if registry.schema("model", n).space])
def test_what_a_shipped_model_declares_are_options_of_it_around_their_defaults(name):
    signature = registry.schema("model", name)
    defaults = {o.name: o.default for o in signature.options}
    for option, spec in signature.space.items():
        start = list(defaults[option]) if isinstance(defaults[option], tuple) else defaults[option]
        assert inside(spec, start) == start
        parse({f"model.{option}": spec}, {})


DECAYS = ("weight_decay", "embedding_decay")
PORTFOLIO = {
    "portfolio": True,
    "presets": {
        "some": {"all_models": False, "budget": "5m", "refit_seeds": []},
        "few": {"all_models": False, "portfolio": 5, "budget": "1m", "refit_seeds": []},
        "all": {"all_models": True, "budget": "1h", "refit_seeds": [1]},
    },
}


@pytest.mark.usefixtures("some")
def test_points_that_did_well_before_are_tried_first(plain):
    raw = {**RAW, "budget": None, "refit_seeds": None, "auto": {**RAW["auto"], **PORTFOLIO}}
    sweep = read("auto", auto.expand(raw, plain))
    order = [p["model"] for p in sweep.initial_points]
    known = ["itemknn", "itemknn", "mf", "lorentzfm", "cml"]
    assert order == known, "those of conf/portfolio.json that are there, in its order"
    assert sweep.initial_points[2]["model.dim"] == 64
    assert sweep.initial_points[2]["loss"] == "bpr"
    assert (sweep.budget, sweep.settings.refit_seeds) == (300, ())
    for preset, models, budget in (("few", {"itemknn"}, 60), ("all", {*order, "deepfm"}, 3600)):
        found = read("auto", auto.expand({**raw, "preset": preset}, plain))
        assert {p["model"] for p in found.initial_points} == models
        assert found.budget == budget
    assert read("auto", auto.expand({**raw, "preset": "all", "budget": 7}, plain)).budget == 7
    with pytest.raises(FmlabError, match=r"preset must be one of.*did you mean 'few'"):
        auto.expand({**raw, "preset": "feww"}, plain)


def test_a_weight_decay_of_a_first_point_is_that_of_its_tables_too(plain, monkeypatch):
    """As in a run, where embedding_decay is weight_decay unless it is named; an initial value is for other points."""
    points = [{"optimizer.weight_decay": 1e-4}, {"optimizer.weight_decay": 1e-4, "optimizer.embedding_decay": 0.01}, {}]
    entries = [Entry({"model": "mf", "optimizer": "adam", **point}, "here") for point in points]
    monkeypatch.setattr(auto, "entries", lambda *_: entries)
    space = {f"optimizer.{name}": {"float": [1e-8, 0.1], "when": {"optimizer": "adam"}} for name in DECAYS}
    usual = {"initial_values": {f"optimizer.{name}": 1e-6 for name in DECAYS}}
    raw = {**RAW, "budget": None, "space": space, "auto": {**RAW["auto"], **PORTFOLIO, **usual}}
    starts = auto.expand(raw, plain)["initial_points"][:3]
    found = [tuple(p[f"optimizer.{name}"] for name in DECAYS) for p in starts]
    assert found == [(1e-4, 1e-4), (1e-4, 0.01), (1e-6, 1e-6)]


def test_first_points_of_a_model_suit_the_size_of_the_data(plain):
    """The penalty of iALS grows with the number of items, so that its weight falls with it."""
    task = open_task(plain)
    rows = len(task.training.rows)
    point = {"model": "ials", "model.unobserved_weight": 0.1}
    found = suited(point, task)
    assert found == {**point, "model.l2": pytest.approx(4 / (0.1 * 30 + rows / 40), rel=0.05)}
    assert suited({**point, "model.l2": 0.5}, task)["model.l2"] == 0.5
    assert suited({"model": "mf", "model.dim": 3}, task) == {"model": "mf", "model.dim": 3}
    starts = auto.expand({**RAW, "budget": None, "auto": {**RAW["auto"], **PORTFOLIO}}, plain)["initial_points"]
    weights = {p["model.unobserved_weight"]: p["model.l2"] for p in starts if p["model"] == "ials"}
    assert weights == {a: pytest.approx(min(0.3, 4 / (a * 30 + rows / 40)), rel=0.05) for a in (0.03, 0.1, 0.3)}


def test_what_is_solved_for_longer_than_a_trial_may_take_comes_last(plain, monkeypatch):
    """Nothing can cut it, so that it would keep what ends from being tried."""
    orders = []
    for rate in (30**3 / 10 + 1, 30**3 / 10 - 1):  # EASE of 30 items, and trials of 10 s
        monkeypatch.setattr("fmlab.automl.portfolio.OPERATIONS", rate)
        starts = auto.expand({**RAW, "auto": {**RAW["auto"], **PORTFOLIO}}, plain)["initial_points"]
        orders.append([p["model"] for p in starts])
    ease = orders[0].count("ease")
    assert orders[0][-1] != "ease"
    assert orders[1] == [*(m for m in orders[0] if m != "ease"), *["ease"] * ease]
    assert ease > 1


@pytest.mark.usefixtures("some")
def test_models_are_left_out_by_name(plain):
    why = {}
    found = auto.expand({**RAW, "exclude_models": ["mf"]}, plain, why)
    assert "mf" not in read("auto", found).space.parameters[0].domain.values
    assert why["mf"] == "exclude_models leaves it out"
    assert all(point["model"] != "mf" for point in found["initial_points"])
    with pytest.raises(FmlabError, match="exclude_models must hold names of models, got 'mff'; did you mean"):
        auto.expand({**RAW, "exclude_models": ["mff"]}, plain)


def test_first_points_are_those_of_what_is_typed_each_once():
    model, rate = {"choice": ["fm", "mf"]}, {"float": [0.001, 0.1]}
    points = [
        {"model": "fm", "optimizer.lr": 0.01, "batch_size": 64},
        {"model": "fm", "optimizer.lr": 0.01, "batch_size": 256},
        {"model": "mf", "optimizer.lr": 0.02, "batch_size": 64},
    ]
    space = {"model": model, "optimizer.lr": rate, "batch_size": {"choice": [64, 256]}}
    raw = {"space": space, "initial_points": points, "n_trials": 3}
    assert [dict(p) for p in read("s", raw).initial_points] == points
    assert [dict(p) for p in read("s", raw, {"model": "fm"}).initial_points] == points[:2]
    assert [dict(p) for p in read("s", raw, {"batch_size": "64"}).initial_points] == [points[0], points[2]]


def test_every_point_of_the_portfolio_can_be_composed():
    """Names, options and types; each list begins with other models than it ends with."""
    from fmlab.automl.portfolio import KINDS, entries
    from fmlab.config.overrides import override

    for kind in KINDS:
        points = [e.point for e in entries(kind)]
        assert len({repr(p) for p in points}) == len(points) >= 8
        assert all(e.source for e in entries(kind))
        for point in points:
            registry.check("model", {"name": point["model"], **_options_of(point)})
    composition.compose([override(k, v) for k, v in entries("classes")[3].point.items()], {})


def _options_of(point):
    return {k.removeprefix("model."): v for k, v in point.items() if k.startswith("model.")}


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize(("labels", "loss"), [((0, 1), "bce"), ((1, 2, 3), "squared")])
def test_labeled_rows_are_trained_on_by_a_loss_of_rows(tmp_path, labels, loss):
    """The usual loss of `protocol=composed` compares items, which labeled rows do not have."""
    rows = [f"{n % 20},{n % 15},{labels[n % len(labels)]}" for n in range(200)]
    (tmp_path / "rows.csv").write_text("user,item,y\n" + "\n".join(rows))
    named = ["data=csv", f"data.path={tmp_path / 'rows.csv'}", "data.user=user", "data.item=item", "data.label=y"]
    named += ["protocol=composed", "protocol.evaluation=rows", "protocol.split=random", f"cache_dir={tmp_path}"]
    config = composition.compose(named, {})
    options = OmegaConf.to_container(OmegaConf.masked_copy(config, [k for k in config if k != "hydra"]), resolve=True)
    fits, _ = suitable(open_task(options), options)
    assert {name: fits[name].loss for name in ("mf", "deepfm", "lorentzfm")} == dict.fromkeys(
        ("mf", "deepfm", "lorentzfm"), loss
    )


SMALL = {
    "options": {"dim": {"int": [2, 64], "log": True}, "hidden": {"choice": [[3], [9]]}},
    "space": {
        "table": {"choice": ["full", "qr", "hashed"]},
        "table.collisions": {"choice": [2, 4], "when": {"table": "qr"}},
    },
    "tables": [{"table": "qr", "table.collisions": 4}],
}


def _small(**more):
    return {**RAW, "auto": {**RAW["auto"], **PORTFOLIO, "small": SMALL}, **more}


def _size(sizes, point):
    found = sizes.of(point)
    assert found is not None
    return found


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize(("most", "table"), [(2000, "full"), (140, "qr")])
def test_points_that_are_too_large_are_made_small_and_the_log_says_so(plain, caplog, most, table):
    """Vectors get narrower first; tables share rows where that does not suffice."""
    why = {}
    with caplog.at_level("INFO", "fmlab"):
        sweep = read("auto", auto.expand(_small(max_parameters=most, preset="all"), plain, why))
    sizes = Sizes(plain, open_task(plain), {})
    assert sweep.initial_points
    assert all(_size(sizes, p) <= most for p in sweep.initial_points)
    mf = next(p for p in sweep.initial_points if p["model"] == "mf")
    assert mf["table"] == table
    assert mf["model.dim"] < 64
    assert f"max_parameters={most:,}: mf starts with {sizes.of(mf):,} parameters in place of" in caplog.text
    assert "no parameters, by which sizes are compared" in why["itemknn"]
    assert ("parameters at least, more than max_parameters=140" in why.get("deepfm", "")) == (most == 140)
    high = next(p.domain.high for p in sweep.space.parameters if p.key == "model.dim" and "mf" in p.when["model"])
    smallest = {**mf, "table": "qr", "table.collisions": 4}
    assert _size(sizes, {**smallest, "model.dim": high}) <= most < _size(sizes, {**smallest, "model.dim": high + 60})


@pytest.mark.usefixtures("some")
def test_tables_are_searched_for_the_models_that_take_them_and_only_for_small_models(plain):
    keys = {p.key for p in read("auto", auto.expand(_small(), plain)).space.parameters}
    assert not any(key.startswith("table") for key in keys)
    for more in ({"max_parameters": 10**6}, {"metric": ["mrr", "parameters"], "direction": ["maximize", "minimize"]}):
        sweep = read("auto", auto.expand(_small(preset="all", refit_seeds=[], **more), plain))
        tables = {}
        for point in sweep.space.branches():
            tables.setdefault(point.overrides["model"], set()).add(point.overrides.get("table"))
        assert tables["deepfm"] == {"full", "qr", "hashed"}
        assert tables["lorentzfm"] == {"full", "hashed"}, "points of curved spaces cannot be made of several rows"
        assert all(p["table"] == "full" for p in sweep.initial_points)
    by_bytes = _small(preset="all", refit_seeds=[], metric=["mrr", "bytes"], direction=["maximize", "minimize"])
    models = {p["model"]: "table" in p for p in read("auto", auto.expand(by_bytes, plain)).initial_points}
    assert models == {"mf": True, "deepfm": True, "lorentzfm": True, "cml": True, "itemknn": False}


@pytest.mark.usefixtures("some")
def test_what_is_typed_counts_for_the_size(plain):
    """A typed option is that of every trial: other options give way to it, and typed tables stay."""
    typed = {"model": "deepfm", "model.dim": "8", "table": "qr"}
    config = {**plain, "table": {"name": "qr"}}
    why = {}
    sweep = read("auto", auto.expand(_small(max_parameters=1200, preset="all"), config, why, typed), typed)
    assert "deepfm" not in why
    sizes = Sizes(config, open_task(plain), {"model.dim": 8, "table": "qr"})
    (point,) = [p for p in sweep.initial_points if p["model"] == "deepfm"]
    assert _size(sizes, point) <= 1200 < _size(sizes, {**point, "model.hidden": [400, 400]})


@pytest.mark.usefixtures("some")
def test_a_limit_that_no_model_keeps_is_refused(plain):
    with pytest.raises(FmlabError, match=r"max_parameters must leave a model, got 5: .* parameters at least"):
        auto.expand(_small(max_parameters=5), plain)


def test_sizes_count_the_fields_that_target_statistics_add(tmp_path):
    rows = [f"{n % 20},{n % 15},{n % 2}" for n in range(400)]
    (tmp_path / "rows.csv").write_text("user,item,y\n" + "\n".join(rows))
    named = ["data=csv", f"data.path={tmp_path / 'rows.csv'}", "data.user=user", "data.item=item", "data.label=y"]
    config = composition.compose([*named, "protocol=ctr", f"cache_dir={tmp_path}"], {})
    options = OmegaConf.to_container(OmegaConf.masked_copy(config, [k for k in config if k != "hydra"]), resolve=True)
    sizes = Sizes(options, open_task(options), {})
    plain, wide = ({"model": "lr", "target_statistics": s} for s in ([], ["user", "user*item"]))
    assert _size(sizes, wide) - _size(sizes, plain) == 2 * 129


@pytest.mark.parametrize("repeats", [True, False])
def test_what_repeats_another_field_is_left_out_by_some_points(repeats, tmp_path):
    """The first network is tried with and without it; where nothing repeats another field, no point says anything."""
    rows = [f"{n % 200},{n % 200 // (1 if repeats else 20)},{n % 15},{n % 2}" for n in range(4000)]
    (tmp_path / "rows.csv").write_text("user,zip,item,y\n" + "\n".join(rows))
    named = ["data=csv", f"data.path={tmp_path / 'rows.csv'}", "data.user=user", "data.item=item", "data.label=y"]
    config = composition.compose([*named, "data.categorical=[zip]", "protocol=ctr", f"cache_dir={tmp_path}"], {})
    options = OmegaConf.to_container(OmegaConf.masked_copy(config, [k for k in config if k != "hydra"]), resolve=True)
    expanded = auto.expand({"auto": {"portfolio": True}, "metric": "auc"}, options)
    first = [p.get("ignored_fields") for p in expanded["initial_points"] if p["model"] == "fwfm"]
    assert first[:2] == (["auto", []] if repeats else [None, None])
    assert ("ignored_fields" in expanded["space"]) == repeats


def test_a_search_with_several_metrics_needs_no_further_options():
    """What its file says for one metric is left out, unless it is typed: then it is refused, as in any sweep."""
    raw = {"auto": {"portfolio": True}, "metric": ["auc", "parameters"], "direction": ["maximize", "minimize"]}
    raw |= {"pruner": "hyperband", "racing": True, "ensemble": True, "refit_seeds": [1], "n_trials": 3}
    raw |= {"space": {"model.dim": {"int": [1, 3]}}}
    found = {**raw, **for_several_metrics(raw, {"workers"})}
    sweep = read("s", {k: v for k, v in found.items() if k != "auto"})
    assert (sweep.pruner, sweep.settings.racing, sweep.settings.ensemble) == ("none", False, False)
    assert for_several_metrics({**raw, "metric": "auc"}, {}) == {}
    assert for_several_metrics({**raw, "auto": None}, {}) == {}
    typed = {k: v for k, v in {**raw, **for_several_metrics(raw, {"racing"})}.items() if k != "auto"}
    with pytest.raises(FmlabError, match="racing needs one metric"):
        read("s", typed)

"""The benchmarks run at toy size and say what they measured; nothing is asserted about speed."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import automl, automl_data, automl_ranker
from benchmarks.__main__ import NAMES, main
from benchmarks.harness import Figures, Note, Setting, Spread, Target, compare, in_turn
from benchmarks.plain import FM, LorentzFM
from benchmarks.shapes import TOY_COUNTS, WIDE, InteractionCounts, interactions, zipf
from fmlab.run.file_evaluation import evaluate


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(seconds=0, toy=False, folder=tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_prints_a_table_or_says_why_not(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    assert main([name, "--toy", "--models", "lr,lorentzfm,fmfm", "--json", str(file)]) == 0
    results = json.loads(file.read_text())["results"][name]
    assert results
    for line in results:
        if "note" in line:
            assert "pip install" in line["note"]
            continue
        assert line["rounds"] == 1
        assert 0 < line["value"]["median"] < math.inf
        assert line["target"] or line["met"] is None
    assert f"{name}: " in capsys.readouterr().out


@pytest.mark.slow
def test_automl_judges_programs_on_three_kinds_of_data(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = ["automl", "--toy", "--models", "lightgbm,popularity", "--folder", str(tmp_path), "--json", str(file)]
    assert main(command) == 0
    lines = [line for line in json.loads(file.read_text())["results"]["automl"] if "values" in line]
    assert {line["shape"] for line in lines} == {"toy-clicks, clicks", "toy-ratings, ratings", "toy-rankings, rankings"}
    for line in lines:
        again = line["side"].endswith("(refit)")
        assert line["values"]["trained on"] == ("train+valid" if again else "train")
        found = [v for name, v in line["values"].items() if name.startswith("test ")]
        assert len(found) == 2
        assert all(0 < v < 1 for v in found)
    # fmlab's search reads the files of the split: lists have the same figures there as on the raw data.
    split = automl_data.split("toy-rankings", tmp_path)
    lists = split.folder / "popularity-20s" / "test.csv"
    own = json.loads((evaluate(lists, *split.options, out=tmp_path / "own") / "metrics.json").read_text())["test"]
    (judged,) = [line["values"] for line in lines if line["side"] == "popularity"]
    assert own == {name: judged[f"test {name}"] for name in ("ndcg@10", "recall@20")}


def test_what_automl_has_finished_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(seconds=20, toy=True, folder=tmp_path, models=("popularity",), data=("toy-rankings",))
    (first,) = automl.run(setting)
    monkeypatch.setattr(automl, "_child", None)  # nothing runs again
    (second,) = automl.run(setting)
    assert first == second


def test_automl_refuses_an_unknown_data_set(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="got 'frapp'; choices: frappe"):
        main(["automl", "--data", "frapp"])


@pytest.mark.slow
def test_figures_of_a_search_of_fmlab_are_those_of_its_own_run(tmp_path: Path) -> None:
    setting = Setting(seconds=10, toy=True, folder=tmp_path, models=("fmlab",), data=("toy-clicks",))
    (results,) = automl.run(setting)
    values = next(r.values for r in results if isinstance(r, Figures) and r.side == "fmlab")
    (chosen,) = [r.text.rpartition(" ")[2] for r in results if isinstance(r, Note) and "fmlab chose" in r.text]
    record = json.loads((tmp_path / "toy-clicks" / "fmlab-10s" / "search" / chosen / "metrics.json").read_text())
    for part, name in (("validation", "valid"), ("test", "test")):
        assert record[part] == pytest.approx({m: values[f"{name} {m}"] for m in ("auc", "logloss")}, rel=1e-6)


def test_rankers_choose_by_the_ndcg_that_judges_them(tmp_path: Path) -> None:
    split = automl_data.split("toy-rankings", tmp_path)
    pairs, rng = automl_ranker.Pairs(split.folder), np.random.default_rng(0)

    def lists(users: np.ndarray, count: int) -> pd.DataFrame:
        met = {*zip(pairs.train.user, pairs.train["item"], strict=True)}
        rows = [(u, i, rng.random()) for u in users for i in range(len(pairs.items)) if (u, i) not in met]
        ranked = pd.DataFrame(rows, columns=["user", "item", "score"]).sort_values(
            ["user", "score"], ascending=[True, False]
        )
        return ranked.groupby("user").head(count)

    found = lists(np.unique(pairs.valid.user), 20)
    pairs.named(found).to_csv(tmp_path / "lists.csv", index=False)
    judged = evaluate(tmp_path / "lists.csv", *split.judge, out=tmp_path / "own", validation=tmp_path / "lists.csv")
    figure = json.loads((judged / "metrics.json").read_text())["validation"]["ndcg@10"]
    assert automl_ranker.ndcg(found, pairs.valid) == pytest.approx(figure, rel=1e-6)


def test_a_trial_that_fails_is_lost_and_not_the_search(tmp_path: Path) -> None:
    """As a program's factors are no numbers under some options, beside one that works."""
    pairs = automl_ranker.Pairs(automl_data.split("toy-rankings", tmp_path).folder)

    def broken(rows: pd.DataFrame, options: object) -> object:
        raise ValueError("NaN encountered in factors")

    usual = automl_ranker.popularity(pairs, 1, tmp_path)[0]
    families = {"broken": (broken, lambda rng: {}), "popular": (lambda rows, options: usual, lambda rng: {})}
    name, _, model, tried = automl_ranker.search(families, pairs, 0.2, np.random.default_rng(0))
    assert (name, model) == ("popular", usual)
    assert tried >= 2
    with pytest.raises(SystemExit, match="trials failed"):
        automl_ranker.search({"broken": families["broken"]}, pairs, 0.1, np.random.default_rng(0))


def test_an_unknown_benchmark_is_named_with_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["trainig"])
    assert "choices: training, ranking" in capsys.readouterr().err


def test_sides_take_turns(setting: Setting) -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    values = in_turn({"a": lambda: side("a"), "b": lambda: side("b")}, setting, least=3)
    assert "".join(order) == "ababab"
    assert values == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_a_ratio_is_taken_within_a_round_and_above_one_is_better(setting: Setting) -> None:
    reference, mine = iter([1.0, 10.0, 100.0]), iter([2.0, 40.0, 300.0])
    sides = {"reference": lambda: next(reference), "mine": lambda: next(mine)}
    line = compare("s", sides, setting, unit="rows/s", more=True, reference="reference")[1]
    assert line.ratio == Spread(3.0, 2.0, 4.0)
    slow, fast = iter([8.0, 8.0, 8.0]), iter([2.0, 2.0, 2.0])
    sides = {"slow": lambda: next(slow), "fast": lambda: next(fast)}
    line = compare("s", sides, setting, unit="s", more=False, reference="slow")[1]
    assert line.ratio == Spread(4.0, 4.0, 4.0)


def test_a_missed_target_is_called_missed() -> None:
    assert Target(ratio=5).judge(1.0, 4.9, more=True) == ("ratio >= 5", False)
    assert Target(ratio=5).judge(1.0, 5.0, more=True) == ("ratio >= 5", True)
    assert Target(value=0.8).judge(0.9, None, more=False) == ("<= 0.8", False)
    assert Target(value=0.8).judge(0.9, None, more=True) == (">= 0.8", True)


def test_zipf_draws_fall_off_as_one_over_the_rank() -> None:
    counts = np.sort(np.bincount(zipf(np.random.default_rng(0), 1000, 200_000), minlength=1000))[::-1]
    assert len(counts) == 1000
    # The first decade of ranks has as many draws as the second: log(11) - log(1) against log(101) - log(11).
    assert counts[:10].sum() / counts[10:100].sum() == pytest.approx(math.log(11) / math.log(101 / 11), rel=0.05)


def test_the_wide_shape_has_the_features_it_claims() -> None:
    assert (len(WIDE.vocabularies), sum(WIDE.vocabularies)) == (23, 1_544_257)


@pytest.mark.parametrize("size", [TOY_COUNTS, InteractionCounts(300, 200, 6000)])
def test_interactions_are_distinct_pairs_that_leave_items_to_sample(size: InteractionCounts) -> None:
    data = interactions(size)
    assert data.user is not None
    assert data.item is not None
    assert data.rows == size.positives == len({*zip(data.user.tolist(), data.item.tolist(), strict=True)})
    assert data.schema.n_columns == 12
    met = np.bincount(data.user, minlength=size.users)
    assert met.min() > 0
    assert met.max() < size.items * 0.9


def test_the_plain_models_sum_over_all_pairs() -> None:
    torch.manual_seed(0)
    ids = torch.tensor([[0, 3, 5], [1, 3, 4]])
    fm, lorentz = FM(6, 4), LorentzFM(6, 4, 3)
    with torch.no_grad():
        scores = fm(ids).tolist(), lorentz(ids).tolist()
        tables = [w.weight.double().numpy() for w in (fm.embedding, lorentz.embedding)]
    for row, of_fm, of_lorentz in zip(ids.numpy(), *scores, strict=True):
        inner = distances = 0.0
        for i, j in ((0, 1), (0, 2), (1, 2)):
            inner += tables[0][row[i]] @ tables[0][row[j]]
            u, v = tables[1][row[i]], tables[1][row[j]]
            u0, v0 = math.sqrt(1 + u @ u), math.sqrt(1 + v @ v)
            distances += (1 - (u @ v - u0 * v0) - u0 - v0) / (u0 * v0)
        assert of_fm == pytest.approx(inner, rel=1e-4)
        assert of_lorentz == pytest.approx(distances, abs=1e-6)


def test_the_portfolio_begins_with_what_improves_most_and_reads_kept_runs(tmp_path: Path) -> None:
    from benchmarks.portfolio import cover, reached, read

    table = {"a": {"x": 0.9, "y": 0.5, "z": 0.6}, "b": {"x": 0.8, "y": 0.9, "z": 0.1}, "c": {"z": 0.4, "y": 0.3}}
    assert cover(table) == ["x", "z", "y"], "x has 1 and .875 and nothing of c, z then all of c, y the rest of b"
    assert reached(table["b"], ["x", "z"]) == pytest.approx(0.8 / 0.9)
    assert reached({"x": -0.2, "y": -0.4}, ["y"]) == pytest.approx(0.5)
    record = {
        **{"status": "complete", "data": "d", "protocol": "ctr", "fingerprint": "0123456789", "model": "fm"},
        **{"monitor": "logloss", "maximize": False, "validation": {"logloss": 0.3}, "test": {"logloss": 0.4}},
    }
    run = tmp_path / "trials" / "0000"
    run.mkdir(parents=True)
    (run / "metrics.json").write_text(json.dumps(record))
    (run / "config.yaml").write_text("model: {name: fm, dim: 3}\noptimizer: {name: adam}\nbatch_size: 64\n")
    (point,) = read(tmp_path)["classes"]["d, ctr, 01234567"].items()
    assert json.loads(point[0]) == {"model": "fm", "model.dim": 3, "optimizer": "adam", "batch_size": 64}
    assert point[1] == -0.3
    more = "scheduler: {name: cosine, warmup: 1.0}\ntrainer: {max_epochs: 19, limit_train_batches: 0.4229}\n"
    (run / "config.yaml").write_text("model: {name: fm}\noptimizer: {name: adam}\nbatch_size: 64\n" + more)
    passes = [json.loads(p) for p in read(tmp_path)["classes"]["d, ctr, 01234567"]]
    assert [(p["scheduler"], p["trainer.max_epochs"]) for p in passes] == [("cosine", 8)]

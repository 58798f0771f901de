"""`fmlab report` end to end: tests against oracles, printed figures, every format, a page that fetches nothing."""

import csv
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from run_folders import make_run

from fmlab.cli.report import main
from fmlab.errors import FmlabError, StorageError
from fmlab.report import tables as sheets
from fmlab.report.formats import latex
from fmlab.report.page_style import SCRIPT


def said(capsys, *arguments):
    assert main([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


@pytest.fixture
def three(tmp_path):
    """Three rows of one seed: the first far better than the second, which is as good as the third."""
    rng = np.random.default_rng(0)
    base = rng.uniform(size=300)
    units = {"best": base + 0.5, "fm": base, "lr": base + rng.normal(0, 0.3, 300)}
    for model, values in units.items():
        make_run(tmp_path / model, {"model.name": model}, test=values.mean(), units=values)
    return tmp_path, units


def recipe(folder, model, seeds, rng, shift=0.0, of_seeds=0.01, cases=400, **content):
    """Runs that differ in the seed; the cases' noise of a difference is a tenth of that of the seeds."""
    base = np.random.default_rng(99).normal(0.5, 0.2, cases)
    for seed in range(seeds):
        units = base + shift + rng.normal(0, of_seeds) + rng.normal(0, 0.1 * of_seeds * math.sqrt(cases), cases)
        make_run(
            folder / f"{model}-{seed}", {"model.name": model, "seed": seed}, test=units.mean(), units=units, **content
        )


def figures(capsys, *arguments):
    lines = csv.DictReader(io.StringIO(said(capsys, *arguments, "--csv")))
    return {line["model"]: line for line in lines if line["metric"] == line["monitor"]}


def test_rows_of_one_seed_have_intervals_of_the_cases_and_no_star(three, capsys):
    folder, units = three
    rows = figures(capsys, folder, "--baseline", "fm")
    assert rows["best"]["best_difference"] == ""
    for model in ("fm", "lr"):
        differences = units[model] - units["best"]
        assert float(rows[model]["best_difference"]) == pytest.approx(differences.mean())
        spread = differences.std() / math.sqrt(300)
        low, high = float(rows[model]["best_low"]), float(rows[model]["best_high"])
        assert (low, high) == pytest.approx(differences.mean() + spread * np.array([-1.96, 1.96]), abs=0.005)
        assert rows[model]["best_p"] == rows[model]["baseline_p"] == ""
    assert rows["lr"]["baseline"] == "fm"
    text = " ".join(said(capsys, folder).split())
    assert "-0.5000 │ -0.5000 to -0.5000 │" in text
    assert "*" not in text
    assert "p-value" not in text
    assert "no test, as training noise is not known" in text


def test_stars_are_for_what_seeds_and_cases_do_not_explain(tmp_path, capsys):
    rng = np.random.default_rng(0)
    recipe(tmp_path, "fm", 3, rng)
    recipe(tmp_path, "same", 3, rng)
    recipe(tmp_path, "worse", 3, rng, -0.2)
    recipe(tmp_path, "lone", 1, rng, -0.5)
    rows = figures(capsys, tmp_path)
    (best,) = [model for model, row in rows.items() if not row["best_difference"]]
    assert best in ("fm", "same")
    other = rows["same" if best == "fm" else "fm"]
    assert float(other["best_p"]) > 0.05
    assert float(other["best_low"]) < 0 < float(other["best_high"])
    assert float(rows["worse"]["best_p"]) < 0.05
    assert rows["lone"]["best_p"] == ""
    text = said(capsys, tmp_path, "--markdown")
    assert re.search(r"\| worse \|.* [-+0-9.]+\* ", text)
    assert text.count("* |") == 1
    assert "Holm-corrected over all 3 pairs of rows with several seeds; * below 0.05" in text


def test_equal_recipes_get_a_star_in_few_reports(tmp_path, capsys):
    found = 0
    for n in range(25):
        for model in ("fm", "same"):
            recipe(tmp_path / str(n), model, 3, np.random.default_rng((n, len(model), 1)), cases=60)
        found += "* |" in said(capsys, tmp_path / str(n), "--markdown")
    assert found <= 2


def test_the_difference_of_an_rmse_is_that_of_the_figures_shown(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rating = {"protocol": {"name": "rating", "monitor": "rmse"}}
    for model, sd in (("fm", 0.8), ("mf", 0.9)):
        squared = np.square(rng.normal(0, sd, 500))
        options = {"model.name": model, **rating}
        make_run(tmp_path / model, options, test={"rmse": np.sqrt(squared.mean())}, units=squared, maximize=False)
    rows = figures(capsys, tmp_path)
    low, middle, high = (float(rows["mf"][f"best_{name}"]) for name in ("low", "difference", "high"))
    assert middle == pytest.approx(float(rows["mf"]["mean"]) - float(rows["fm"]["mean"]))
    assert low < middle < high
    assert high - low == pytest.approx(0.15, abs=0.02)  # 2 * 1.96 * sqrt(0.8^2 + 0.9^2) / sqrt(2 * 500)


def test_units_that_do_not_give_the_figure_are_not_tested(three, capsys):
    folder, units = three
    make_run(folder / "other", {"model.name": "mf"}, test=0.1, units=units["fm"])
    text = " ".join(said(capsys, folder).split())
    assert "units.npz gives a mrr of" in text
    assert "-0.5000" in text


def test_the_best_row_is_that_of_the_validation_whatever_the_test_says(tmp_path, capsys):
    place = {"data.name": "movielens-1m", "protocol.name": "full_ranking"}
    for size, validation, test in ((8, 0.30, 0.10), (16, 0.20, 0.15), (32, 0.10, 0.20)):
        units = np.full(9, test)
        options = {**place, "batch_size": size}
        make_run(tmp_path / str(size), options, test=test, units=units, validation={"mrr": validation}, known_best=None)
    text = said(capsys, tmp_path, "--markdown")
    rows = [line for line in text.splitlines() if line.startswith("| fm")]
    assert [re.search(r"batch_size=(\d+)", line)[1] for line in rows] == ["8", "16", "32"]
    assert "test, sorted by validation mrr" in text
    assert rows[0].split("|")[2:4] == [" 0.3000 ", " 0.1000 "]
    assert "+0.0500" in rows[1]
    (printed,) = [line for line in text.splitlines() if line.startswith("| lorentzfm 2 | FM |")]
    assert printed.rstrip().endswith("| fm  batch_size=8 |")
    assert re.findall(r"size=(\d+)", said(capsys, tmp_path, "--latex"))[:3] == ["8", "16", "32"]
    said(capsys, tmp_path, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.index("batch_size=8<") < page.index("batch_size=16<") < page.index("batch_size=32<")


def test_what_runs_warn_of_stands_below_their_row(tmp_path, capsys):
    make_run(tmp_path / "a", {"seed": 1}, warnings=["training diverged", "worse than the mean"])
    make_run(tmp_path / "b", {"seed": 2}, warnings=["training diverged"])
    make_run(tmp_path / "c", {"model.name": "mf"}, warnings="no list")
    text = said(capsys, tmp_path, "--markdown")
    assert "| fm  (!) |" in text
    assert "| mf |" in text
    assert "(!) fm, seed 1, 2: training diverged\n(!) fm, seed 1: worse than the mean" in text
    assert figures(capsys, tmp_path)["fm"]["warnings"] == "seed 1, 2: training diverged; seed 1: worse than the mean"
    said(capsys, tmp_path, "--html", tmp_path / "page.html")
    assert "(!) fm, seed 1, 2: training diverged" in (tmp_path / "page.html").read_text("utf-8")


def test_what_searches_kept_stands_below_the_table(tmp_path, capsys):
    counts = {"name": "pep", "parameters_before": 1200}
    make_run(tmp_path / "a", {"seed": 1}, search={**counts, "parameters": 1000})
    make_run(tmp_path / "b", {"seed": 2}, search={**counts, "parameters": 900})
    make_run(tmp_path / "c", {"model.name": "mf"}, search={"name": "pep", "parameters": "many"})
    text = said(capsys, tmp_path, "--markdown")
    assert "fm: search=pep kept 1,000, 900 of 1,200 parameters" in text
    assert "many" not in text
    said(capsys, tmp_path, "--html", tmp_path / "page.html")
    assert "search=pep kept 1,000, 900 of 1,200 parameters" in (tmp_path / "page.html").read_text("utf-8")


def test_rows_of_other_test_cases_are_not_tested_and_that_is_said(three, capsys):
    folder, _ = three
    make_run(folder / "short", {"model.name": "mf"}, test=0.1, units=[0.1, 0.2])
    make_run(folder / "none", {"model.name": "cml"}, test=0.2)
    text = " ".join(said(capsys, folder).split())
    assert "not tested: mf: paired tests need the same test rows" in text
    assert "cannot be read" in text
    assert "-0.5000" in text


@pytest.mark.parametrize(
    "units",
    [
        b"",
        b"PK\x03\x04 no archive",
        {"mrr": np.zeros(300)},
        {"row": np.arange(300), "user": np.arange(300), "mrr": np.array(["a"] * 300)},
        {"row": np.arange(300), "user": np.arange(300), "mrr": np.full(300, np.nan)},
        {"row": np.arange(300), "user": np.arange(300), "mrr": np.zeros((300, 2))},
        {"row": np.arange(300), "user": np.arange(300), "mrr": np.array([None] * 300)},
        {"row": np.arange(300), "user": np.arange(7), "mrr": np.zeros(300)},
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_broken_units_are_said_and_the_other_rows_are_compared(three, capsys, units, first):
    folder, _ = three
    path = make_run(folder / "broken", {"model.name": "broken"}, test=5.0 if first else 0.01) / "units.npz"
    path.write_bytes(units) if isinstance(units, bytes) else np.savez(path, **units)
    text = " ".join(said(capsys, folder, "--baseline", "best").split())
    assert "not tested: " in text
    assert "-0.5000 │ -0.5000 to -0.5000 │" in text


def test_a_metric_without_units_of_all_rows_gives_way_to_one_that_has_them(tmp_path, capsys):
    ctr = {"protocol": {"name": "ctr", "monitor": "auc"}}
    for model, shift in (("fm", 0.0), ("mf", 0.1)):  # runs of before AUC had them
        losses = np.linspace(0.1, 0.9, 50) + shift
        folder = make_run(
            tmp_path / model, {"model.name": model, **ctr}, test={"auc": 0.7 - shift, "logloss": losses.mean()}
        )
        np.savez(folder / "units.npz", row=np.arange(50), logloss=losses)
    text = " ".join(said(capsys, tmp_path).split())
    assert "logloss vs best" in text
    assert "+0.1000 │ +0.1000 to +0.1000" in text
    assert "(auc has no value for each case)" in text


def test_a_baseline_must_be_there(three, capsys):
    with pytest.raises(FmlabError, match="did you mean 'best'"):
        main([str(three[0]), "--baseline", "bst"])


def test_several_folders_make_one_report(tmp_path, capsys):
    make_run(tmp_path / "a" / "1", {"model.name": "fm"})
    make_run(tmp_path / "b" / "1", {"model.name": "lr"})
    lines = list(csv.DictReader(io.StringIO(said(capsys, tmp_path / "a", tmp_path / "b", tmp_path / "a", "--csv"))))
    assert sorted(line["model"] for line in lines if line["metric"] == "mrr") == ["fm", "lr"]


def test_a_file_is_no_folder_of_runs(tmp_path):
    path = tmp_path / "figures.csv"
    path.write_text("a,b\n")
    with pytest.raises(StorageError, match="which is neither"):
        main([str(path)])
    with pytest.raises(StorageError, match="does not exist"):
        main([str(tmp_path / "nowhere")])
    with pytest.raises(FmlabError, match="no run was found"):
        main([str(tmp_path)])


def test_every_path_of_a_run_means_its_folder(tmp_path, capsys):
    sweep = tmp_path / "sweep"
    run = make_run(sweep / "trials" / "0000", {"model.name": "lr"})
    make_run(sweep / "trials" / "0001")
    make_run(tmp_path / "other")
    (run / "checkpoints").mkdir()
    for path in (run / "checkpoints" / "best.ckpt", sweep / "best.ckpt", sweep / "results.json", tmp_path / "x.ckpt"):
        path.write_text("{}")
    of_run = (run, run / "checkpoints", run / "checkpoints" / "best.ckpt", run / "metrics.json", run / "metrics.csv")
    for paths, models in ((of_run, ["lr"]), ((sweep, sweep / "best.ckpt", sweep / "results.json"), ["fm", "lr"])):
        for path in paths:
            lines = list(csv.DictReader(io.StringIO(said(capsys, path, "--csv"))))
            assert sorted(line["model"] for line in lines if line["metric"] == "mrr") == models
    with pytest.raises(StorageError, match="which is neither"):
        main([str(tmp_path / "x.ckpt")])


def test_unreadable_and_unfinished_runs_stand_at_the_end(tmp_path, capsys):
    make_run(tmp_path / "good")
    (make_run(tmp_path / "torn") / "metrics.json").write_text('{"status": "comp')
    make_run(tmp_path / "bad", status="failed", error="out of [memory]")
    for n in range(3):
        make_run(tmp_path / f"p{n}", status="pruned")
    lines = said(capsys, tmp_path).rstrip().splitlines()
    assert "fm" in "\n".join(lines[:-3])
    assert lines[-3] == "3 pruned"
    assert lines[-2] == f"failed: {tmp_path / 'bad'}  out of [memory]"
    assert lines[-1].startswith(f"unreadable: {tmp_path / 'torn' / 'metrics.json'}: ")


def test_printed_figures_stand_beside_our_best_row_of_the_model(tmp_path, capsys):
    place = {"data.name": "movielens-1m", "protocol.name": "full_ranking"}
    make_run(tmp_path / "a", {**place, "model.dim": 10}, test=0.07)
    make_run(tmp_path / "b", {**place, "model.dim": 64}, test=0.08)  # the paper's figure is of size 10
    text = said(capsys, tmp_path, "--markdown")
    (line,) = [row for row in text.splitlines() if row.startswith("| lorentzfm 2 | FM |")]
    assert line.split("|")[3:5] == [" 0.0638 ", " 0.07000 "]
    assert line.rstrip().endswith("| fm  model.dim=10 |")
    assert "| lorentzfm 2 | LorentzFM | 0.0" in text
    lines = list(csv.DictReader(io.StringIO(said(capsys, tmp_path, "--csv"))))
    assert ("FM", "0.0638") in {(row["model"], row["mean"]) for row in lines if row["source"] == "lorentzfm 2"}


def test_a_model_that_was_trained_on_validation_rows_too_does_not_stand_beside_printed_figures(tmp_path, capsys):
    place = {"data.name": "movielens-1m", "protocol.name": "full_ranking"}
    make_run(tmp_path / "a", place, test=0.07)
    make_run(tmp_path / "b", {**place, "refit_on": "train+validation"}, test=0.08)
    text = said(capsys, tmp_path, "--markdown")
    (line,) = [row for row in text.splitlines() if row.startswith("| lorentzfm 2 | FM |")]
    assert line.split("|")[3:5] == [" 0.0638 ", " 0.07000 "]


def test_parameters_and_seconds_of_an_epoch_stand_beside_the_table_that_prints_them(tmp_path, capsys):
    place = {"data.name": "movielens-1m", "protocol.name": "full_ranking"}
    make_run(tmp_path / "a", place, test=0.07, parameters=103_400, seconds_fit=9.0, epochs=2)
    text = said(capsys, tmp_path, "--markdown")
    (line,) = [row for row in text.splitlines() if row.startswith("| lorentzfm 3 | FM |")]
    assert line.split("|")[3:7] == [" 103k ", " 103,400 ", " 82.4 ", " 4.5 "]


def test_validation_figures_stand_beside_printed_ones(tmp_path, capsys):
    place = {"data.name": "criteo", "protocol": {"name": "ctr", "monitor": "auc"}}
    make_run(tmp_path / "a", place, test={"auc": 0.8}, validation={"auc": 0.81})
    text = said(capsys, tmp_path, "--markdown")
    (line,) = [row for row in text.splitlines() if row.startswith("| fmfm 6 | FM |")]
    assert [" 0.8075 ", " 0.8100 "] in [line.split("|")[n : n + 2] for n in (3, 5, 7)]


def test_figures_of_another_number_of_candidates_are_not_shown(tmp_path, capsys):
    place = {"data.name": "movielens-1m", "protocol.name": "leave_one_out", "protocol.monitor": "sampled_ndcg@10"}
    make_run(tmp_path / "a", {**place, "protocol.n_candidates": 99})
    text = said(capsys, tmp_path, "--markdown")
    assert "| gml-fm 4 |" in text
    assert "| hyperml 2 |" not in text


def test_latex_escapes_what_it_must(tmp_path, capsys):
    make_run(tmp_path / "a", {"model.dim": 8}, test=0.1, seed=1)
    make_run(tmp_path / "b", {"model.dim": 8, "seed": 2}, test=0.3, seed=2)
    make_run(tmp_path / "c", {"model.name": "my_fm&co"}, test=0.01)
    text = said(capsys, tmp_path, "--latex")
    assert r"my\_fm\&co" in text
    assert r"0.2000 $\pm$ 0.1414" in text
    body = text.partition(r"\midrule")[2]
    assert {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")} == {
        text.count(" & ", 0, text.find(r" \\"))
    }


class Page(HTMLParser):
    """Counts elements, notes what would be fetched, refuses tags that do not close."""

    def __init__(self):
        super().__init__()
        self.count, self.fetched, self.open = {}, [], []

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.fetched += [v for k, v in attrs if k in ("src", "href") and not v.startswith("#")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_holds_tables_and_plots_and_fetches_nothing(tmp_path, capsys):
    for n in range(12):
        options = {"model.name": ("fm", "<b>")[n % 2], "model.dim": (4, 8, 16)[n % 3], "optimizer.lr": 10.0 ** -(n % 4)}
        make_run(
            tmp_path / "runs" / str(n), {**options, "seed": n}, test=0.01 * n, units=np.arange(9) + n * 0.1, when=n
        )
    (make_run(tmp_path / "runs" / "torn") / "metrics.json").write_text("{")
    target = tmp_path / "page.html"
    said(capsys, tmp_path / "runs", "--html", target)
    text = target.read_text("utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.fetched == []
    assert page.count["table"] == 1
    assert page.count["svg"] == 7
    assert page.count["script"] == 1
    assert text.count(SCRIPT) == 1  # the program's own; foreign text is escaped
    assert page.count.get("b") is None
    for title in ("history", "Importance", "Parallel coordinates", "Learning curves", "parameters", "time", "sizes"):
        assert re.search(f"aria-label=[^>]*{title}", text)
    assert "unreadable" in text
    assert "nan" not in text.lower().replace("finance", "")


def test_the_page_of_a_single_run_has_no_plots_it_cannot_draw(tmp_path, capsys):
    make_run(tmp_path / "runs" / "a", test={"mrr": None, "hr@10": 0.1})
    said(capsys, tmp_path / "runs", "--html", tmp_path / "page.html")
    page = Page()
    page.feed((tmp_path / "page.html").read_text("utf-8"))
    assert page.open == []
    assert page.count["table"] == 1


def test_the_overview_names_the_best_of_each_leaderboard_and_says_what_is_shown(tmp_path, capsys):
    for data in ("one", "two"):
        recipe(tmp_path / "runs" / data, "fm", 3, np.random.default_rng(1), 0.3, fingerprint=data[0] * 64)
        recipe(tmp_path / "runs" / data, "popularity", 3, np.random.default_rng(2), fingerprint=data[0] * 64)
    target = tmp_path / "page.html"
    said(capsys, tmp_path / "runs", "--html", target)
    text = target.read_text("utf-8")
    assert text.count("class=overview") == 1
    assert len(re.findall(r'data-name="simple baseline">0\.\d+ ± 0\.\d+ popularity<', text)) == 2
    assert text.count("fm is ahead of popularity by more than seeds and cases explain") == 2 * 2  # and in each summary
    assert text.count("<tr class=best>") == 2


def test_latex_sets_the_best_by_validation_in_bold_and_gives_the_table_a_label():
    sheet = sheets.TextTable("a_b, ctr: test", ("model", "auc"), (("known best", "0.9"), ("fm", "0.8"), ("lr", "0.7")))
    text = latex([sheet])
    assert r"\textbf{fm} & \textbf{0.8}" in text
    assert "known best & 0.9" in text
    assert r"\label{tab:a-b-ctr-test}" in text


def test_a_narrow_terminal_gets_the_columns_that_matter_most() -> None:
    sheet = sheets.TextTable("t", ("model", "mrr", "p", "rows/s"), (("lorentzfm", "0.1234", ".0010", "1,000"),))
    assert sheets.fitting(sheet, 200) is sheet
    narrow = sheets.fitting(sheet, 36)
    assert narrow.head == ("model", "mrr", "p")
    assert narrow.rows == (("lorentzfm", "0.1234", ".0010"),)
    assert narrow.notes == ("not shown in 36 characters: rows/s",)
    assert sheets.fitting(sheet, 10).head == ("model", "mrr")
    long = sheets.TextTable("t", sheet.head, (("fm " * 40, *sheet.rows[0][1:]),))
    assert sheets.fitting(long, 100) is long  # words fold

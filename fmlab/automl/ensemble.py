"""The ensemble of a sweep's trials: chosen by the validation scores that they kept, judged once, written as a run."""

import io
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from fmlab.automl.candidates import Candidate, complete, with_scores
from fmlab.automl.list_selection import choose
from fmlab.automl.selection import affordable, calibrated, greedy
from fmlab.contracts import Report, Task
from fmlab.data import Array
from fmlab.errors import FmlabError, StorageError
from fmlab.evaluation import RankedLists, ScoredRows, evaluate
from fmlab.evaluation.audit import audit_of, audited
from fmlab.evaluation.output_transform import OutputTransform
from fmlab.files import storing, write_bytes, write_json, write_text
from fmlab.records import environment
from fmlab.records.folder import BEST, CHECKPOINTS, ENSEMBLE, SERVING, RunFolder
from fmlab.records.per_case import read_units
from fmlab.report.significance import Comparison, Groups, SeedScores, compare
from fmlab.run.serving_file import read_serving_data
from fmlab.serving import load_run
from fmlab.serving.ensemble import LAYOUT, MEMBERS
from fmlab.training.run_warnings import findings

log = logging.getLogger("fmlab")
FOLDER = Path(ENSEMBLE).stem
DRAFT = f".{FOLDER}.part"
CHOOSING = 0.5  # of the time, after which no further member is looked for
CANDIDATES = 40  # trials that may become members: the best by the loss of their validation scores
FROM = ("data", "protocol", "loss", "optimizer", "fingerprint", "monitor", "maximize", "statistics", "batch_size")


def make_ensemble(folder: Path, task: Task, seconds: float | None = None) -> Path | None:
    """Choose, write and judge the ensemble of the trials below a sweep's `folder`; the ensemble's folder.

    None, with a reason in the log, where fewer than two trials can be members. `seconds`: how long all of it may take;
    members that would take longer to judge, by the times of their trials, are left out. The task is that of the trials,
    without derived fields. Raises StorageError.
    """
    until = None if seconds is None else time.monotonic() + seconds
    ranks = isinstance(task.validation, RankedLists)
    if not ranks and not isinstance(task.validation, ScoredRows):
        log.info("no ensemble: its members are chosen by scored rows or ranked lists, and this protocol judges others")
        return None
    if task.refit is not None:
        log.info("no ensemble: trials are trained anew on the validation rows, by which its members would be chosen")
        return None
    found = complete(folder)
    spread: Array = np.ones(1)
    content: dict[str, Any] = {"layout": LAYOUT, "scale": 1.0, "bias": 0.0}
    if ranks:
        found = sorted(found, key=lambda c: (-c.worth, c.number))
        kept, weights, spread = choose(found, task, until)
        content["ranks"] = True
    else:
        kept, weights, content["scale"], content["bias"] = _by_scores(folder, found, task, until)
    if len(kept) < 2:
        log.info(f"no ensemble: it takes two trials that can be members, there are {len(kept)}")
        return None
    weights = affordable(weights, [c.seconds for c in kept], until)
    shares = {c.number: float(w) for c, w in zip(kept, weights, strict=True) if w}
    content["weights"] = {c.number: float(w) for c, w in zip(kept, weights / spread, strict=True) if w}
    members = [c for c in kept if c.number in shares]
    draft = folder / DRAFT
    _write(draft, members, content)
    model = load_run(draft).model
    validation = evaluate(task.validation, model, task.dataset)
    value = validation.values[task.monitor] * (1 if task.maximize else -1)
    if ranks and value <= kept[0].worth:  # members were chosen by some lists only
        for made in (draft, folder / FOLDER):
            shutil.rmtree(made, ignore_errors=True)
        log.info(f"no ensemble: on the whole validation it is no better than trial {kept[0].number}")
        return None
    tested = audit_of(task, task.training.rows)
    test = evaluate(audited(task, tested).test, model, task.dataset)
    more: dict[str, Any] = {"protocol_described": dict(task.described), **findings(task, test, None)}
    if tested is not None:
        groups = {name: dict(figures) for name, figures in test.groups.items()}
        more["audit"] = {"shares": dict(tested.shares), "groups": groups}
    _record(draft, members, shares, kept[0], (validation, test), more)
    return put_in_place(draft, folder / FOLDER)


def put_in_place(draft: Path, place: Path) -> Path:
    """A whole ensemble takes the place of an earlier one, which stands until then."""
    old = place.with_name(f".{place.name}.old")
    with storing(place.parent):
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            place.replace(old)
        draft.replace(place)
        shutil.rmtree(old, ignore_errors=True)
    return place


def _by_scores(
    folder: Path, found: Sequence[Candidate], task: Task, until: float | None
) -> tuple[list[Candidate], Array, float, float]:
    """Candidates, the best first, their weights, and the calibration of the sum, by kept scores of labeled rows."""
    assert isinstance(task.validation, ScoredRows)
    if not found:
        return [], np.ones(0), 1.0, 0.0
    scale, log_odds = _scale([c.folder for c in found])
    label = scale.standardized(np.asarray(task.dataset.label)[task.validation.rows])
    scored = with_scores(folder, found, label, log_odds)[:CANDIDATES]
    if len(scored) < 2:
        return scored, np.ones(len(scored)), 1.0, 0.0
    scores = np.stack([c.scores for c in scored])
    half = None if until is None else time.monotonic() + CHOOSING * (until - time.monotonic())
    weights = greedy(scores, label, log_odds=log_odds, until=half)
    return scored, weights, *(calibrated(weights @ scores, label) if log_odds else (1.0, 0.0))


def _scale(runs: list[Path]) -> tuple[OutputTransform, bool]:
    """How scores and labels of the trials are related: as it is for the first of them that can be served."""
    for run in runs:
        with suppress(StorageError):
            data = read_serving_data(run / SERVING)
            return data.scale, data.log_odds
    raise StorageError(f"an ensemble needs trials that can be served, none of {len(runs)} can be")


def _write(place: Path, members: list[Candidate], content: Mapping[str, Any]) -> None:
    """The files of the members, by hard links where the file system has them, and the weights last."""
    shutil.rmtree(place, ignore_errors=True)
    for member in members:
        share_member(member.folder, place / MEMBERS / member.number)
    share(members[0].folder / SERVING, place / SERVING)
    write_json(place / ENSEMBLE, dict(content))


def share_member(run: Path, target: Path) -> None:
    """The files of a member in the folder of an ensemble."""
    for file in (Path(CHECKPOINTS) / BEST, Path(SERVING)):
        share(run / file, target / file)


def write_units(files: RunFolder, test: Report) -> None:
    """Write what every test case gives to the metrics."""
    units = io.BytesIO()
    np.savez_compressed(units, allow_pickle=False, **test.units)
    write_bytes(files.units, units.getvalue())


def share(source: Path, target: Path) -> None:
    """The same file in another place, by a hard link where the file system has them; raises StorageError."""
    with storing(target, needed=source.stat().st_size):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def _record(
    place: Path,
    members: list[Candidate],
    weights: Mapping[str, float],
    best: Candidate,
    judged: tuple[Report, Report],
    more: Mapping[str, Any],
) -> None:
    """Leave what a run leaves, with the reports of validation and test and what `more` is known of it; say how it
    compares."""
    files, (validation, test) = RunFolder(place), judged
    content = {
        **{k: best.content[k] for k in FROM if k in best.content},
        "status": "complete",
        "model": "ensemble",
        "seed": best.content["seed"],
        "parameters": sum(int(c.content.get("parameters") or 0) for c in members),
        "validation": dict(validation.values),
        "test": dict(test.values),
        **({"test_details": dict(test.details)} if test.details else {}),
        **more,
        "members": {
            c.number: {"weight": weights[c.number], "model": c.content["model"], "validation": c.content["validation"]}
            for c in members
        },
    }
    config = OmegaConf.to_container(OmegaConf.load(best.folder / "config.yaml"))
    assert isinstance(config, dict)
    options = {"name": "ensemble", "members": [f"{c.number}: {c.content['model']}" for c in members]}
    write_text(files.config, OmegaConf.to_yaml(OmegaConf.create({**config, "model": options})))
    write_json(files.environment, environment.describe())
    write_units(files, test)
    against = _against(best, test)
    if against:
        content["against_best"] = against
    write_json(files.metrics, content)
    _say(place, members, weights, best, test, against)
    if constant := content.get("constant"):
        log.info("the mean label of training as the prediction of every row, test  " + format_metrics(constant))


def _against(best: Candidate, test: Report) -> dict[str, Any] | None:
    """The difference of each metric to the best trial, paired by test rows: value, low and high of 95 %."""
    try:
        units = read_units(best.folder / "units.npz")
        groups = Groups.of(units)
        found: dict[str, Any] = {}
        for metric in set(units) & set(test.units) - {"row", "user"}:
            sums = [groups.sums(u, metric)[None] for u in (units, test.units)]
            values = [np.array([v]) for v in (best.content["test"][metric], test.values[metric])]
            rows = [SeedScores(v, s) for v, s in zip(values, sums, strict=True)]
            pair = compare(rows, groups.count, [0])[0][1]
            assert isinstance(pair, Comparison)
            found[metric] = {"difference": pair.difference, "low": pair.low, "high": pair.high}
    except (ValueError, FmlabError, KeyError) as error:
        log.warning(f"the ensemble is not compared with trial {best.number}: {error}")
        return None
    return {"trial": best.number, **found}


def _say(
    place: Path,
    members: list[Candidate],
    weights: Mapping[str, float],
    best: Candidate,
    test: Report,
    against: Mapping[str, Any] | None,
) -> None:
    listed = ", ".join(
        f"{c.content['model']} #{int(c.number)} {weights[c.number]:.2f}"
        for c in sorted(members, key=lambda c: -weights[c.number])
    )
    log.info(f"ensemble of {len(members)} trials, chosen by the validation: {listed}")
    log.info("ensemble, test  " + format_metrics(test.values))
    single = format_metrics(best.content["test"])
    log.info(f"trial {best.number} ({best.content['model']}), the best by the validation, test  {single}")
    for metric, found in (against or {}).items():
        if isinstance(found, dict):
            span = f"{found['low']:+.4f} to {found['high']:+.4f}"
            log.info(f"  {metric}: {found['difference']:+.4f}, 95 % of paired test rows within {span}")
    log.info(f"predict, recommend and report take {place.parent}")


def format_metrics(values: Mapping[str, float]) -> str:
    """Figures of a line of the log."""
    return "  ".join(f"{k} {v:.4f}" for k, v in values.items())

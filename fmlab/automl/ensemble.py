"""The ensemble of a sweep's trials: chosen by the validation scores that they kept, judged once, written as a run."""

import io
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from fmlab.automl.scores import read_scores
from fmlab.automl.selection import affordable, calibrated, greedy, loss_of
from fmlab.contracts import Report, Task
from fmlab.data import Array
from fmlab.errors import FmlabError, StorageError
from fmlab.evaluation import ScoredRows, evaluate
from fmlab.evaluation.label_scale import LabelScale
from fmlab.files import storing, write_bytes, write_json, write_text
from fmlab.records import environment
from fmlab.records.folder import RunFolder
from fmlab.records.per_case import read_units
from fmlab.report.significance import Comparison, Groups, Judged, compare
from fmlab.run.locate import CHECKPOINTS, ENSEMBLE
from fmlab.run.serving_data import FILE, read_serving_data
from fmlab.serving import load_run
from fmlab.serving.ensemble import LAYOUT, MEMBERS

log = logging.getLogger("fmlab")
FOLDER = Path(ENSEMBLE).stem
CHOOSING = 0.5  # of the time, after which no further member is looked for
CANDIDATES = 40  # trials that may become members: the best by the loss of their validation scores
FROM = ("data", "protocol", "loss", "optimizer", "fingerprint", "monitor", "maximize", "statistics", "batch_size")


@dataclass(frozen=True)
class Candidate:
    """A finished trial with its validation scores, float32[rows], and their mean loss."""

    number: str
    folder: Path
    content: Mapping[str, Any]
    scores: Array
    loss: float


def make_ensemble(folder: Path, task: Task, seconds: float | None = None) -> Path | None:
    """Choose, write and judge the ensemble of the trials below a sweep's `folder`; the ensemble's folder.

    None, with a reason in the log, where fewer than two trials can be members. `seconds`: how long all of it may take;
    members that would take longer to judge, by the times of their trials, are left out. The task is that of the trials,
    without derived fields. Raises StorageError.
    """
    until = None if seconds is None else time.monotonic() + seconds
    if not isinstance(task.validation, ScoredRows):
        log.info("no ensemble: its members are chosen by scores of labelled rows, and this protocol ranks items")
        return None
    runs = [path.parent for path in sorted((folder / "trials").glob("*/metrics.json"))]
    if not runs:
        return None
    scale, log_odds = _scale(runs)
    label = scale.standardized(np.asarray(task.dataset.label)[task.validation.rows])
    found = _candidates(folder, runs, label, log_odds)
    if len(found) < 2:
        log.info(f"no ensemble: it takes two trials with validation scores, there are {len(found)}")
        return None
    scores = np.stack([c.scores for c in found])
    weights = greedy(
        scores, label, log_odds=log_odds, until=None if until is None else until - CHOOSING * (seconds or 0)
    )
    weights = affordable(weights, [_seconds(c) for c in found], until)
    factor, bias = calibrated(weights @ scores, label) if log_odds else (1.0, 0.0)
    chosen = {c.number: float(w) for c, w in zip(found, weights, strict=True) if w}
    members = [c for c in found if c.number in chosen]
    place = folder / FOLDER
    _write(place, members, {"layout": LAYOUT, "weights": chosen, "scale": factor, "bias": bias})
    _judge(place, members, chosen, found[0], task)
    return place


def _seconds(trial: Candidate) -> float:
    """What judging the trial took."""
    return float(trial.content.get("seconds_test") or 0.0)


def _scale(runs: list[Path]) -> tuple[LabelScale, bool]:
    """How scores and labels of the trials are related: as it is for the first of them that can be served."""
    for run in runs:
        with suppress(StorageError):
            data = read_serving_data(run / FILE)
            return data.scale, data.log_odds
    raise StorageError(f"an ensemble needs trials that can be served, none of {len(runs)} can be")


def _candidates(folder: Path, runs: list[Path], label: Array, log_odds: bool) -> list[Candidate]:
    """The best trials by their loss, best first."""
    made = []
    for run in runs:
        try:
            content = json.loads((run / "metrics.json").read_text("utf-8"))
        except (OSError, ValueError):  # its worker was killed
            continue
        kept, best = content.get("scores"), run / CHECKPOINTS / "best.ckpt"
        if content.get("status") != "complete" or not isinstance(kept, str) or not best.is_file():
            continue
        scores = read_scores(folder, kept)
        if scores is not None and scores.shape == label.shape and (run / FILE).is_file():
            loss = float(loss_of(scores, label, log_odds=log_odds).mean())
            made.append(Candidate(run.name, run, content, scores, loss))
    return sorted(made, key=lambda c: (c.loss, c.number))[:CANDIDATES]


def _write(place: Path, members: list[Candidate], content: Mapping[str, Any]) -> None:
    """The files of the members, by hard links where the file system has them, and the weights last."""
    shutil.rmtree(place, ignore_errors=True)
    for member in members:
        target = place / MEMBERS / member.number
        for file in (Path(CHECKPOINTS) / "best.ckpt", Path(FILE)):
            _share(member.folder / file, target / file)
    _share(members[0].folder / FILE, place / FILE)
    write_json(place / ENSEMBLE, dict(content))


def _share(source: Path, target: Path) -> None:
    with storing(target, needed=source.stat().st_size):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def _judge(place: Path, members: list[Candidate], weights: Mapping[str, float], best: Candidate, task: Task) -> None:
    """Judge the ensemble on validation and test, once; leave what a run leaves, and say how it compares."""
    files, model = RunFolder(place), load_run(place).model
    validation, test = (evaluate(part, model, task.dataset) for part in (task.validation, task.test))
    content = {
        **{k: best.content[k] for k in FROM if k in best.content},
        "status": "complete",
        "model": "ensemble",
        "seed": best.content["seed"],
        "parameters": sum(int(c.content.get("parameters") or 0) for c in members),
        "validation": dict(validation.values),
        "test": dict(test.values),
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
    units = io.BytesIO()
    np.savez_compressed(units, allow_pickle=False, **test.units)
    write_bytes(files.units, units.getvalue())
    against = _against(best, test)
    if against:
        content["against_best"] = against
    write_json(files.metrics, content)
    _say(place, members, weights, best, test, against)


def _against(best: Candidate, test: Report) -> dict[str, Any] | None:
    """The difference of each metric to the best trial, paired by test rows: value, low and high of 95 %."""
    try:
        units = read_units(best.folder / "units.npz")
        groups = Groups.of(units)
        found: dict[str, Any] = {}
        for metric in set(units) & set(test.units) - {"row", "user"}:
            sums = [groups.sums(u, metric)[None] for u in (units, test.units)]
            values = [np.array([v]) for v in (best.content["test"][metric], test.values[metric])]
            rows = [Judged(v, s) for v, s in zip(values, sums, strict=True)]
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
    log.info("ensemble, test  " + "  ".join(f"{k} {v:.4f}" for k, v in test.values.items()))
    single = "  ".join(f"{k} {v:.4f}" for k, v in best.content["test"].items())
    log.info(f"trial {best.number} ({best.content['model']}), the best by the validation, test  {single}")
    for metric, found in (against or {}).items():
        if isinstance(found, dict):
            span = f"{found['low']:+.4f} to {found['high']:+.4f}"
            log.info(f"  {metric}: {found['difference']:+.4f}, 95 % of paired test rows within {span}")
    log.info(f"predict, recommend and report take {place.parent}")

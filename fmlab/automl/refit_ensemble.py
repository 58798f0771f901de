"""The ensemble of a sweep with members that were trained anew on training and validation rows."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fmlab.automl.ensemble import DRAFT, FOLDER, format_metrics, put_in_place, share, share_member, write_units
from fmlab.config.schema import BOTH
from fmlab.contracts import Task
from fmlab.evaluation import evaluate
from fmlab.evaluation.audit import audit_of, audited
from fmlab.files import write_json, write_text
from fmlab.records import environment
from fmlab.records.folder import ENSEMBLE, REFIT, SERVING, RunFolder
from fmlab.records.record import read_record
from fmlab.run.run_opening import with_refit_rows
from fmlab.serving import load_run
from fmlab.serving.ensemble import MEMBERS
from fmlab.training.run_warnings import findings
from fmlab.untrusted.parsing import read_json

log = logging.getLogger("fmlab")


def refit_ensemble(folder: Path, refitted: Mapping[str, Path], task: Task) -> Path:
    """The ensemble of a sweep's `folder` with members that were trained anew on all rows; the folder of it.

    `refitted`: folders of such runs by the member's name; other members stay as they are, and so do the weights.
    `task`: with the rows of the refit. The members' figures of the validation are those that chose them. Raises
    StorageError.
    """
    chosen, place = folder / FOLDER, folder / REFIT / FOLDER
    before: Mapping[str, Any] = read_record(chosen / "metrics.json")
    content = read_json(chosen / ENSEMBLE)
    names = list(content["weights"])
    draft = place.parent / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    for name in names:
        share_member(refitted.get(name, folder / "trials" / name), draft / MEMBERS / name)
    share(next(iter(refitted.values())) / SERVING, draft / SERVING)
    write_json(draft / ENSEMBLE, content)
    refit_task = with_refit_rows(task)
    test = evaluate(
        audited(refit_task, audit_of(refit_task, refit_task.training.rows)).test, load_run(draft).model, task.dataset
    )
    shares = {name: float(before["members"][name]["weight"]) for name in names}
    refit: dict[str, Any] = {
        "on": BOTH,
        "rows": len(refit_task.training.rows),
        "members": [name for name in names if name in refitted],
        "weight": sum(shares[name] for name in names if name in refitted),
    }
    audit = before.get("audit")
    groups = {name: dict(figures) for name, figures in test.groups.items()}
    record = {
        **{k: v for k, v in before.items() if k not in ("against_best", "test_details", "warnings")},
        "test": dict(test.values),
        **({"test_details": dict(test.details)} if test.details else {}),
        **({"audit": {**audit, "groups": groups}} if audit else {}),
        "refit": refit,
        **findings(refit_task, test, None),
    }
    config = OmegaConf.to_container(OmegaConf.load(chosen / "config.yaml"))
    assert isinstance(config, dict)
    files = RunFolder(draft)
    write_text(files.config, OmegaConf.to_yaml(OmegaConf.create({**config, "refit_on": BOTH})))
    write_json(files.environment, environment.describe())
    write_units(files, test)
    write_json(files.metrics, record)
    log.info(f"ensemble, trained on training rows alone, test  {format_metrics(before['test'])}")
    log.info(
        f"ensemble, {len(refit['members'])} of {len(names)} members ({refit['weight']:.0%} of the weight) trained anew "
        f"on {refit['rows']:,} training and validation rows, test  {format_metrics(test.values)}"
    )
    return put_in_place(draft, place)

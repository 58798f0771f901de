"""Whether a run can be resumed from a checkpoint: what must be equal to the run that saved it."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fmlab.errors import FmlabError, StorageError
from fmlab.plugin import registry
from fmlab.plugin.renames import with_new_names
from fmlab.training.checkpoint_entries import TRAINING

log = logging.getLogger("fmlab")


def refuse_mismatch(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise FmlabError naming everything that must be equal to resume from `path` and is not."""
    if "sampler" in now and "sampler" not in saved:
        log.warning(f"{path} was written by an older fmlab, whose negatives were uniform: the sampler is not compared")
        now = {k: v for k, v in now.items() if k != "sampler"}
    differ = [d for k in now for d in _differences(k, _of_now(k, saved.get(k)), now[k])]
    if differ:
        listed = "\n  ".join(d if len(d) < 400 else d[:400] + " ..." for d in differ)
        raise FmlabError(f"a run can only be resumed as it was started; {path} differs in\n  {listed}")


def refuse_shapes(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise StorageError unless `path` holds the tensors that a run has `now`, of their shapes."""
    wanted, got = ({k: tuple(getattr(v, "shape", ())) for k, v in state.items()} for state in (now, saved))
    for name in (*wanted, *got):
        if wanted.get(name) != got.get(name):
            rule = f"{name!r} has the shape {got.get(name, 'none')}, the run has {wanted.get(name, 'none')}"
            raise StorageError(
                f"a run is resumed with the tensors that it trains, in {path} {rule}; give one of this run"
            )


def refuse_changes(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any], epochs: int, *, allow: bool) -> None:
    """Raise FmlabError if `path` was saved under other options of the trainer that change the result than `now`.

    `allow`: they may differ, with a warning for each. `epochs`: number of epochs to train in all, which may always
    grow.
    """
    within, done = is_within_epoch(saved), saved["epoch"] + 1
    if epochs < done:
        what = "is within its epoch" if within else "has finished epoch"
        raise FmlabError(f"trainer.max_epochs must be at least {done}: {path} {what} {done}; got {epochs}")
    if TRAINING not in saved:
        log.warning(f"{path} was written by an older fmlab: options of the trainer are not compared")
        return
    there = saved[TRAINING]["options"]
    differ = [d for k in now for d in _differences(f"trainer.{k}", there.get(k), now[k])]
    if differ and not allow:
        raise FmlabError(
            f"a run can only be resumed as it was started, {path} differs in {'; '.join(differ)}; "
            "resume_changes=allow uses the new options"
        )
    if within and there.get("limit_train_batches") != now["limit_train_batches"]:
        raise FmlabError(
            f"trainer.limit_train_batches cannot change within an epoch, which {path} was saved in; "
            "resume with the old one, or from best.ckpt"
        )
    for line in differ:
        log.warning(f"resumed with another option: {line}")


def is_within_epoch(saved: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was saved before its epoch was over."""
    return bool(saved.get(TRAINING, {}).get("batches"))


def _of_now(kind: str, given: Any) -> Any:
    """Options of a plugin as a release before saved them: under their names of today, with those added since."""
    if kind not in registry.KINDS or not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        return given
    try:
        signature = registry.schema(kind, given["name"])
    except FmlabError:  # a plugin that is not installed any more
        return given
    options = {str(k): v for k, v in given.items() if k != "name"}
    added = {o.name: list(o.default) if isinstance(o.default, tuple) else o.default for o in signature.options}
    return {"name": given["name"], **added, **with_new_names(kind, signature, options, list(options))}


def _differences(name: str, there: Any, here: Any) -> Iterator[str]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in dict.fromkeys((*there, *here)):
            yield from _differences(f"{name}.{key}", there.get(key), here.get(key))
    elif there != here:
        yield f"{name}: {there!r} there, {here!r} here"

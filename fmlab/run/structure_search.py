"""The first training of a run that searches the structure of its model."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from fmlab.contracts import FitsRows, GatesPairs, SearchedTable, SearchSpace, Task
from fmlab.data import Array
from fmlab.errors import FmlabError
from fmlab.evaluation.output_transform import output_transform_of
from fmlab.nn.masked import GatedTable, n_pairs, replace_tables, searched_tables
from fmlab.nn.pair_gates import GatedPairs
from fmlab.plugin.registry import build
from fmlab.records.folder import RunFolder
from fmlab.run.building import BuiltRun, assemble
from fmlab.run.fitting import train
from fmlab.run.loading import FULL, NONE, build_model
from fmlab.run.optimization import epoch_steps
from fmlab.run.structure import FOLDER, Structure, fingerprint, read_structure, searches, write_structure
from fmlab.terminal.redaction import redacted
from fmlab.training.checkpoint_entries import IDENTITY
from fmlab.training.checkpoint_format import read_checkpoint
from fmlab.training.loader import TrainingLoader
from fmlab.training.processes import this_launch
from fmlab.training.resume_checks import refuse_mismatch
from fmlab.training.sanity_check import try_one_batch
from fmlab.training.search_learner import SearchEnd, SearchLearner

log = logging.getLogger("fmlab")
_JUDGED = 1 << 15  # rows that candidates of a search are compared by, at most


def structure_of(
    config: Mapping[str, Any], task: Task, folder: RunFolder, resume: Path | None, callbacks: Sequence[Callback]
) -> Structure | None:
    """What the search of a run finds, or has found before it was stopped; None for a run without.

    `resume`: the checkpoint that the training anew goes on from. A search that was stopped goes on with
    `if_exists=resume`. Raises FmlabError for a model or a run that takes no search; KeyboardInterrupt.
    """
    if not searches(config):
        return None
    _refuse(config)
    inner = RunFolder(folder.path / FOLDER)
    goes_on = config["if_exists"] == "resume"
    if not goes_on and inner.path.is_dir():
        shutil.rmtree(inner.path)
    phase = _Phase(config, task, inner, callbacks)
    found_with = fingerprint(phase.identity)
    known = folder.structure if resume is None else RunFolder(resume.parent.parent).structure
    if resume is not None and not known.is_file():
        raise FmlabError(f"a run with search={phase.name} goes on with the structure it found, there is no {known}")
    if known.is_file() and (goes_on or resume is not None):
        found = read_structure(known, found_with)
    else:
        found = phase.found(goes_on)
    write_structure(folder.structure, found, found_with)
    if inner.path.is_dir():
        shutil.rmtree(inner.path)
    return found


def _refuse(config: Mapping[str, Any]) -> None:
    search, model = f"search={config['search']['name']}", config["model"]["name"]
    if "optimizer" not in config:
        raise FmlabError(f"{search} needs a model that is trained by gradients, {model} is not; it takes search=none")
    if (table := config.get("table", {"name": FULL})["name"]) != FULL:
        raise FmlabError(f"{search} needs a row for each feature, got table={table}; table=full has that")
    if config["warm_start"]:
        raise FmlabError(f"{search} trains anew from where a model starts; got warm_start: leave one of them out")
    if (world := this_launch(config["trainer"]).world) > 1:
        raise FmlabError(f"{search} trains in one process, got {world}; set trainer.devices=1")


class _Phase:
    """The training that searches."""

    def __init__(self, config: Mapping[str, Any], task: Task, folder: RunFolder, callbacks: Sequence[Callback]) -> None:
        self.config, self.task, self.folder, self.name = config, task, folder, str(config["search"]["name"])
        model_name = str(config["model"]["name"])
        self.search = self._made(self._space())
        seed = int(config["seed"])
        trained, judged = _parts(task.training.rows, getattr(self.search, "judged", 0.0), seed, part=2)
        weights, gates = _parts(trained, self.search.held_out, seed)
        end = SearchEnd(self.search, lambda: self.weights)
        searched = task.changed(training=replace(task.training, rows=weights), refit=None)
        built = self._assembled(searched, self.search.epochs, [*callbacks, end])
        model = built.model
        if isinstance(model, FitsRows):
            raise FmlabError(f"search={self.name} needs a model trained by steps alone, {model_name} trains itself")
        numbers = {name: n for n, name in enumerate(searched_tables(model, self.name, model_name))}
        replace_tables(model, lambda name, table: GatedTable(table, _gate(self.search, numbers[name])))
        if hasattr(self.search, "pairs"):
            if not isinstance(model, GatesPairs):
                raise FmlabError(
                    f"search={self.name} needs a model whose score adds up pairs of fields, {model_name} does not; "
                    "fm, deepfm, fwfm, fvfm and fmfm do"
                )
            model.gate_pairs(GatedPairs(self.search.pairs))
        self.tables = {name: module for name, module in model.named_modules() if isinstance(module, GatedTable)}
        self.identity = {**built.learner.identity, "search": redacted(config["search"])}
        loader, held = built.learner.loader, None
        if len(gates):
            held = self._loader(gates, seed + 1, model, loader)
        self.judged = self._loader(judged[:_JUDGED], seed + 2, model, loader) if len(judged) else None
        try_one_batch(model, built.learner.loss, loader, name=model_name)
        assert built.learner.make_optimizer is not None
        assert built.learner.loss is not None
        learner = SearchLearner(
            model,
            built.learner.loss,
            built.learner.make_optimizer,
            searched,
            loader,
            self.identity,
            self.search,
            held,
        )
        learner.options = built.learner.options
        self.built = replace(built, learner=learner)

    def found(self, goes_on: bool) -> Structure:
        """Train, from where it was stopped if it `goes_on`, and see what is kept."""
        self.folder.checkpoints.mkdir(parents=True, exist_ok=True)
        began, last = time.perf_counter(), self.folder.last
        resume = last if goes_on and last.is_file() else None
        if resume is not None:
            refuse_mismatch(resume, read_checkpoint(resume)[IDENTITY], self.identity)
        log.info(f"search={self.name}: {self.search.epochs} epochs at most")
        train(
            self.built,
            resume,
            lambda: "interrupted in the search of a structure; go on with fmlab resume",
        )
        if self.judged is not None:
            self.search.choose(self._loss(self.judged))
        with torch.no_grad():
            kept = self._checked([part.cpu() for part in self.search.kept(self.weights)])
            pairs = self.search.kept_pairs().cpu() if hasattr(self.search, "pairs") else None
        steps = self.built.trainer.global_step
        epochs = round(steps / max(1, len(self.built.learner.loader)), 3)
        seconds = round(self.built.learner.pace.seconds if resume else time.perf_counter() - began, 3)
        return Structure(kept, {"name": self.name, "epochs": epochs, "seconds": seconds}, pairs)

    def _loader(self, rows: Array, seed: int, model: nn.Module, loader: TrainingLoader) -> TrainingLoader:
        """Batches of rows that the weights, of which `loader` has the rows, are not trained on."""
        training = replace(self.task.training, rows=rows)
        made = TrainingLoader(
            self.task.dataset,
            training,
            batch_size=int(self.config["batch_size"]),
            seed=seed,
            scale=output_transform_of(model),
        )
        if loader.observed is not None:  # no positive of the other part is drawn as a negative
            every = TrainingLoader(self.task.dataset, self.task.training, batch_size=1, seed=0)
            loader.observed = made.observed = every.observed
            made.sampler, made.drawn = loader.sampler, loader.drawn
        return made

    def _loss(self, loader: TrainingLoader) -> Callable[[], float]:
        """The mean loss of the trained model over the same batches each time."""
        learner = self.built.learner
        assert learner.loss is not None
        loss, model = learner.loss, learner.model.eval()
        loader.place(next(model.parameters()).device, 0, 1, learner.loader.dtype)
        loader.epoch = loader.skip = 0
        batches = [loader.chosen(model, batch) for batch in loader]
        rows = [len(batch.label) for batch in batches]

        def found() -> float:
            with torch.no_grad():
                losses = [float(loss(model, batch)) for batch in batches]
            return float(np.average(losses, weights=rows))

        return found

    @property
    def weights(self) -> list[Tensor]:
        """The tables as trained so far."""
        return [table.weight.detach() for table in self.tables.values()]

    def _assembled(self, task: Task, epochs: int, callbacks: Sequence[Callback]) -> BuiltRun:
        trainer = {**self.config["trainer"], "patience": None, "reduce_lr": None, "max_epochs": epochs}
        trainer["check_val_every_n_epoch"] = epochs + 1
        plain = {"search": {"name": NONE}, "scheduler": {"name": "none"}, "logger": {"name": "none"}}
        return assemble({**self.config, **plain, "trainer": trainer}, task, self.folder, [], callbacks, [])

    def _space(self) -> SearchSpace:
        config, schema, seed = self.config, self.task.dataset.schema, int(self.config["seed"])
        model = build_model(config["model"], schema, seed)
        found = searched_tables(model, self.name, str(config["model"]["name"]))
        tables = [SearchedTable(name, table.weight.detach(), table.first) for name, table in found.items()]
        batches = -(-len(self.task.training.rows) // int(config["batch_size"]))
        return SearchSpace(
            schema, tables, epoch_steps(config["trainer"], batches), seed, n_pairs(model, len(schema.fields))
        )

    def _made(self, space: SearchSpace) -> Any:
        search: Any = build("search", self.config["search"], space)
        missing = [name for name in ("epochs", "held_out", "rows", "optimizer", "kept") if not hasattr(search, name)]
        if not isinstance(search, nn.Module) or missing:
            lacks = f"one without {', '.join(missing)}" if missing else type(search).__name__
            raise FmlabError(f"search {self.name} must give an nn.Module that is a StructureSearch, got {lacks}")
        return search

    def _checked(self, kept: Sequence[Tensor]) -> dict[str, Tensor]:
        """Masks of the shapes of the tables, by name; raises FmlabError."""
        who = f"search {self.name}"
        if len(kept) != len(self.tables):
            raise FmlabError(f"{who}: kept must give a mask of each of {len(self.tables)} tables, got {len(kept)}")
        found = {}
        for (name, table), mask in zip(self.tables.items(), kept, strict=True):
            rows, width = table.weight.shape
            if mask.dtype != torch.bool or mask.shape not in ((rows, width), (rows, 1)):
                got = f"{mask.dtype}{list(mask.shape)}"
                raise FmlabError(f"{who}: kept of {name} must be bool[{rows}, {width}] or bool[{rows}, 1], got {got}")
            found[name] = mask.expand(rows, width).contiguous()
        if not any(mask.any() for mask in found.values()):
            raise FmlabError(f"{who} drops every number of the tables: nothing is left to train; let it keep more")
        return found


def _gate(search: Any, number: int) -> Any:
    return lambda rows, at: search.rows(number, rows, at)


def _parts(rows: Array, share: float, seed: int, part: int = 1) -> tuple[Array, Array]:
    """Rows that weights are trained on, and those that are held out of it; raises FmlabError for an empty part."""
    if not share:
        return rows, rows[:0]
    chosen = np.random.default_rng([seed, part]).permutation(len(rows)) < round(share * len(rows))
    if not chosen.any() or chosen.all():
        raise FmlabError(f"a search with held-out rows needs rows for both parts, {len(rows)} rows are too few")
    return rows[~chosen], rows[chosen]

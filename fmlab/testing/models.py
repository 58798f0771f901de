"""What every model must do."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fmlab.contracts import FitsRows, Fitting, LabelledRows, NeedsInteractions, is_two_sided
from fmlab.data import Schema
from fmlab.data.batch import Batch, Features
from fmlab.data.model_inputs import ModelInputs, history_length, inputs_of_model
from fmlab.errors import FmlabError
from fmlab.nn.scoring import score
from fmlab.plugin.registry import build
from fmlab.testing.building import ASKED_KINDS, KINDS, AskedKind, candidates, checkerboard, labeled, tiny
from fmlab.testing.model_rows import EveryKind, batches, by_sides, gradients, shortened, typed, whole_rows, widened

every_kind = pytest.mark.parametrize("kind", [*KINDS, *ASKED_KINDS])


class ModelContract:
    """Subclass it and write `make`. A model may refuse a schema with FmlabError: tests on such data are skipped.

    `optimizer`: options, with or without `name`, for the learning test; names left out are the model's `defaults`.
    `accuracy`: the share of held-out likes that must outscore a dislike; a constant reaches 0.5.
    """

    optimizer: Mapping[str, Any] = {"lr": 0.05}
    loss: Mapping[str, Any] = {}
    steps = 120
    accuracy = 0.55

    def make(self, schema: Schema) -> nn.Module:
        """Your model, small."""
        raise NotImplementedError

    def _model(self, kind: EveryKind, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        try:
            model = self.make(tiny(kind).schema)
        except FmlabError as error:
            pytest.skip(str(error))
        if bool(inputs_of_model(model)) != (kind in ASKED_KINDS):
            pytest.skip(
                "for models that ask for more than features" if not inputs_of_model(model) else "it has what is asked"
            )
        if isinstance(model, NeedsInteractions):
            batch = candidates(tiny(kind))
            assert batch.user is not None
            assert batch.item is not None
            model.fit_interactions(batch.user, batch.item[:, 0])
        if isinstance(model, FitsRows):
            _fit_rows(model, labeled(tiny(kind)))
        return model

    @every_kind
    def test_any_leading_shape_gives_the_same_scores(self, kind: EveryKind) -> None:
        """`[*batch, columns]` -> `[*batch]`."""
        model = self._model(kind).double().eval()
        rows = whole_rows(model, kind)
        n = rows.ids.shape[0]
        expected = rows.scores(model)
        assert expected.shape == (n,)
        for shape in ((n, 1), (2, n // 2), (2, 3, n // 6)):
            folded = rows.each(lambda t, shape=shape: t.reshape(*shape, *t.shape[1:]))  # type: ignore[misc]
            torch.testing.assert_close(folded.scores(model), expected.view(shape), rtol=0, atol=1e-12)
        torch.testing.assert_close(rows.each(lambda t: t[0]).scores(model), expected[0], rtol=0, atol=1e-12)

    @every_kind
    def test_rows_are_scored_independently_and_left_alone(self, kind: EveryKind) -> None:
        """A row's score does not depend on its neighbors; ids and values are not written to."""
        model = self._model(kind).double().eval()
        rows = whole_rows(model, kind)
        before = Features(*(None if t is None else t.clone() for t in (rows.ids, rows.values)))  # type: ignore[arg-type]
        order = torch.randperm(len(rows.ids))[: len(rows.ids) // 2]
        part = rows.each(lambda t: t[order])
        torch.testing.assert_close(part.scores(model), rows.scores(model)[order], rtol=0, atol=1e-12)
        assert torch.equal(rows.ids, before.ids)
        if rows.values is not None and before.values is not None:
            assert torch.equal(rows.values, before.values)

    @every_kind
    def test_no_values_mean_ones(self, kind: EveryKind) -> None:
        """Rows without values score as with values of 1."""
        model = self._model(kind).double().eval()
        rows = whole_rows(model, kind)
        ones = torch.ones(rows.ids.shape, dtype=torch.float64)
        plain, given = replace(rows, values=None), replace(rows, values=ones)
        torch.testing.assert_close(plain.scores(model), given.scores(model), rtol=0, atol=1e-12)

    @every_kind
    def test_gradient_reaches_every_parameter(self, kind: EveryKind) -> None:
        """Not zero and finite, for rows and for candidates."""
        for batch in batches(kind):
            model = self._model(kind)
            scores = score(model, batch)
            if not any(p.requires_grad for p in model.parameters()):
                return
            torch.manual_seed(1)
            torch.autograd.backward((scores * torch.randn_like(scores)).sum())
            for name, parameter in model.named_parameters():
                grad = parameter.grad
                assert grad is not None, f"{name} has no gradient"
                dense = grad.to_dense()
                assert torch.isfinite(dense).all(), f"the gradient of {name} is not finite"
                assert dense.any(), f"the gradient of {name} is zero"

    @every_kind
    def test_the_seed_decides(self, kind: EveryKind) -> None:
        """Two models of one seed are equal."""
        a, b = self._model(kind).eval(), self._model(kind).eval()
        assert torch.equal(whole_rows(a, kind).scores(a), whole_rows(b, kind).scores(b))

    @every_kind
    def test_a_checkpoint_rebuilds_the_model(self, kind: EveryKind, tmp_path: Path) -> None:
        """From tensors and a schema of built-in containers alone, loaded with `weights_only=True`."""
        model, file = self._model(kind).eval(), tmp_path / "model.ckpt"
        state = model.state_dict()
        assert {type(t) for t in state.values()} <= {Tensor}, "a state_dict holds tensors only"
        torch.save({"state": state, "schema": tiny(kind).schema.to_dict()}, file)
        saved = torch.load(file, weights_only=True)
        torch.manual_seed(99)
        rebuilt = self.make(Schema.from_dict(saved["schema"])).eval()
        rebuilt.load_state_dict(saved["state"])
        rows = whole_rows(model, kind)
        assert torch.equal(rows.scores(rebuilt), rows.scores(model))

    @every_kind
    def test_the_sides_add_up_to_the_whole(self, kind: EveryKind) -> None:
        """`TwoSided`, `LateInteraction` and the scoring of batches equal `forward`, gradients included."""
        model = self._model(kind).double().eval()
        for batch in (typed(model, b) for b in batches(kind)):
            whole = model(*batch.rows(), **batch.whole(model))
            for scores in (score(model, batch), *by_sides(model, batch)):
                assert scores.shape == batch.label.shape
                torch.testing.assert_close(scores, whole, rtol=1e-9, atol=1e-9, check_dtype=False)
            for a, b in zip(gradients(model, score(model, batch)), gradients(model, whole), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9, check_dtype=False)

    @every_kind
    def test_the_link_increases(self, kind: EveryKind) -> None:
        """Ranking by the linear part is ranking by the score."""
        model = self._model(kind)
        if not is_two_sided(model):
            pytest.skip("not TwoSided")
        z = torch.linspace(-5, -1e-3, 50, dtype=torch.float64)
        assert (model.link(z).diff() > 0).all()

    @every_kind
    def test_mixed_precision_stays_finite(self, kind: EveryKind) -> None:
        """Scores and gradients under bfloat16 autocast."""
        for batch in batches(kind):
            model = self._model(kind)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scores = score(model, batch)
            assert torch.isfinite(scores).all()
            assert all(torch.isfinite(g).all() for g in gradients(model, scores.float()))

    @pytest.mark.parametrize("kind", ASKED_KINDS)
    def test_padding_of_histories_changes_nothing(self, kind: AskedKind) -> None:
        """Nor what stands there: only items that the mask shows are read. A user without any has a finite score."""
        model = self._model(kind).double().eval()
        rows = whole_rows(model, kind)
        history = rows.given.values.get("history")
        if history is None:
            pytest.skip("it reads no histories")
        more = 2
        room = self._room(model) - history.mask.shape[1]
        if room < more:
            history = shortened(history, more)
        wide = widened(history, more)
        short, long = (replace(rows, given=ModelInputs({**rows.given.values, "history": h})) for h in (history, wide))
        torch.testing.assert_close(short.scores(model), long.scores(model), rtol=0, atol=1e-10)
        nobody = history._replace(mask=torch.zeros_like(history.mask))
        scores = replace(rows, given=ModelInputs({**rows.given.values, "history": nobody})).scores(model)
        assert torch.isfinite(scores).all()

    @staticmethod
    def _room(model: nn.Module) -> int:
        return history_length(model)

    def test_it_learns_a_planted_task(self) -> None:
        """Held-out likes of a checkerboard outscore dislikes more often than under a constant."""
        task = checkerboard()
        torch.manual_seed(0)
        try:
            model = self.make(task.dataset.schema)
        except FmlabError as error:
            pytest.skip(str(error))
        _train(model, task.train, self.loss, self.optimizer, self.steps)
        model.eval()
        user, item = torch.tensor(task.user).long(), torch.tensor(task.item).long().unsqueeze(1)
        items = torch.cat([item, torch.tensor(task.disliked[task.user])], 1)
        with torch.no_grad():
            scores = score(model, Batch(task.train.tables, user, items, None, torch.zeros(items.shape)))
        difference = scores[:, :1] - scores[:, 1:]
        share = ((difference > 0).double() + 0.5 * (difference == 0).double()).mean().item()
        trained = isinstance(model, NeedsInteractions | FitsRows)
        if not trained and not any(p.requires_grad for p in model.parameters()):
            assert share == 0.5, "a model that learns nothing must not look better than a constant"
        else:
            assert share >= self.accuracy, f"{share:.3f} of the dislikes are outscored"


def _train(model: nn.Module, batch: Batch, loss: Mapping[str, Any], optimizer: Mapping[str, Any], steps: int) -> None:
    if isinstance(model, NeedsInteractions):
        assert batch.user is not None
        assert batch.item is not None
        model.fit_interactions(batch.user, batch.item[:, 0])
    if isinstance(model, FitsRows):
        _fit_rows(model, batch)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        return
    partners = {"loss": "bce", "optimizer": "adam", **getattr(model, "defaults", {})}
    criterion = build("loss", {"name": partners["loss"], **loss})
    descent = build("optimizer", {"name": partners["optimizer"], **optimizer}, parameters)
    for _ in range(steps):
        descent.zero_grad()
        criterion(model, batch).backward()
        descent.step()


def _fit_rows(model: FitsRows, batch: Batch) -> None:
    """On the rows of a batch, which stand for those of validation too; candidates are rows of their own."""
    ids, values = batch.rows()
    flat = Features(ids.reshape(-1, ids.shape[-1]), None if values is None else values.reshape(-1, ids.shape[-1]))
    rows = LabelledRows(flat, batch.label.reshape(-1).float())
    model.fit_rows(rows, rows, Fitting(log_odds=True, seed=0))

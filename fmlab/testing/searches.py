"""What every search of a model's structure must do."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.contracts import SearchedTable, SearchSpace
from fmlab.data import Field, Schema
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.fm_sums import factor_pairs
from fmlab.nn.init import weights_and_vectors
from fmlab.nn.masked import GatedTable, replace_tables
from fmlab.nn.pair_gates import GatedPairs, PairGates, gated_pairs
from fmlab.nn.sparse_lookup import gather, pool
from fmlab.plugin.registry import build

SIGNAL = 2
"""Fields, the first ones, on which the labels of the planted task depend."""
_SIZES = (7, 7, 41, 41)
_ROWS, _BATCH, _DIM = 2400, 100, 4
_PAIRS = len(_SIZES) * (len(_SIZES) - 1) // 2
_SCHEMA = Schema(tuple(Field(f"field{n}", "context", size) for n, size in enumerate(_SIZES)))


class _FM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = EmbeddingTable(weights_and_vectors(_SCHEMA.n_features, _DIM, 0.1))

        self.gates: PairGates | None = None

    def forward(self, ids: Tensor) -> Tensor:
        rows, at = self.table.rows(ids)
        if self.gates is None:
            return self.bias + factor_pairs(rows, at)[0]
        pairs = gated_pairs(gather(rows[:, 1:], at), range(len(_SIZES)), self.gates)
        return self.bias + pool(rows[:, :1], at).squeeze(-1) + pairs

    def gate_pairs(self, gates: PairGates) -> None:
        self.gates = gates

    def pair_parameters(self) -> Tensor:
        return torch.zeros(_PAIRS, dtype=torch.int64)


class SearchContract:
    """Subclass it and write `make`.

    The planted task has four fields: labels depend on the first two, whose features are few; the features of the
    others are many and say nothing. A search keeps most numbers of the first two, and of the others at most half that
    share. One that drops pairs of fields keeps the pair of the first two, and at most half of the other five.
    """

    optimizer: Mapping[str, Any] = {"name": "adam", "lr": 0.02}
    """Of the weights."""

    def make(self, space: SearchSpace) -> Any:
        """Your search, with options that let it drop most of the 480 numbers of the planted task."""
        raise NotImplementedError

    def _made(self) -> tuple[_FM, Any]:
        model = _FM()
        start = model.table.weight.detach().clone()
        space = SearchSpace(_SCHEMA, [SearchedTable("table", start, 0)], _ROWS // _BATCH, 0, _PAIRS)
        search = self.make(space)
        if search is None:
            pytest.skip("nothing is searched")
        replace_tables(model, lambda _, table: GatedTable(table, lambda rows, at: search.rows(0, rows, at)))
        if hasattr(search, "pairs"):
            model.gate_pairs(GatedPairs(search.pairs))
        return model, search

    def test_it_is_a_module_that_says_how_long_it_takes(self) -> None:
        """With parameters, epochs, and a share of held-out rows below 1."""
        _, search = self._made()
        is_module = isinstance(search, nn.Module)
        assert is_module
        assert search.epochs >= 1
        assert 0 <= search.held_out < 1
        assert not hasattr(search, "choose") or 0 < search.judged < 1
        moved = {id(p) for group in search.optimizer().param_groups for p in group["params"]}
        assert moved == {id(p) for p in search.parameters()}, "optimizer() must move all parameters of the search"

    def test_gates_keep_shapes_and_let_gradients_through(self) -> None:
        """Rows seen are as many and as wide, finite, and depend on the weights."""
        model, search = self._made()
        for rows in (1, 5, len(model.table.weight)):
            seen = search.rows(0, model.table.weight[:rows], torch.arange(rows))
            assert seen.shape == (rows, 1 + _DIM)
            assert torch.isfinite(seen).all()
        ids, label = _rows()
        torch.autograd.backward(functional.binary_cross_entropy_with_logits(model(ids[:_BATCH]), label[:_BATCH]))
        gradient = model.table.weight.grad
        assert gradient is not None
        assert gradient.to_dense().any()
        gates = [p.grad for p in search.parameters() if p.grad is not None]
        assert any(g.to_dense().any() for g in gates), "no gate has a gradient"

    def test_what_stays_is_said_by_masks(self) -> None:
        """bool, a number for each number of the table or for each row."""
        model, search = self._made()
        weights = [model.table.weight.detach()]
        kept = search.kept(weights)
        assert len(kept) == 1
        assert kept[0].dtype == torch.bool
        assert tuple(kept[0].shape) in ((sum(_SIZES), 1 + _DIM), (sum(_SIZES), 1))
        if hasattr(search, "pairs"):
            assert search.kept_pairs().dtype == torch.bool
            assert search.kept_pairs().shape == (_PAIRS,)

    def test_a_stopped_search_goes_on(self) -> None:
        """Its `state_dict` and that of its optimizer are all that it remembers."""
        model, search = self._made()
        _train(model, search, self.optimizer, 0, 30)
        state = {k: v.clone() for k, v in search.state_dict().items()}
        assert all(type(v) is Tensor for v in state.values())
        _, other = self._made()
        other.load_state_dict(state)
        for one in (search, other):
            torch.manual_seed(5)
            if hasattr(one, "begin_step"):
                one.begin_step(30)
        rows, at = model.table.weight.detach(), torch.arange(sum(_SIZES))
        assert torch.equal(search.rows(0, rows, at), other.rows(0, rows, at))
        assert all(map(torch.equal, search.kept([rows]), other.kept([rows])))

    def test_it_drops_the_noise_and_keeps_the_signal(self) -> None:
        """On the planted task."""
        model, search = self._made()
        _train(model, search, self.optimizer, 0, search.epochs * (_ROWS // _BATCH))
        with torch.no_grad():
            kept = search.kept([model.table.weight.detach()])[0].expand(-1, 1 + _DIM).double()
        if hasattr(search, "pairs"):
            first, *others = search.kept_pairs().tolist()
            assert first, "the pair that labels depend on is dropped"
            assert sum(others) <= len(others) / 2, f"{sum(others)} of {len(others)} pairs of noise stay"
            if kept.all():
                return
        signal = float(kept[: sum(_SIZES[:SIGNAL])].mean())
        noise = float(kept[sum(_SIZES[:SIGNAL]) :].mean())
        assert signal > 0.5, f"{signal:.0%} of the numbers that labels depend on stay"
        assert noise < signal / 2, f"{noise:.0%} of the numbers of noise stay, {signal:.0%} of the others"


def _rows() -> tuple[Tensor, Tensor]:
    """Feature ids `[rows, 4]`, and labels: 1 where both of the first features are odd or both even, mostly."""
    rng = np.random.default_rng(0)
    own = np.stack([rng.integers(1, size, _ROWS) for size in _SIZES], 1)
    label = ((own[:, 0] + own[:, 1]) % 2 == 0) ^ (rng.random(_ROWS) < 0.1)
    return torch.from_numpy(own + np.array(_SCHEMA.offsets)), torch.from_numpy(label.astype(np.float32))


def _train(model: _FM, search: Any, optimizer: Mapping[str, Any], first: int, last: int) -> None:
    """Steps `first` to `last` as a run takes them; gates follow the second half of the rows if they are held out.

    What compares candidates does so at the end, by a quarter of the rows that is kept back for it.
    """
    ids, label = _rows()
    judged = _ROWS // 4 if hasattr(search, "choose") else 0
    every = torch.arange(_ROWS - judged)
    half = len(every) // 2
    parts = (every[:half], every[half:]) if search.held_out else (every, every)
    optimizers: list[Any] = [build("optimizer", optimizer, model.parameters()), search.optimizer()]
    gates = list(search.parameters())

    def loss(part: Tensor, step: int) -> Tensor:
        batch = part[torch.randperm(len(part), generator=torch.Generator().manual_seed(step))[:_BATCH]]
        found = functional.binary_cross_entropy_with_logits(model(ids[batch]), label[batch])
        return found + search.regularization() if hasattr(search, "regularization") else found

    for step in range(first, last):
        torch.manual_seed(step)
        if hasattr(search, "begin_step"):
            search.begin_step(step)
        for each in optimizers:
            each.zero_grad()
        torch.autograd.backward(loss(parts[0], step))
        if search.held_out:
            found = torch.autograd.grad(loss(parts[1], step), gates, allow_unused=True)
            for gate, gradient in zip(gates, found, strict=True):
                gate.grad = gradient
        for each in optimizers:
            each.step()
        with torch.no_grad():
            if hasattr(search, "finished") and search.finished(_weights(model)):
                break
    if judged:
        rest = slice(_ROWS - judged, _ROWS)
        with torch.no_grad():
            search.choose(lambda: float(functional.binary_cross_entropy_with_logits(model(ids[rest]), label[rest])))


def _weights(model: _FM) -> Sequence[Tensor]:
    return [model.table.weight.detach()]

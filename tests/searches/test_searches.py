"""The searches against their formulas, and the contract that others subclass."""

import math
from typing import Any

import pytest
import torch
from fmlab_searches._grda import GRDA
from fmlab_searches.autofield import AutoField
from fmlab_searches.autofis import AutoFIS
from fmlab_searches.optembed import OptEmbed, Step
from fmlab_searches.optfs import OptFS
from fmlab_searches.pep import PEP
from torch import Tensor

from fmlab.contracts import SearchedTable, SearchSpace
from fmlab.data import Field, Schema
from fmlab.errors import FmlabError
from fmlab.plugin.registry import build
from fmlab.testing import SearchContract

SCHEMA = Schema((Field("a", "context", 3), Field("b", "context", 4), Field("c", "context", 2)))
NAMES = ("global", "dimension", "field", "feature", "field_dimension", "feature_dimension")


def space(*parts: tuple[int, int], width: int = 3) -> SearchSpace:
    """Tables of the features `first` to `stop`, all in one table unless given."""
    generator = torch.Generator().manual_seed(0)
    tables = [
        SearchedTable(f"t{n}", torch.randn(stop - first, width, generator=generator), first)
        for n, (first, stop) in enumerate(parts or ((0, 9),))
    ]
    return SearchSpace(SCHEMA, tables, epoch_steps=10, seed=0)


def _contract(name: str, weight_decay: float = 0.0, **options: Any) -> type[SearchContract]:
    def make(self: SearchContract, given: SearchSpace) -> Any:
        return build("search", {"name": name, **options}, given)

    optimizer = {**SearchContract.optimizer, "weight_decay": weight_decay}
    return type(f"Test_{name}", (SearchContract,), {"make": make, "optimizer": optimizer})


class TestNone(SearchContract):
    def make(self, given: SearchSpace) -> Any:
        return build("search", {"name": "none"}, given)


for _name, _options in (
    ("pep", {"budget": 0.1, "lr": 0.05, "epochs": 15, "weight_decay": 0.01}),
    ("optfs", {"penalty": 2e-3, "epochs": 10, "lr": 0.02}),
    ("autofield", {"epochs": 10, "fields": 2}),
    ("optembed", {"penalty": 1e-2, "epochs": 15, "lr": 0.02, "generations": 10}),
    ("autofis", {"epochs": 10, "lr": 0.5, "c": 0.05}),
):
    globals()[f"Test_{_name}"] = _contract(_name, **_options)


@pytest.mark.parametrize("granularity", NAMES)
def test_pep_is_a_soft_threshold(granularity: Any) -> None:
    given = space()
    search = PEP(given, budget=0.5, granularity=granularity)
    shapes = ((1, 1), (1, 3), (3, 1), (9, 1), (3, 3), (9, 3))
    assert tuple(search.thresholds[0].shape) == dict(zip(NAMES, shapes, strict=True))[granularity]
    with torch.no_grad():
        search.thresholds[0].copy_(torch.randn(search.thresholds[0].shape) - 1)
    v, at = given.tables[0].start, torch.tensor([8, 0, 4, 3])
    seen = search.rows(0, v[at], at)
    field = (0, 0, 0, 1, 1, 1, 1, 2, 2)
    for row, i in enumerate(at.tolist()):
        for k in range(3):
            s = search.thresholds[0].detach()
            own = {"global": (0, 0), "dimension": (0, k), "field": (field[i], 0), "feature": (i, 0)}
            s = s[own.get(granularity, (field[i] if granularity.startswith("field_") else i, k))]
            x, g = float(v[i, k]), 1 / (1 + math.exp(-float(s)))
            assert seen[row, k].item() == pytest.approx(math.copysign(max(0.0, abs(x) - g), x), abs=1e-6)


def test_pep_keeps_no_more_than_its_budget() -> None:
    given = space((0, 7), (7, 9))
    search = PEP(given, budget=0.3, start=-3.0)
    weights = [table.start for table in given.tables]
    assert not search.finished(weights)
    kept = search.kept(weights)
    assert sum(int(k.sum()) for k in kept) == math.floor(0.3 * 27)
    size = torch.cat([w.abs().flatten() for w in weights])
    assert set(size[torch.cat([k.flatten() for k in kept])].tolist()) == set(size.topk(8).values.tolist())
    with torch.no_grad():
        for s in search.thresholds:
            s.fill_(20.0)  # thresholds of 1
    above = [w.abs() > torch.tensor(20.0).sigmoid() for w in weights]
    assert search.finished(weights) == (sum(int(a.sum()) for a in above) <= 8)


def test_a_number_that_is_0_can_leave_it() -> None:
    search = PEP(space(), budget=0.5)
    rows = torch.zeros(2, 3, requires_grad=True)
    search.rows(0, rows, torch.arange(2)).sum().backward()
    assert torch.equal(rows.grad, torch.ones(2, 3))  # type: ignore[arg-type]


def test_optfs_scales_rows_by_gates_that_sharpen() -> None:
    given = space((0, 7), (2, 9))
    search = OptFS(given, temperature=100.0, epochs=3, penalty=0.1)
    rows = given.tables[1].start[:4]
    torch.testing.assert_close(search.rows(1, rows, torch.arange(4)), rows)  # gates are whole at the start
    with torch.no_grad():
        search.gates.copy_(torch.linspace(-0.4, 0.4, 9))
    for step, t in ((0, 1.0), (9, 1.0), (10, 10.0), (29, 100.0)):
        search.begin_step(step)
        gate = torch.sigmoid(t * search.gates[2:6].detach()) / torch.tensor(0.5).sigmoid()
        torch.testing.assert_close(search.rows(1, rows, torch.arange(4)).detach(), rows * gate[:, None])
        torch.testing.assert_close(
            search.regularization().detach(), 0.1 * torch.sigmoid(t * search.gates.detach()).sum()
        )
    kept = search.kept([t.start for t in given.tables])
    assert [k[:, 0].tolist() for k in kept] == [[n > 4 for n in range(7)], [n > 4 for n in range(2, 9)]]


def test_the_step_of_optembed_has_an_estimated_gradient() -> None:
    """0.4 and 1 are where the pieces meet: 2 - 4 |x|, then 0.4, then 0."""
    x = torch.tensor([-1.2, -1.0, -0.7, -0.4, -0.1, 0.0, 0.1, 0.35, 0.41, 0.99, 1.01], requires_grad=True)
    found = Step.apply(x)  # type: ignore[no-untyped-call]
    assert found.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    (3 * found).sum().backward()
    expected = [0.0, 0.4, 0.4, 0.4, 1.6, 2.0, 1.6, 0.6, 0.4, 0.4, 0.0]
    torch.testing.assert_close(x.grad, 3 * torch.tensor(expected))


def _optembed(*parts: tuple[int, int], width: int = 3, **options: Any) -> tuple[OptEmbed, SearchSpace]:
    """With thresholds and sizes of no pattern, and no size drawn."""
    given = space(*parts, width=width)
    search = OptEmbed(given, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        search.thresholds.copy_(1 + 2 * torch.rand(search.thresholds.shape, generator=generator))
        search.sizes.copy_(torch.randint(1, width + 1, search.sizes.shape, generator=generator))
    return search, given


def test_optembed_shows_the_first_numbers_of_rows_above_the_threshold_of_their_field() -> None:
    """By loops over fields, rows and numbers; what is kept at the end is what is shown."""
    search, given = _optembed((0, 7), (3, 9), width=4)
    field = (0, 0, 0, 1, 1, 1, 1, 2, 2)
    kept, dropped = search.kept([t.start for t in given.tables]), 0
    for number, table in enumerate(given.tables):
        rows = table.start
        seen = search.rows(number, rows, torch.arange(len(rows))).detach()
        for i, row in enumerate(rows.tolist()):
            f = field[table.first + i]
            above = sum(map(abs, row)) > float(search.thresholds.detach()[number, f])
            size = int(search.sizes[number, f])
            dropped += not above
            assert kept[number][i].tolist() == [above and k < size for k in range(4)]
            assert seen[i].tolist() == pytest.approx([x if above and k < size else 0.0 for k, x in enumerate(row)])
    assert 0 < dropped < 13
    exist = {0: (0, 1), 1: (1, 2)}  # fields of which a table has rows
    wanted = sum(math.exp(-float(search.thresholds.detach()[t, f])) for t, fields in exist.items() for f in fields)
    assert float(search.regularization().detach()) == pytest.approx(1e-5 * wanted, rel=1e-5)


def test_optembed_trains_all_sizes_alike() -> None:
    """In a step each feature has the first 1 to 5 numbers; over steps all as often, and one feature as another."""
    search, _ = _optembed(width=5)
    with torch.no_grad():
        search.thresholds.fill_(-1.0)
    torch.manual_seed(0)
    ones, counts = torch.ones(9, 5), torch.zeros(9, 6)
    for step in range(1500):
        search.begin_step(step)
        seen = search.rows(0, ones, torch.arange(9)).detach()
        assert torch.equal(seen, seen.cummin(1).values), "not the first numbers"
        counts[torch.arange(9), seen.sum(1).long()] += 1
        assert torch.equal(search.rows(0, ones[:2], torch.tensor([4, 8])).detach(), seen[[4, 8]])
    share = counts / 1500
    assert float(share[:, 0].max()) == 0
    assert (share[:, 1:] - 0.2).abs().max() < 0.05
    assert len({tuple(row) for row in counts.tolist()}) == 9, "features have sizes of their own"


def test_optembed_gives_fields_the_sizes_of_the_least_loss() -> None:
    """The loss is known for every candidate: what is found is the best of all, and of equal ones the smallest."""
    search, _ = _optembed(generations=400, width=40)
    best = torch.tensor([27, 3, 12])  # the first candidates do not have all of these

    def loss() -> float:
        return float((search.sizes[0] - best).square().sum())

    search.choose(loss)
    assert search.sizes[0].tolist() == best.tolist()
    search.choose(lambda: 0.5)
    assert int(search.sizes.sum()) == 3, "of equal ones the smallest"
    again, _ = _optembed(generations=40, width=5)
    asked: list[list[int]] = []
    again.choose(lambda: asked.append(again.sizes[0].tolist()) or 1.0)  # type: ignore[func-returns-value]
    assert len(asked) == len({tuple(sizes) for sizes in asked}) > 20, "a candidate is judged once"


def test_optembed_lets_a_row_of_zeros_leave_it() -> None:
    search, _ = _optembed()
    rows = torch.zeros(2, 3, requires_grad=True)
    search.sizes.fill_(3)
    search.rows(0, rows, torch.arange(2)).sum().backward()
    assert torch.equal(rows.grad, torch.ones(2, 3))  # type: ignore[arg-type]


def test_autofield_keeps_the_fields_of_the_highest_logits() -> None:
    given = space((0, 3), (3, 9))
    search = AutoField(given, fields=1)
    with torch.no_grad():
        search.logits.copy_(torch.tensor([-1.0, 2.0, 3.0]))

    def rows(found: list[Tensor]) -> list[list[bool]]:
        return [k[:, 0].tolist() for k in found]

    weights = [t.start for t in given.tables]
    assert rows(search.kept(weights)) == [[False] * 3, [False] * 4 + [True] * 2]
    torch.manual_seed(0)
    search.begin_step(4000)
    gate = torch.sigmoid((search.logits.detach() + search.drawn) / 0.8)
    seen = search.rows(1, weights[1], torch.arange(6)).detach()
    torch.testing.assert_close(seen, weights[1] * gate[[1, 1, 1, 1, 2, 2]].unsqueeze(-1))
    with pytest.raises(FmlabError, match=r"search.fields must be at most .* 3, got 4"):
        AutoField(given, fields=4)


def test_a_draw_of_autofield_is_a_gumbel_softmax_of_two() -> None:
    """The share of draws above 1/2 is the softmax of the logits, whatever the temperature."""
    search = AutoField(space(width=1), fields=1)
    torch.manual_seed(0)
    with torch.no_grad():
        search.logits.fill_(1.0)
    open_gates = 0
    for _ in range(2000):
        search.begin_step(0)
        open_gates += int((search.rows(0, torch.ones(9, 1), torch.arange(9))[0] > 0.5).sum())
    assert open_gates / 2000 == pytest.approx(1 / (1 + math.exp(-1)), abs=0.03)


def test_autofis_normalizes_products_and_weighs_them() -> None:
    given = SearchSpace(SCHEMA, space().tables, 10, 0, pairs=3)
    search = AutoFIS(given, start=0.6)
    assert ((search.gates - 0.6).abs() <= 0.001).all()
    assert search.gates.unique().numel() == 3
    products = torch.randn(50, 3) * 4 + 7
    with torch.no_grad():
        search.gates.copy_(torch.tensor([0.0, 1.0, -2.0]))
    normal = (products - products.mean(0)) / (products.var(0, unbiased=False) + 1e-3).sqrt()
    torch.testing.assert_close(search.pairs(products).detach(), normal * search.gates.detach())
    assert search.kept_pairs().tolist() == [False, True, True]
    assert torch.equal(search.rows(0, given.tables[0].start, torch.arange(9)), given.tables[0].start)


def test_grda_is_its_formula() -> None:
    """Against the sums written out; a number that is dropped comes back when its sum does."""
    lr, c, mu = 0.5, 0.3, 0.7
    w = torch.nn.Parameter(torch.tensor([0.6, 0.6, -0.6]))
    optimizer, total = GRDA([w], lr=lr, c=c, mu=mu), w.detach().clone()
    gradients = torch.tensor([[0.1, 1.2, 0.0], [0.1, 0.1, 0.2], [0.0, -3.0, 0.1]])
    zeros = []
    for step, gradient in enumerate(gradients, 1):
        w.grad = gradient.clone()
        optimizer.step()
        total -= lr * gradient
        threshold = c * lr ** (0.5 + mu) * step**mu
        expected = torch.tensor([math.copysign(max(0.0, abs(v) - threshold), v) for v in total.tolist()])
        torch.testing.assert_close(w.detach(), expected)
        zeros.append((w == 0).tolist())
    assert zeros[0][1]
    assert not zeros[2][1]

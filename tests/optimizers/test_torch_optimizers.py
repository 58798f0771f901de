"""Any optimizer of torch on any model: what it cannot do itself is done for it, and said."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from fmlab_models.fm import FM
from fmlab_models.hyperml import HyperML
from fmlab_optimizers.adagrad import AdaGrad
from fmlab_optimizers.rsgd import RSGD
from torch import nn
from torch.optim import Optimizer

from fmlab.contracts import EpochSchedule
from fmlab.errors import FmlabError
from fmlab.manifolds import Manifold, ManifoldParameter, Poincare, Sphere
from fmlab.nn.scoring import score
from fmlab.testing import candidates, tiny
from fmlab.training.optimizers import MAIN, FittedOptimizer, SeveralOptimizers, fit_optimizers, roles_of

DATA = tiny("interactions")
Make = Callable[[Iterable[nn.Parameter]], Optimizer]
TORCH: dict[str, Make] = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "decay": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.1),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.05),
}


def fitted(model: nn.Module, make: Make, **roles: Make) -> Optimizer:
    makes = {MAIN: make, **roles}
    return fit_optimizers(model, makes, dict.fromkeys(makes, "mine"))(model)


def fm(seed: int = 0) -> FM:
    torch.manual_seed(seed)
    return FM(DATA.schema, dim=3, init_std=0.3)


def train(model: nn.Module, optimizer: Optimizer, steps: int = 5, *, dense: bool = False) -> None:
    batch = candidates(DATA)
    for _ in range(steps):
        optimizer.zero_grad()
        (score(model, batch) - batch.label).square().mean().backward()
        for parameter in model.parameters() if dense else ():
            parameter.grad = parameter.grad.to_dense()
        optimizer.step()


@pytest.mark.parametrize("name", TORCH)
def test_it_is_the_optimizer_on_dense_gradients(name: str, caplog: pytest.LogCaptureFixture) -> None:
    mine, plain = fm(), fm()
    with caplog.at_level(logging.INFO, logger="fmlab"):
        optimizer = fitted(mine, TORCH[name])
    count = sum(p.numel() for p in mine.parameters())
    wanted = f"optimizer mine reads no row-sparse gradients: {count} numbers are updated at each step"
    assert [r.message for r in caplog.records] == [wanted]
    train(mine, optimizer)
    train(plain, TORCH[name](plain.parameters()), dense=True)
    assert torch.equal(mine.table.weight, plain.table.weight)
    assert torch.equal(mine.bias, plain.bias)


@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, lr=0.1), lambda p: AdaGrad(p)], ids=["sgd", "adagrad"])
def test_one_that_reads_row_sparse_gradients_is_left_alone(make: Make) -> None:
    assert not isinstance(fitted(fm(), make), FittedOptimizer)


def test_one_that_reads_row_sparse_gradients_only_is_refused_with_a_way_out() -> None:
    with pytest.raises(FmlabError, match=r"row-sparse gradients only.*optimizer\.roles\.embedding\.name"):
        fitted(fm(), lambda p: torch.optim.SparseAdam(list(p)))
    model = fm()
    optimizer = fitted(model, lambda p: torch.optim.Adam(p), embedding=lambda p: torch.optim.SparseAdam(list(p)))
    train(model, optimizer)


def test_one_that_cannot_step_is_named() -> None:
    class Broken(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            raise ZeroDivisionError("no step")

    with pytest.raises(FmlabError, match="optimizer mine cannot step: ZeroDivisionError: no step"):
        fitted(fm(), Broken)


def test_points_come_back_to_their_manifold_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = HyperML(DATA.schema, dim=3)
    with caplog.at_level(logging.WARNING, logger="fmlab"):
        optimizer = fitted(model, lambda p: torch.optim.SGD(p, lr=1e6))
    assert any("moves points of the manifold Poincare as flat coordinates" in r.message for r in caplog.records)
    train(model, optimizer, 1)
    assert all((p.norm(dim=-1) < 1).all() for p in model.parameters())
    assert torch.isfinite(score(model, candidates(DATA))).all()


@pytest.mark.parametrize("manifold", [Poincare(), Sphere()], ids=str)
@pytest.mark.parametrize("make", [lambda p: torch.optim.AdamW(p, lr=1e-3), TORCH["momentum"]])
def test_small_steps_too_leave_no_point_outside(manifold: Manifold, make: Make) -> None:
    """A step of Adam is as long as its rate, whatever the gradient: many of them lead out of the ball."""
    points = nn.ParameterList([ManifoldParameter(torch.full((4, 3), 0.4), manifold)])
    optimizer = fitted(points, make)
    for _ in range(300):
        points[0].grad = torch.full((4, 3), -1e6)
        optimizer.step()
    torch.testing.assert_close(manifold.project(points[0].detach()), points[0].detach(), rtol=1e-6, atol=0)
    assert manifold.dist(points[0], torch.zeros(4, 3)).isfinite().all()


def test_a_riemannian_optimizer_is_left_alone_and_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fmlab"):
        assert isinstance(fitted(HyperML(DATA.schema, dim=3), RSGD), RSGD)
    assert not caplog.records


@pytest.mark.parametrize("name", ["adamw", "momentum"])
def test_a_saved_state_goes_on_the_same(name: str, tmp_path: Path) -> None:
    model, again = fm(), fm(1)
    roles = {"embedding": TORCH[name]}
    optimizer = fitted(model, TORCH["rmsprop"], **roles)
    assert isinstance(optimizer, SeveralOptimizers)
    train(model, optimizer)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "saved")
    saved = torch.load(tmp_path / "saved", weights_only=True)
    again.load_state_dict(saved["model"])
    resumed = fitted(again, TORCH["rmsprop"], **roles)
    resumed.load_state_dict(saved["optimizer"])
    for m, o in ((model, optimizer), (again, resumed)):
        train(m, o)
    assert torch.equal(model.table.weight, again.table.weight)


def test_roles_have_optimizers_of_their_own() -> None:
    model, before = fm(), fm()
    optimizer = fitted(model, lambda p: torch.optim.SGD(p, lr=0.5), embedding=lambda p: RSGD(p, lr=1e-9, burn_in=2))
    assert isinstance(optimizer, EpochSchedule)
    train(model, optimizer, 1)
    torch.testing.assert_close(model.table.weight, before.table.weight, rtol=0, atol=1e-6)
    assert model.bias.item() != 0
    optimizer.start_epoch(3)
    assert [g.get("pace") for g in optimizer.param_groups] == [None, 1.0]


def test_roles_that_a_model_says_win_and_are_checked() -> None:
    model = fm()
    assert roles_of(model) == {"embedding": ["table.weight"], "dense": ["bias"]}
    model.parameter_roles = lambda: {"all": ["bias", "table.weight"]}  # type: ignore[attr-defined]
    assert roles_of(model) == {"all": ["bias", "table.weight"]}
    with pytest.raises(FmlabError, match=r"optimizer\.roles must name roles of FM; choices: all"):
        fitted(model, torch.optim.SGD, embedding=torch.optim.SGD)
    for said, rule in (({"a": ["tabel"]}, "choices: bias, table.weight"), ({"a": ["bias"], "b": ["bias"]}, "one role")):
        model.parameter_roles = lambda said=said: said  # type: ignore[attr-defined]
        with pytest.raises(FmlabError, match=rule):
            roles_of(model)

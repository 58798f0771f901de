"""Rates of the schedulers against their formulas, written anew, and against those of torch."""

import math

import pytest
import torch
from fmlab_schedulers.burn_in import BurnIn
from fmlab_schedulers.cosine import Cosine
from fmlab_schedulers.none import none
from fmlab_schedulers.plateau import Plateau
from fmlab_schedulers.step import Step
from fmlab_schedulers.warmup import Warmup
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR

STEPS, EPOCH = 60, 5


def of_torch(make: type[LRScheduler], base: float = 0.5, **options: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    schedule, rates = make(optimizer, **options), []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_step_is_that_of_torch() -> None:
    mine = Step(STEPS, EPOCH, epochs=3, factor=0.3)
    assert [mine.rate(0.5, s) for s in range(STEPS)] == pytest.approx(of_torch(StepLR, step_size=15, gamma=0.3))


@pytest.mark.parametrize("final", [0.0, 0.2])
def test_cosine_is_that_of_torch_with_its_end_at_the_last_step(final: float) -> None:
    mine = Cosine(STEPS, EPOCH, final=final)
    rates = [mine.rate(0.5, s) for s in range(STEPS)]
    assert rates == pytest.approx(of_torch(CosineAnnealingLR, T_max=STEPS - 1, eta_min=0.5 * final), abs=1e-12)
    assert (rates[0], rates[-1]) == (0.5, pytest.approx(0.5 * final, abs=1e-12))


def test_cosine_rises_first() -> None:
    mine = Cosine(STEPS, EPOCH, warmup=0.8)
    assert [mine.rate(1.0, s) for s in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert mine.rate(1.0, 4 + (STEPS - 5) // 5) == pytest.approx((1 + math.cos(math.pi / 5)) / 2)
    assert mine.rate(1.0, STEPS - 1) == pytest.approx(0.0, abs=1e-12)


def test_warmup_is_a_line() -> None:
    mine = Warmup(STEPS, EPOCH, epochs=2.0, start=0.1)
    assert [mine.rate(2.0, s) for s in (0, 4, 9, 10, 59)] == pytest.approx([0.38, 1.1, 2.0, 2.0, 2.0])


def test_burn_in_counts_epochs() -> None:
    mine = BurnIn(STEPS, EPOCH, epochs=2, factor=0.1)
    assert [mine.rate(3.0, s) for s in (0, 9, 10, 59)] == [3.0 * 0.1, 3.0 * 0.1, 3.0, 3.0]


@pytest.mark.parametrize("patience", [1, 2])
def test_plateau_is_that_of_torch_without_a_threshold(patience: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = ReduceLROnPlateau(optimizer, "max", 0.7, patience=patience - 1, threshold=0.0, eps=0.0)
    mine = Plateau(STEPS, EPOCH, factor=0.7, patience=patience)
    for value in (0.1, 0.3, 0.2, 0.3, 0.1, 0.4, 0.4, 0.2, 0.1, 0.5, 0.1):
        mine.validated(value)
        theirs.step(value)
        assert mine.rate(0.5, 0) == optimizer.param_groups[0]["lr"]


def test_none_is_none() -> None:
    assert none(STEPS, EPOCH) is None

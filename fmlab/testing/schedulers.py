"""What every scheduler of the learning rate must do."""

import math
from copy import deepcopy

import pytest

from fmlab.contracts import FollowsValidation, Scheduler

_RUNS = ((1, 1), (12, 4), (1000, 100))  # steps of the run, steps of an epoch
_VALUES = (0.2, 0.5, 0.5, 0.4, 0.3, 0.6, 0.6, 0.6, 0.1)


class SchedulerContract:
    """Subclass it and write `make`. A plugin that gives None has nothing to keep."""

    def make(self, steps: int, epoch_steps: int) -> Scheduler | None:
        """Your scheduler, for a run of so many steps, and epochs of so many."""
        raise NotImplementedError

    def _made(self, steps: int, epoch_steps: int) -> Scheduler:
        found = self.make(steps, epoch_steps)
        if found is None:
            pytest.skip("the rate stays as it is")
        return found

    @pytest.mark.parametrize(("steps", "epoch_steps"), _RUNS)
    def test_every_rate_is_a_finite_number_from_0_on(self, steps: int, epoch_steps: int) -> None:
        """At every step, and after validations of all kinds; not all of them 0."""
        scheduler, rates = self._made(steps, epoch_steps), []
        for step in range(steps):
            rates.append(scheduler.rate(0.5, step))
            if (step + 1) % epoch_steps == 0 and isinstance(scheduler, FollowsValidation):
                scheduler.validated(_VALUES[step // epoch_steps % len(_VALUES)])
        assert all(isinstance(rate, float) and math.isfinite(rate) and rate >= 0 for rate in rates), rates
        assert any(rates), "a rate of 0 throughout trains nothing"

    def test_asking_changes_nothing(self) -> None:
        """A resumed run asks for steps again, and for the later ones only."""
        scheduler, fresh = self._made(12, 4), self._made(12, 4)
        first = [scheduler.rate(0.5, step) for step in range(12)]
        assert [scheduler.rate(0.5, step) for step in range(12)] == first
        assert [fresh.rate(0.5, step) for step in reversed(range(12))] == first[::-1]

    def test_each_group_of_parameters_has_its_own_base(self) -> None:
        """What is asked for one does not change another."""
        scheduler, fresh = self._made(12, 4), self._made(12, 4)
        for step in range(12):
            scheduler.rate(0.01, step)
            assert scheduler.rate(0.5, step) == fresh.rate(0.5, step)

    def test_a_saved_state_goes_on_the_same(self) -> None:
        """State of validations, through built-in containers."""
        whole = self._made(36, 4)
        if not isinstance(whole, FollowsValidation):
            pytest.skip("it does not follow validations")
        for value in _VALUES[:5]:
            whole.validated(value)
        resumed = self._made(36, 4)
        assert isinstance(resumed, FollowsValidation)
        resumed.load_state_dict(deepcopy(whole.state_dict()))
        for number, value in enumerate(_VALUES[5:], 5):
            assert resumed.rate(0.5, 4 * number) == whole.rate(0.5, 4 * number)
            for scheduler in (whole, resumed):
                scheduler.validated(value)
        assert resumed.rate(0.5, 35) == whole.rate(0.5, 35)

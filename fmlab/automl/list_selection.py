"""Members of an ensemble that ranks items: chosen by the validation lists, whose candidates the best trials score."""

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
from torch import nn

from fmlab.automl.candidates import Candidate
from fmlab.automl.selection import greedy_by
from fmlab.contracts import Task
from fmlab.data import Array
from fmlab.data.model_inputs import inputs_of_model
from fmlab.evaluation import RankedLists
from fmlab.evaluation.kept_lists import KeptLists
from fmlab.serving import load_run

MODELS, ALIKE = 10, 3  # trials that are looked at, and those of one model among them
LISTS = 3000  # by which members are chosen
SHARE = 0.35  # of the time, for the scores of these lists; as much again for the choice
ROUNDS = 15


def choose(found: Sequence[Candidate], task: Task, until: float | None) -> tuple[list[Candidate], Array, Array]:
    """Members, their weights, and the spread of their scores, by which these are divided; `found`: trials, best first.

    Trials are looked at as long as their scores, by the times that they took to be judged, fit into the time.
    """
    evaluator = task.validation
    assert isinstance(evaluator, RankedLists)
    left = np.inf if until is None else until - time.monotonic()
    lists = [len(part.begin) - 1 for part in (evaluator, task.test) if isinstance(part, RankedLists)]
    share = min(LISTS, lists[0]) / max(1, sum(lists))
    members: list[Candidate] = []
    models: list[nn.Module] = []
    spent, alike = 0.0, Counter[str]()
    for one in found:
        name, cost = str(one.content["model"]), share * float(one.content.get("seconds_test") or 0.0)
        if alike[name] == ALIKE or (members and spent + cost > SHARE * left):
            continue
        model = load_run(one.folder).model
        if inputs_of_model(model):  # for more than ids and values, which a sum does not pass on
            continue
        members.append(one)
        models.append(model)
        spent, alike = spent + cost, alike + Counter([name])
        if len(members) == MODELS:
            break
    if len(members) < 2:
        return members, np.ones(len(members)), np.ones(len(members))
    now = time.monotonic()
    ends = [None if until is None else now + (until - now) * part for part in (SHARE, 2 * SHARE)]
    kept = KeptLists.of(evaluator, models, task.dataset, task.monitor, most=LISTS, until=ends[0])
    weights = greedy_by(kept.value, len(members), maximize=task.maximize, rounds=ROUNDS, until=ends[1])
    return members, weights, kept.scale

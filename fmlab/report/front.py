"""The Pareto front of a leaderboard: rows that are better on the validation than all that cost less."""

import math

from fmlab.report.leaderboards import Leaderboard, Row

FRONTS = {"parameters": "parameters", "bytes": "bytes", "microseconds_per_row": "time"}
"""Costs of a model where it serves, by their names in a run's record, in words."""


def front(board: Leaderboard, name: str) -> list[Row]:
    """Rows that no row of at most the same cost equals on the validation, cheapest first.

    The test selects nothing here. Rows without a record of the cost, or with an undefined metric, are left out.
    """
    known = [(cost, row) for row in board.own if (cost := row.cost(name)) is not None and math.isfinite(row.value)]
    found: list[Row] = []
    best = -math.inf
    for _, row in sorted(known, key=lambda pair: (pair[0], -board.worth(pair[1].value))):
        if board.worth(row.value) > best:
            best = board.worth(row.value)
            found.append(row)
    return found

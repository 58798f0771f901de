"""What stands below a leaderboard: what its runs warn of, what intervals and stars say and what they do not."""

from collections.abc import Mapping, Sequence

from fmlab.report.comparisons import Comparisons
from fmlab.report.evaluation_facts import SHARES, percent, protocol_of, shares_of
from fmlab.report.leaderboards import Leaderboard, Row

SIGNIFICANT = 0.05
WARNED = "(!)"  # stands behind a row whose runs warn of something


def notes(board: Leaderboard, tests: Sequence[Comparisons]) -> tuple[str, ...]:
    """Warnings of the runs, what the tests say, what is left out and why."""
    lines = judged_lines(board)
    lines += ["the time of their sweep ended these trials: they are not compared"] if board.cut else []
    lines += [f"{row.title}: {kept}" for row in board.own if (kept := _kept_by_search(row))]
    lines += [f"{WARNED} {row.title}, {warning}" for row in board.own for warning in row.warnings]
    tested = [c for c in tests if c.found]
    if tested:
        lines += _method(board, tested)
    if board.older:
        lines.append(f"{board.older} older runs of a seed that ran again with the same options are left out")
    why = list(dict.fromkeys(w for c in tests for w in c.why))
    lines += [f"not tested: {w}" for w in why[:3]]
    return (*lines, f"not tested: {len(why) - 3} more") if len(why) > 3 else tuple(lines)


def _kept_by_search(row: Row) -> str:
    """What the structure searches of a row's runs kept; empty without one."""
    found = [run.content["search"] for run in row.runs if isinstance(run.content.get("search"), Mapping)]
    counts = [(s.get("parameters"), s.get("parameters_before")) for s in found]
    if not counts or not all(isinstance(n, int) and n > 0 for pair in counts for n in pair):
        return ""
    after, before = ([f"{n:,}" for n in dict.fromkeys(each)] for each in zip(*counts, strict=True))
    return f"search={found[0].get('name')} kept {', '.join(after)} of {', '.join(before)} parameters"


def judged_lines(board: Leaderboard) -> list[str]:
    """The protocol in words, and what of the test stands in training."""
    told = protocol_of(board)
    lines = ["protocol: " + "; ".join(f"{name}: {text}" for name, text in told.items())] if told else []
    shares = shares_of(board)
    said = [f"{percent(share)} {SHARES[name]}" for name, share in shares.items() if share > 0]
    return [*lines, "of the test rows " + ", ".join(said)] if said else lines


def _method(board: Leaderboard, tested: Sequence[Comparisons]) -> list[str]:
    """What differences, intervals and stars say, and what they do not."""
    metric, cases = tested[0].metric, tested[0].cases
    both = [test.p is not None for c in tested for test in c.found.values()]
    if cases == "folds":
        counted = f"{tested[0].pairs} pair{'s' if tested[0].pairs > 1 else ''}"
        return [
            f"best: by the validation; {metric} vs ...: mean difference over the folds that both rows have; interval "
            "and p: Student's t over folds, its variance corrected for shared training rows (Nadeau and Bengio, 2003); "
            f"p Holm-corrected over {counted} of rows; * below {SIGNIFICANT}"
        ]
    extra = "" if metric == board.monitor else f" ({board.monitor} has no value for each case)"
    seeds = "" if not any(both) else " and seeds" if all(both) else " and, where both rows have several, seeds"
    lines = [
        f"best: by the validation; {metric} vs ...{extra}: difference of the values shown; "
        f"interval: bootstrap of it over test {cases}{seeds}"
    ]
    if any(both):
        pairs = tested[0].pairs
        lines.append(
            f"p: test over seeds and test {cases}, Holm-corrected over {'all ' if pairs > 1 else ''}{pairs} "
            f"pair{'s' if pairs > 1 else ''} of rows with several seeds; * below {SIGNIFICANT}"
        )
    if not all(both):
        lines.append(
            "beside or of a row with one seed: no test, as training noise is not known; "
            f"the interval takes the trained models as given and is of the test {cases} alone"
        )
    return lines

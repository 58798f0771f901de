from typing import Annotated, Any, Literal

import pytest

from fmlab.plugin.option import Option, Range, supported


@pytest.mark.parametrize(
    ("kind", "given", "taken"),
    [
        (int | str, "8", "8"),
        (int | str, 8, 8),
        (str | int, 8, 8),
        (float | None, 1, 1.0),
        (float | None, None, None),
        (float, "1e-3", 0.001),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, ...], (), ()),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[float, ...] | None, [1], (1.0,)),
        (Literal["auto"] | bool, True, True),
        (Literal["auto"] | bool, "auto", "auto"),
        (Annotated[tuple[int, ...], Range(1, None)], [1, 2], (1, 2)),
        (Annotated[int, Range(1, 3)] | None, 3, 3),
        (Annotated[int, Range(1)] | Annotated[float, Range(0, 1)], 0.5, 0.5),
        (Annotated[int, Range(1)] | Annotated[float, Range(0, 1)], 1.0, 1.0),
    ],
)
def test_a_fitting_value_is_taken_with_its_type(kind: Any, given: Any, taken: Any) -> None:
    got = Option("x", kind).check(given)
    assert got == taken
    assert type(got) is type(taken)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (int, "1.5"),
        (int, 1.5),
        (int, False),
        (float, True),
        (float, "abc"),
        (float, 10**400),
        (bool, "yes"),
        (str, None),
        (tuple[int, str], [1]),
        (Annotated[tuple[int, ...], Range(1, None)], [1, 0]),
        (Annotated[int, Range(1, 3)] | None, 4),
        (Annotated[float, Range(0, None, open_low=True)], 0.0),
        (Annotated[float, Range(None, 1, open_high=True)], 1),
        (Literal[1, 2], True),
        (Literal[1, 2], "1"),
    ],
)
def test_another_value_is_refused_with_the_rule(kind: Any, given: Any) -> None:
    with pytest.raises(ValueError, match=r"^must be .+, got "):
        Option("x", kind).check(given)


def test_ranges_read_as_in_mathematics() -> None:
    assert str(Range(0, 1, open_low=True)) == "(0, 1]"
    assert str(Range(None, 2.5, open_high=True)) == "(-inf, 2.5)"
    assert str(Range(0, 2**32 - 1)) == "[0, 4294967295]"


@pytest.mark.parametrize("kind", [list[int], dict, tuple, Any, Annotated[int, 1], Literal[None], bytes])
def test_other_annotations_are_not_supported(kind: Any) -> None:
    assert not supported(kind)

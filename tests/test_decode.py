"""JSON is checked against types: a mistake is named by its path, and nothing odd gets through."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from gala_rl.decode import Count, Number, Rule, decode, fits
from gala_rl.errors import UserError


class Part(TypedDict):
    steps: Count
    score: NotRequired[Number | None]


class Whole(TypedDict):
    parts: list[Part]
    sums: dict[str, Count]
    kind: Literal["begin", "end"]
    rest: NotRequired[Any]
    rate: NotRequired[Annotated[Number, Rule("above 0", lambda v: v > 0)]]
    ranks: NotRequired[Annotated[list[Count], Rule("a list of ranks", bool)]]


RIGHT: dict[str, Any] = {"parts": [{"steps": 1}], "sums": {"a": 2}, "kind": "end"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"written by": "another version"},
        {"parts": []},
        {"rest": [float("nan")]},
        {"parts": [{"steps": 10**18, "score": None}, {"steps": 0, "score": 1}]},
        {"ranks": [0, 1]},
    ],
)
def test_what_is_right_comes_back_as_it_is(more: dict[str, Any]) -> None:
    value = RIGHT | more
    assert decode(Whole, value, "a.json") is value


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"parts": {}}, "a.json has parts {}: it must be a list"),
        ({"parts": [1]}, "a.json has parts[0] 1: it must be an object"),
        ({"parts": [{"steps": 1}, {}]}, "a.json has no parts[1].steps: it must be a whole number"),
        ({"parts": [{"steps": True}]}, "a.json has parts[0].steps True: it must be a whole"),
        ({"parts": [{"steps": 1.0}]}, "a.json has parts[0].steps 1.0: it must be a whole"),
        ({"parts": [{"steps": -1}]}, "a.json has parts[0].steps -1: it must be a whole number"),
        ({"parts": [{"steps": 10**400}]}, "a.json has parts[0].steps 10000"),
        ({"parts": [{"steps": 1, "score": float("nan")}]}, "score nan: it must be a finite number"),
        ({"parts": [{"steps": 1, "score": 10**400}]}, "or null"),
        ({"parts": [{"steps": 1, "score": "2"}]}, "parts[0].score '2': it must be a finite"),
        ({"sums": {"b": []}}, "a.json has sums['b'] []: it must be a whole number"),
        ({"kind": "middle"}, "a.json has kind 'middle': it must be one of begin, end"),
        ({"kind": {}}, "a.json has kind {}: it must be one of begin, end"),
        ({"rate": 0}, "a.json has rate 0: it must be a finite number and above 0"),
        ({"rate": float("inf")}, "a.json has rate inf: it must be a finite number and above 0"),
        ({"ranks": []}, "a.json has ranks []: it must be a list of ranks"),
        ({"ranks": [False]}, "a.json has ranks[0] False: it must be a whole number"),
    ],
)
def test_the_first_mistake_is_named_with_its_path(more: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as refusal:
        decode(Whole, RIGHT | more, "a.json")
    assert line in str(refusal.value)
    assert not fits(Whole, RIGHT | more)


def test_what_is_no_object_is_refused_as_a_whole() -> None:
    with pytest.raises(UserError, match=r"a.json has as content \[\]: it must be an object"):
        decode(Whole, [], "a.json")

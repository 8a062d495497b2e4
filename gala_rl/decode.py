"""Check values that were read as JSON against types: one clear line per mistake.

A type is Any, a TypedDict, `list[X]`, `dict[str, X]`, `X | None`, a Literal, `str`, `bool`, `int`,
`float`, or one of these with a rule: `Annotated[X, Rule("in words", test)]`. A bool is no number,
and an int is a float. Keys that a TypedDict does not name are allowed, since other versions may
write more.
"""

from collections.abc import Callable, Iterator
from functools import cache
from reprlib import repr as short
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from gala_rl.errors import UserError

_T = TypeVar("_T")
_MISSING = object()
_WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


class Rule(NamedTuple):
    """A condition on a value besides its type: in words, and as a function."""

    words: str
    holds: Callable[[Any], bool]


# Counts fit into 64 bits, and sums and ratios of such numbers stay finite.
Count = Annotated[int, Rule("a whole number from 0 to 1e18", lambda v: 0 <= v <= 10**18)]
Number = Annotated[float, Rule("a finite number", lambda v: -1e300 < v < 1e300)]


def decode(kind: type[_T], value: Any, place: str, path: str = "") -> _T:
    """Return a value that was read from JSON, now known to be of a type.

    Args:
        kind: the type, as described in this module.
        value: what `json.loads` returned, or a part of it.
        place: file that holds the value, for the error.
        path: where in the file the value is, such as "calls[2]"; empty: it is all of the file.

    Raises:
        UserError: naming the first mistake and what the value must be.
    """
    for mistake in _mistakes(kind, value, path):
        raise UserError(f"{place} has {mistake}")
    return value  # type: ignore[no-any-return]


def fits(kind: Any, value: Any) -> bool:
    """Return whether a value is of a type."""
    return next(_mistakes(kind, value, ""), None) is None


def in_words(kind: Any) -> str:
    """Return in words what a value of a type must be."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return " and ".join(rule.words for rule in arguments[1:])
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (Union, UnionType):
        return " or ".join(in_words(k) for k in arguments)
    if kind is type(None):
        return "null"
    return "a list" if origin is list else _WORDS.get(kind, "an object")


def _mistakes(kind: Any, value: Any, path: str) -> Iterator[str]:
    if value is _MISSING:
        yield f"no {path}: it must be {in_words(kind)}"
    elif not _is_of(kind, value):
        yield f"{path or 'as content'} {short(value)}: it must be {in_words(kind)}"
    else:
        for inner in _inner(kind, value, path):
            yield from _mistakes(*inner)


def _is_of(kind: Any, value: Any) -> bool:
    """Return whether a value is of a type, without checking the values inside it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _is_of(arguments[0], value) and all(rule.holds(value) for rule in arguments[1:])
    if origin in (Union, UnionType):
        return any(fits(k, value) for k in arguments)
    if origin is Literal:
        return value in arguments
    if kind is float:
        return type(value) in (int, float)
    if kind is Any:
        return True
    return type(value) is (dict if is_typeddict(kind) else origin or kind)


def _inner(kind: Any, value: Any, path: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield type, value and path of each value inside a value of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        for name, field in _fields(kind).items():
            if name in value or name in kind.__required_keys__:
                yield field, value.get(name, _MISSING), f"{path}.{name}" if path else name
    elif origin is list:
        yield from ((arguments[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    elif origin is dict:
        yield from ((arguments[1], v, f"{path}[{short(key)}]") for key, v in value.items())
    elif origin is Annotated:
        yield arguments[0], value, path


@cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {n: get_args(h)[0] if get_origin(h) is NotRequired else h for n, h in hints.items()}

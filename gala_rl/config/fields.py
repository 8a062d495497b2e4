"""Checks each field of a settings dataclass: its type and its bounds; parses counts."""

import dataclasses
import json
import math
from collections.abc import Collection, Mapping
from decimal import Decimal
from reprlib import repr as short
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gala_rl.errors import UserError

_LARGEST, _MAX_DIGITS = 1e30, 18  # Products of larger numbers may be infinite in float32.


def parse_count(text: str) -> int:
    """Parse a whole number such as 4000000, 4_000_000, 4e6 or 4M (k, M, G: powers of 1000).

    Raises:
        ValueError: when it is not a whole number.
    """
    suffixes = {"k": 10**3, "m": 10**6, "g": 10**9}
    scale = suffixes.get(text[-1:].lower(), 1)
    try:
        # Exact, unlike float: 1.001M is 1001000.
        number = Decimal(text[:-1] if scale > 1 else text) * scale
    except ArithmeticError as error:
        raise ValueError(f"{text!r} is not a number") from error
    if not number.is_finite() or number.adjusted() > _MAX_DIGITS or number % 1:
        raise ValueError(f"{text!r} is not a whole number")
    return int(number)


def check(config: Any, prefix: str = "") -> None:
    """Check the type and the bounds of every field of a settings dataclass.

    Raises:
        UserError: naming the first offending field, its value and what is allowed.
    """
    hints = get_type_hints(type(config))
    for entry in dataclasses.fields(config):
        value, name = getattr(config, entry.name), f"{prefix}{entry.name}"
        if entry.metadata.get("is_read"):
            continue
        if dataclasses.is_dataclass(value):
            check(value, f"{name}.")
            continue
        check_field(name, value, hints[entry.name], entry.metadata)


def check_field(name: str, value: Any, hint: Any, bounds: Mapping[str, Any]) -> None:
    """Check the type and the bounds of a setting's value.

    Args:
        name: name of the setting, for the error.
        value: its value.
        hint: its type.
        bounds: metadata of its field.

    Raises:
        UserError: naming the setting, its value and what is allowed.
    """
    element = element_of(hint)
    for part in (value,) if element is None else _parts(name, value, hint):
        _check_type(name, part, element or hint)
        _check_name(name, part, bounds.get("names", ()))
        _check_bounds(name, part, bounds)


def _parts(name: str, value: Any, hint: Any) -> tuple[Any, ...]:
    """Return the elements of a tuple; () for None, where the hint allows it."""
    if value is None and type(None) in get_args(hint):
        return ()
    if not isinstance(value, tuple):
        raise UserError(f"{name} {short(value)} has the wrong type: it must be tuple")
    return value


def element_of(hint: Any) -> Any:
    """Return T of a type hint `tuple[T, ...]` or `tuple[T, ...] | None`; None of any other hint."""
    kinds = (hint, *get_args(hint))
    return next((get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple), None)


def _check_type(name: str, value: Any, hint: Any) -> None:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            choices = ", ".join(map(str, get_args(hint)))
            raise UserError(f"{name} {short(value)} is unknown: choose one of {choices}")
        return
    if get_origin(hint) is Mapping:
        _check_arguments(name, value)
        return
    kinds = (kind for kind in get_args(hint) or (hint,) if isinstance(kind, type))
    # What has one is replaced by its text when the settings are made.
    allowed = tuple(kind for kind in kinds if not getattr(kind, "_is_protocol", False))
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join("none" if t is type(None) else t.__name__ for t in allowed)
        raise UserError(f"{name} {short(value)} has the wrong type: it must be {names}")


def _check_arguments(name: str, value: Any) -> None:
    """Raise a UserError unless a value is a dict with names as keys and JSON values."""
    try:
        is_json = isinstance(value, Mapping) and json.loads(json.dumps(dict(value))) == dict(value)
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        is_json = False
    if not is_json or not all(isinstance(key, str) and key.isidentifier() for key in value):
        raise UserError(
            f"{name} {short(value)} must be a dict of arguments by name, whose values are those "
            f"of JSON: text, numbers, true, false, null, lists and dicts of them"
        )


def _check_name(name: str, value: Any, names: Collection[str]) -> None:
    """Raise a UserError for a text that is neither one of the names nor that of a function."""
    # A name with a dot is a mistyped function, for which its import has a better message.
    if names and isinstance(value, str) and value not in names and not {":", "."} & set(value):
        raise UserError(
            f"{name} {short(value)} is unknown: choose one of {', '.join(names)}, or give "
            f"module:function"
        )


def _check_bounds(name: str, value: Any, bounds: Mapping[str, Any]) -> None:
    if not isinstance(value, int | float):
        return
    if isinstance(value, int) and abs(value) >= 10 ** (_MAX_DIGITS + 1):
        raise UserError(f"{name} {short(value)} is too large: no number here has so many digits")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} {value} is not finite: give a finite number")
    if "minimum" in bounds and value < bounds["minimum"]:
        raise UserError(f"{name} {value} is too small: it must be at least {bounds['minimum']}")
    if "above" in bounds and value <= bounds["above"]:
        raise UserError(f"{name} {value} is too small: it must be above {bounds['above']}")
    if value > (most := bounds.get("maximum", _LARGEST)):
        raise UserError(f"{name} {value} is too large: it must be at most {most}")

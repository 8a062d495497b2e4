"""Numbers that were read from a file: what a run can have written there, and what it cannot."""

from typing import Any

_MOST = 10**18
"""More than any run counts to; all of it fits into 64 bits."""
_FARTHEST = 1e300


def is_count(value: Any) -> bool:
    """Whether a value is a whole number that something can have been counted to."""
    return type(value) is int and 0 <= value <= _MOST


def are_counts(values: Any) -> bool:
    """Whether a value is a list of counts."""
    return isinstance(values, list) and all(map(is_count, values))


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that can be computed with."""
    return type(value) in (int, float) and -_FARTHEST < value < _FARTHEST


def are_numbers(values: Any) -> bool:
    """Whether a value is a list of such numbers."""
    return isinstance(values, list) and all(map(is_number, values))

"""Spoils bytes and JSON at random, always the same way for the same seed."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

ODD: tuple[Callable[[random.Random], Any], ...] = (
    lambda r: None,
    lambda r: r.choice([True, False]),
    lambda r: r.choice([0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**18 + 1, 10**400]),
    lambda r: r.choice([0.0, -0.0, 0.5, 1e-320, 1e308, float("nan"), float("inf"), -float("inf")]),
    lambda r: r.choice(["", "a", "00", "-1", "1e3", "٣", "../../x", "/", ".", "..", "step_"]),
    lambda r: r.choice(["\x1b[2J", "two\nlines", "nul\0", "\ud800", "\u202e", "x" * 10_000]),
    lambda r: r.choice([[], {}, [[]], {"": {}}, [None], [float("nan")], {"name": []}]),
    lambda r: f"@{r.choice([5, 100, 900, 980, 2_000, 100_000])}@",
)
"""Unexpected values to put in place of a value; @9@ becomes a list nested nine deep."""


def both(quick: int, long: int) -> pytest.MarkDecorator:
    """So many inputs in every run of the tests, and many more in `make fuzz`."""
    many = pytest.param(1, long, marks=[pytest.mark.slow, pytest.mark.timeout(7_200)])
    return pytest.mark.parametrize(("seed", "inputs"), [(0, quick), many])


def spoiled_bytes(content: bytes, chance: random.Random) -> bytes:
    """One to three of: a bit turned, bytes cut, left out, put in, doubled or made the same."""
    spoiled = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        a, b = sorted(chance.randrange(len(spoiled) + 1) for _ in range(2))
        b = min(b, a + chance.choice([1, 4, 64, 10_000]))
        kind = chance.randrange(6)
        if kind == 0 and a < len(spoiled):
            spoiled[a] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del spoiled[a:]
        elif kind == 2:
            del spoiled[a:b]
        elif kind == 3:
            spoiled[a:a] = chance.randbytes(chance.choice([1, 8, 100]))
        elif kind == 4:
            spoiled[a:a] = spoiled[a:b]
        else:
            spoiled[a:b] = bytes([chance.choice([0, 0xFF, ord("9"), ord("["), ord('"')])]) * (b - a)
    return bytes(spoiled)


def spoiled_value(value: Any, chance: random.Random) -> Any:
    """A JSON value in which one or two places hold something odd, nothing, or one thing more."""
    value = json.loads(json.dumps(value))
    for _ in range(chance.randint(1, 2)):
        places = list(_places(value))
        if not places:
            return chance.choice(ODD)(chance)
        holder, key = chance.choice(places)
        kind = chance.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[chance.choice(["", "extra", "\x1b", str(chance.random())])] = holder[key]
        elif kind == 2 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif kind == 3 and isinstance(holder[key], int | float):
            holder[key] = chance.choice([-holder[key], holder[key] * 10**9, holder[key] + 1])
        else:
            holder[key] = chance.choice(ODD)(chance)
    return value


def _places(value: Any, depth: int = 0) -> Any:
    if depth > 20:
        return
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key], depth + 1)


def spoiled_json(content: bytes, chance: random.Random) -> bytes:
    """JSON in which a value, or now and then the text itself, is spoiled."""
    if chance.random() < 0.3:
        return spoiled_bytes(content, chance)
    text = json.dumps(spoiled_value(json.loads(content), chance))
    text = re.sub('"@([0-9]+)@"', lambda m: "[" * int(m[1]) + "]" * int(m[1]), text)
    if chance.random() < 0.1:  # The last of two equal keys counts.
        text = text.replace("{", '{"format": 7, "seed": 1, ', 1)
    return text.encode()

"""Edges of a graph of the user: from a file, from a function, or written as text."""

import json
from collections.abc import Sequence
from operator import index
from pathlib import Path
from reprlib import repr as short
from typing import Any

from gala_rl.config.graphs import edges_of, is_graph
from gala_rl.errors import UserError
from gala_rl.imports import describe, import_function

Edges = list[tuple[int, int]]
"""Pairs (sender, receiver) of ranks."""


def is_text(name: str) -> bool:
    """Return whether a topology is given as the JSON list of its edges."""
    return name.startswith("[")


def is_function(name: str) -> bool:
    """Return whether a topology is given as module:function, from n to the edges of n learners."""
    return ":" in name and not is_text(name) and not name.endswith(".json")


def shown(name: str) -> str:
    """Return a topology as messages show it: text of many edges is cut short."""
    return short(name).strip("'") if is_text(name) else name


def is_file(name: str) -> bool:
    """Return whether there is a file of that name."""
    try:
        return Path(name).is_file()
    except OSError:  # The name is too long, or the folder may not be searched.
        return False


def edges_in(name: str, learners: int) -> Edges:
    """Return the edges that text, a function or a file gives for a number of learners.

    Raises:
        UserError: when there are none, or they are for another number of learners.
    """
    if is_function(name):
        return _called(name, learners)
    if not is_text(name):
        return _checked(_read(Path(name)), f"topology file {name}")
    edges = _text(name)
    if (nodes := count_of(edges)) != learners:
        raise UserError(
            f"topology {shown(name)} is a graph of {nodes} learners, and there are {learners}: "
            f"give learners {nodes}, or another graph"
        )
    return edges


def learners_in(name: str) -> int:
    """Return the number of learners that the edges in text or a file name; 1 without such a file.

    Raises:
        UserError: when it does not hold a list of edges.
    """
    if is_text(name):
        return count_of(_text(name))
    return count_of(edges_in(name, 1)) if is_file(name) else 1


def count_of(edges: Edges) -> int:
    """Return the least number of learners that edges name."""
    return 1 + max((learner for edge in edges for learner in edge), default=0)


def _called(name: str, learners: int) -> Edges:
    what = f"topology {name!r}"
    function = import_function(name, what)
    first, again = (_result(function, learners, what) for _ in range(2))
    if sorted(first) != sorted(again):
        raise UserError(
            f"{what} gives another graph at each call: learners call it too, so seed what it draws"
        )
    return first


def _result(function: Any, learners: int, what: str) -> Edges:
    try:
        found = function(learners)
        edges = found if is_graph(found) else [tuple(map(index, edge)) for edge in found]
    # The user's code may raise anything.
    except Exception as error:
        raise UserError(
            f"{what} raised {describe(error)}, for {learners} learners: it must return pairs "
            f"(sender, receiver) or a networkx.DiGraph"
        ) from error
    if not is_graph(found):
        return _checked(edges, what)
    if len(found) != learners:
        raise UserError(f"{what} gives a graph of {len(found)} nodes for {learners} learners")
    return edges_of(found, what)


def _text(text: str) -> Edges:
    return _checked(_parsed(text, f"topology {shown(text)}"), f"topology {shown(text)}")


def _read(path: Path) -> Any:
    what = f"topology file {path}"
    try:
        text = path.read_text(encoding="utf-8")
    except (ValueError, OSError) as error:
        raise _unreadable(what, error) from error
    return _parsed(text, what)


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(what, error) from error


def _unreadable(what: str, error: Exception) -> UserError:
    why = getattr(error, "strerror", None) or error  # without the path again
    return UserError(f"{what} cannot be read ({why}): {_REMEDY}")


_REMEDY = "it must be a list such as [[0, 1], [1, 2], [2, 0]]"


def _checked(edges: Any, what: str) -> Edges:
    """Return what should be pairs of ranks.

    Raises:
        UserError: when it is something else.
    """
    if not isinstance(edges, list):
        raise UserError(f"{what} holds a {type(edges).__name__}: {_REMEDY}")
    for edge in edges:
        # bool is a subclass of int.
        if not isinstance(edge, Sequence) or [type(learner) for learner in edge] != [int, int]:
            raise UserError(f"{what} holds the edge {short(edge)}: {_REMEDY}")
    return [(sender, receiver) for sender, receiver in edges]

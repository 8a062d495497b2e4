"""What a plan of faults says: reads and checks the file; imports no torch."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as short
from typing import Any, NamedTuple

from gala_rl.errors import UserError

_REMEDY = "see docs/faults.md"


class Kind(NamedTuple):
    """What a kind of fault is made of, besides `kind` and the moment when it comes.

    Attributes:
        needs: fields that it must have.
        may: fields that it may have.
        is_lasting: whether it is in force for a while, `updates` or `seconds` long.
        needs_processes: whether it makes no sense where learners take turns in one process.
    """

    needs: tuple[str, ...]
    may: tuple[str, ...] = ()
    is_lasting: bool = False
    needs_processes: bool = False


_EDGES = ("senders", "receivers")
KINDS = {
    "kill": Kind(("learner",), needs_processes=True),
    "kill-node": Kind(("node",)),
    "stop": Kind(("learner", "seconds"), needs_processes=True),
    "slow": Kind(("learner", "factor"), is_lasting=True, needs_processes=True),
    "nan": Kind(("learner",), needs_processes=True),
    "disk-full": Kind(("learner",)),
    "simulator-crash": Kind(("learner", "simulator")),
    "cut": Kind(_EDGES, ("both_ways",), is_lasting=True),
    "delay": Kind((*_EDGES, "delay_s"), ("both_ways",), is_lasting=True),
    "duplicate": Kind(_EDGES, ("both_ways",), is_lasting=True),
    "corrupt": Kind(_EDGES, ("both_ways", "how"), is_lasting=True),
}
HOW = ("nan", "size", "bits")
"""Ways in which a message can be corrupt."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One entry of a plan.

    Either `at_updates` or `at_s` is set. Updates are those of the learner to which it happens; to
    what happens to messages, those of their receiver; to a node, those of its first learner.
    Seconds count from the first update of the run, or from the first after it was resumed.

    Attributes:
        index: its place in the plan.
        kind: one of `KINDS`.
        at_updates: it comes when so many updates have been made, before the next.
        at_s: it comes after so many seconds.
        updates: a lasting fault is over after so many further updates; None: it stays.
        seconds: it is over after so long; None: it stays.
        learner: to whom it happens; None where it happens to messages or to a node.
        node: index of the node to which it happens.
        edges: (sender, receiver) pairs between which it happens.
        factor: by which a learner is slowed.
        simulator: index of the learner's simulator.
        delay_s: by which messages are late.
        how: in which way messages are corrupt.
    """

    index: int
    kind: str
    at_updates: int | None = None
    at_s: float | None = None
    updates: int | None = None
    seconds: float | None = None
    learner: int | None = None
    node: int | None = None
    edges: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    factor: float = 1.0
    simulator: int = 0
    delay_s: float = 0.0
    how: str = "nan"

    @property
    def is_lasting(self) -> bool:
        """Whether it is in force for a while, rather than at one moment."""
        return KINDS[self.kind].is_lasting

    @property
    def learners(self) -> frozenset[int]:
        """To whom it happens: the learner itself, or the receivers of messages; not to a node."""
        if self.learner is not None:
            return frozenset({self.learner})
        return frozenset(receiver for _, receiver in self.edges)

    def has_come(self, updates: int, elapsed_s: float) -> bool:
        """Whether its moment is there, or past, for a learner that has made so many updates."""
        if self.at_updates is not None:
            return updates >= self.at_updates
        return self.at_s is not None and elapsed_s >= self.at_s

    def is_on(self, updates: int, elapsed_s: float) -> bool:
        """Whether a lasting fault is in force for a learner that has made so many updates."""
        if not self.has_come(updates, elapsed_s):
            return False
        if self.at_updates is not None:
            return self.updates is None or updates < self.at_updates + self.updates
        return self.at_s is None or self.seconds is None or elapsed_s < self.at_s + self.seconds


def read_plan(file: str | Path) -> tuple[Fault, ...]:
    """The faults in a JSON file such as {"faults": [{"kind": "kill", "learner": 1, "at_s": 5}]}.

    Raises:
        UserError: naming the entry and what is allowed.
    """
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"fault plan {file} cannot be read ({error}): {_REMEDY}") from error
    if not isinstance(content, dict) or set(content) != {"faults"}:
        raise UserError(f'fault plan {file} must be an object {{"faults": […]}}: {_REMEDY}')
    entries = content["faults"]
    if not isinstance(entries, list):
        raise UserError(f"fault plan {file}: faults must be a list of objects: {_REMEDY}")
    return tuple(_fault(f"fault plan {file}: faults[{i}]", i, e) for i, e in enumerate(entries))


def _fault(place: str, index: int, entry: Any) -> Fault:
    if not isinstance(entry, dict):
        raise UserError(f"{place} is {short(entry)}: it must be an object; {_REMEDY}")
    name = entry.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        raise UserError(f"{place} has kind {short(name)}: choose one of {', '.join(KINDS)}")
    values = {key: value for key, value in entry.items() if key != "kind"}
    _check_fields(place, name, values)
    for key, value in values.items():
        allowed, holds = _RULES[key]
        if not holds(value):
            raise UserError(f"{place} ({name}) has {key} {short(value)}: it must be {allowed}")
    senders, receivers = values.pop("senders", ()), values.pop("receivers", ())
    edges = {(s, r) for s in senders for r in receivers if s != r}
    if values.pop("both_ways", False):
        edges |= {(r, s) for s, r in edges}
    return Fault(index=index, kind=name, edges=frozenset(edges), **values)


def _check_fields(place: str, name: str, values: dict[str, Any]) -> None:
    """Refuse what is missing, unknown, or says the same twice."""
    kind = KINDS[name]
    moments = [key for key in ("at_updates", "at_s") if key in values]
    if len(moments) != 1:
        raise UserError(f"{place} ({name}) must have one of at_updates and at_s")
    length = {"at_updates": "updates", "at_s": "seconds"}[moments[0]]
    known = (*kind.needs, *kind.may, *moments, *((length,) if kind.is_lasting else ()))
    for key in values:
        if key not in known:
            raise UserError(
                f"{place} ({name}) has {short(key)}: beside kind it has {', '.join(known)}"
            )
    for key in kind.needs:
        if key not in values:
            raise UserError(f"{place} ({name}) has no {key}: it must be {_RULES[key][0]}")


def _is_count(value: Any, least: int = 0) -> bool:
    return type(value) is int and value >= least


def _is_number(value: Any, least: float, most: float = 1e9) -> bool:
    return type(value) in (int, float) and least <= value <= most


def _is_ranks(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_is_count, value))


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "at_updates": ("a whole number, 0 or more", _is_count),
    "at_s": ("a number of seconds from 0 to 1e9", lambda v: _is_number(v, 0)),
    "updates": ("a whole number, 1 or more", lambda v: _is_count(v, 1)),
    "seconds": ("a number above 0, at most 1e9", lambda v: v != 0 and _is_number(v, 0)),
    "learner": ("the rank of a learner", _is_count),
    "node": ("the index of a node", _is_count),
    "senders": ("a list of ranks such as [0, 1]", _is_ranks),
    "receivers": ("a list of ranks such as [2, 3]", _is_ranks),
    "both_ways": ("true or false", lambda v: isinstance(v, bool)),
    "factor": ("a number above 1, at most 1000", lambda v: v != 1 and _is_number(v, 1, 1000)),
    "simulator": ("the index of a simulator", _is_count),
    "delay_s": (
        "a number of seconds above 0, at most 60",
        lambda v: v != 0 and _is_number(v, 0, 60),
    ),
    "how": (f"one of {', '.join(HOW)}", lambda v: v in HOW),
}
"""What a field may be: in words, and as a test."""

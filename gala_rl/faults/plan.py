"""Reads and checks fault plans; imports no torch."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as short
from typing import Annotated, Any, Literal, NamedTuple, get_args

from gala_rl.decode import Rule, decode, in_words
from gala_rl.errors import UserError

_REMEDY = "see docs/faults.md"


class Kind(NamedTuple):
    """Fields of a kind of fault, besides `kind` and the moment at which it begins.

    Attributes:
        required: fields that it must have.
        optional: fields that it may have.
        is_lasting: whether it lasts for a number of `updates` or `seconds`.
        needs_processes: whether it is impossible if learners take turns in one process.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
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

Corruption = Literal["nan", "size", "bits"]
CORRUPTIONS = get_args(Corruption)

_Ranks = list[Annotated[int, Rule("the rank of a learner", lambda v: v >= 0)]]
_FIELDS: dict[str, Any] = {
    "at_updates": Annotated[int, Rule("a whole number, 0 or more", lambda v: v >= 0)],
    "at_s": Annotated[float, Rule("a number of seconds from 0 to 1e9", lambda v: 0 <= v <= 1e9)],
    "updates": Annotated[int, Rule("a whole number, 1 or more", lambda v: v >= 1)],
    "seconds": Annotated[float, Rule("a number above 0, at most 1e9", lambda v: 0 < v <= 1e9)],
    "learner": Annotated[int, Rule("the rank of a learner", lambda v: v >= 0)],
    "node": Annotated[int, Rule("the index of a node", lambda v: v >= 0)],
    "senders": Annotated[_Ranks, Rule("a list of ranks such as [0, 1]", bool)],
    "receivers": Annotated[_Ranks, Rule("a list of ranks such as [2, 3]", bool)],
    "both_ways": bool,
    "factor": Annotated[float, Rule("a number above 1, at most 1000", lambda v: 1 < v <= 1000)],
    "simulator": Annotated[int, Rule("the index of a simulator", lambda v: v >= 0)],
    "delay_s": Annotated[
        float, Rule("a number of seconds above 0, at most 60", lambda v: 0 < v <= 60)
    ],
    "how": Corruption,
}
"""Types of the fields."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One entry of a plan.

    Either `at_updates` or `at_s` is set. Updates are those of the learner that the fault affects;
    for faults of messages, of the receiver; for faults of a node, of its first learner. Seconds
    count from the first update of the run, or from the first after it was resumed.

    Attributes:
        index: its position in the plan.
        kind: one of `KINDS`.
        at_updates: it begins after this many updates, before the next one.
        at_s: it begins after this many seconds.
        updates: a lasting fault ends after this many further updates; None: never.
        seconds: a lasting fault ends after this many further seconds; None: never.
        learner: rank of the learner that it affects; None for faults of messages and nodes.
        node: index of the node that it affects.
        edges: (sender, receiver) pairs whose messages it affects.
        factor: multiple of their time that the learner's updates take.
        simulator: index of the learner's simulator that crashes.
        delay_s: seconds by which messages are delayed.
        how: kind of corruption of messages.
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
    how: Corruption = "nan"

    @property
    def is_lasting(self) -> bool:
        """Whether it lasts for some time, rather than happening at one moment."""
        return KINDS[self.kind].is_lasting

    @property
    def learners(self) -> frozenset[int]:
        """Ranks of the learners that it affects: the learner, or the receivers of messages."""
        if self.learner is not None:
            return frozenset({self.learner})
        return frozenset(receiver for _, receiver in self.edges)

    def has_begun(self, updates: int, elapsed_s: float) -> bool:
        """Return whether the fault is due or has begun.

        Args:
            updates: updates made by the learner that it affects.
            elapsed_s: seconds since the first update of the run.
        """
        if self.at_updates is not None:
            return updates >= self.at_updates
        return self.at_s is not None and elapsed_s >= self.at_s

    def is_active(self, updates: int, elapsed_s: float) -> bool:
        """Return whether a lasting fault has begun and not ended; see `has_begun`."""
        if not self.has_begun(updates, elapsed_s):
            return False
        if self.at_updates is not None:
            return self.updates is None or updates < self.at_updates + self.updates
        return self.at_s is None or self.seconds is None or elapsed_s < self.at_s + self.seconds


def read_plan(file: str | Path) -> tuple[Fault, ...]:
    """Return the faults in a JSON file {"faults": [{"kind": "kill", "learner": 1, "at_s": 5}]}.

    Raises:
        UserError: naming the wrong entry and what is allowed.
    """
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error  # without the path again
        raise UserError(f"fault plan {file} cannot be read ({why}): {_REMEDY}") from error
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
    _check_names(f"{place} ({name})", KINDS[name], values)
    for key, value in values.items():
        decode(_FIELDS[key], value, f"{place} ({name})", key)
    senders, receivers = values.pop("senders", ()), values.pop("receivers", ())
    edges = {(s, r) for s in senders for r in receivers if s != r}
    if values.pop("both_ways", False):
        edges |= {(r, s) for s, r in edges}
    return Fault(index=index, kind=name, edges=frozenset(edges), **values)


def _check_names(place: str, kind: Kind, values: dict[str, Any]) -> None:
    """Raise a UserError for a field that is missing, unknown, or contradicts another."""
    moments = [key for key in ("at_updates", "at_s") if key in values]
    if len(moments) != 1:
        raise UserError(f"{place} must have one of at_updates and at_s")
    length = {"at_updates": "updates", "at_s": "seconds"}[moments[0]]
    known = (*kind.required, *kind.optional, *moments, *((length,) if kind.is_lasting else ()))
    for key in values:
        if key not in known:
            raise UserError(f"{place} has {short(key)}: beside kind it has {', '.join(known)}")
    for key in kind.required:
        if key not in values:
            raise UserError(f"{place} has no {key}: it must be {in_words(_FIELDS[key])}")

"""Tabulate ε-balls over topologies, numbers of learners and delays, as rows for `gala theory`."""

import math
from dataclasses import dataclass
from typing import Any

from gala_rl.errors import UserError
from gala_rl.gossip import topology
from gala_rl.gossip.own_graph import learners_in
from gala_rl.theory.quantities import Ball
from gala_rl.theory.topologies import MAX_OWN_LEARNERS, ball, check_case, named_ball

LEARNERS = (2, 4, 8, 16, 64, 256, 1024, 4096)

MAX_LEARNERS = 4096

ABOUT = {
    "beta": "share of a disagreement that a round leaves, in the long run",
    "spectral_gap": "1 - beta",
    "half_life_rounds": "rounds that leave at most half of a disagreement; with delays, in the "
    "long run",
    "epsilon_factor": "worst case of the root mean square distance of learners from their mean, in "
    "units of the largest root mean square size of their updates in a round; with missed mixes, a "
    "root mean square over which are missed",
    "typical_factor": "root mean square distance of learners from their mean, if their updates are "
    "independent, have mean zero and root mean square size 1",
}
"""Meaning of the numbers in a row."""


@dataclass(frozen=True)
class Case:
    """Assumption about messages; at most one of `delay` and `miss` differs from 0.

    Attributes:
        name: synchronous, asynchronous or delayed.
        delay: age of every message, in rounds.
        miss: probability that a learner misses a mix.
    """

    name: str
    delay: int = 0
    miss: float = 0.0

    def __str__(self) -> str:
        """Describe the case in words."""
        return {
            "synchronous": "synchronous: in every round all mix what was sent in it",
            "asynchronous": f"asynchronous: each learner misses a mix with probability "
            f"{self.miss:g}",
            "delayed": f"delayed: all mix what was sent {self.delay} round"
            f"{'' if self.delay == 1 else 's'} before",
        }[self.name]


@dataclass(frozen=True)
class Row:
    """The ball of one topology, number of learners and case."""

    topology: str
    learners: int
    case: Case
    ball: Ball
    learners_per_node: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain numbers; null where there is no bound, with the reason."""
        figures = {name: getattr(self.ball, name) for name in ABOUT}
        unbounded = math.inf in figures.values()
        return {
            "topology": self.topology,
            "learners": self.learners,
            "learners_per_node": self.learners_per_node,
            "case": self.case.name,
            "delay": self.case.delay,
            "miss": self.case.miss,
            **{name: None if x == math.inf else x for name, x in figures.items()},
            "reason": "unbounded: disagreement does not shrink" if unbounded else None,
        }


def cases(delay: int, miss: float) -> list[Case]:
    """Return the cases synchronous, asynchronous and delayed, without those whose value is 0.

    Raises:
        UserError: when a value is out of bounds.
    """
    check_case(delay, 0.0)
    check_case(0, miss)
    named = [Case("synchronous"), Case("asynchronous", miss=miss), Case("delayed", delay=delay)]
    return [case for case in named if case.name == "synchronous" or case.delay or case.miss]


def rows(
    name_or_file: str | None,
    learners: list[int] | None,
    each: list[Case],
    learners_per_node: int | None = None,
) -> list[Row]:
    """Return a row for each topology, number of learners and case.

    Args:
        name_or_file: topology, as for training; None: all named ones, with the hierarchical one if
            `learners_per_node` is given.
        learners: numbers of learners; None: `LEARNERS`, or the number that a file names.
        each: cases.
        learners_per_node: nodes of the hierarchical topology have this many learners.

    Raises:
        UserError: when a topology or a number of learners cannot be used.
    """
    for number in learners or []:
        if not 1 <= number <= MAX_LEARNERS:
            raise UserError(f"{number} learners: choose 1 … {MAX_LEARNERS}")
    names: tuple[str, ...] = topology.NAMES if name_or_file is None else (name_or_file,)
    if name_or_file is None and learners_per_node is not None:
        names = (*names, topology.HIERARCHICAL)
    if learners_per_node is not None and topology.HIERARCHICAL not in names:
        raise UserError(
            f"learners_per_node {learners_per_node} is of no use with topology {name_or_file}: "
            f"leave it out, or choose {topology.HIERARCHICAL}"
        )
    return [
        Row(name, number, case, _ball(name, number, learners_per_node, case), per_node)
        for name in names
        for per_node in (learners_per_node if name == topology.HIERARCHICAL else None,)
        for number in learners or _numbers(name, learners_per_node)
        for case in each
    ]


def _numbers(name_or_file: str, learners_per_node: int | None) -> tuple[int, ...]:
    """Return the default numbers of learners of a topology."""
    if name_or_file in topology.NAMES:
        return LEARNERS
    if name_or_file == topology.HIERARCHICAL:
        least = learners_per_node or 1
        return tuple(n for n in LEARNERS if least <= n <= MAX_OWN_LEARNERS) or (least,)
    if topology.fits_any_number(name_or_file):
        return tuple(n for n in LEARNERS if n <= MAX_OWN_LEARNERS)
    return (learners_in(name_or_file),)


def _ball(name_or_file: str, learners: int, learners_per_node: int | None, case: Case) -> Ball:
    if name_or_file in topology.NAMES:
        return named_ball(name_or_file, learners, delay=case.delay, miss=case.miss)
    if learners > MAX_OWN_LEARNERS:
        raise UserError(
            f"topology {name_or_file} with {learners} learners: a graph that does not look the "
            f"same from every learner may have {MAX_OWN_LEARNERS} at most here"
        )
    graph = topology.make(name_or_file, learners, learners_per_node)
    return ball(graph, delay=case.delay, miss=case.miss)

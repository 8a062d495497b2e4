"""The ε-balls of several topologies and numbers of learners, as rows for tables and JSON."""

import math
from dataclasses import dataclass
from typing import Any

from gala_rl.errors import UserError
from gala_rl.gossip import topology
from gala_rl.theory.ball import Ball
from gala_rl.theory.topologies import MAX_OWN_LEARNERS, ball, check_case, named_ball

LEARNERS = (2, 4, 8, 16, 64, 256, 1024, 4096)

MAX_LEARNERS = 4096

ABOUT = {
    "beta": "share of a disagreement that a round leaves, in the long run",
    "spectral_gap": "1 - beta",
    "half_life_rounds": "so many rounds leave at most half of a disagreement; with delays, in the "
    "long run",
    "epsilon_factor": "worst case of the root mean square distance of learners from their mean, in "
    "units of the largest root mean square size of their updates in a round; with missed mixes, a "
    "root mean square over which are missed",
    "typical_factor": "root mean square distance of learners from their mean, if their updates are "
    "independent, have mean zero and root mean square size 1",
}
"""What the figures of a row mean."""


@dataclass(frozen=True)
class Case:
    """How messages arrive: at most one of the two differs from 0.

    Attributes:
        name: synchronous, asynchronous or delayed.
        delay: age of every message, in rounds.
        miss: probability that a learner misses a mix.
    """

    name: str
    delay: int = 0
    miss: float = 0.0

    def __str__(self) -> str:
        """For people."""
        return {
            "synchronous": "synchronous: in every round all mix what was sent in it",
            "asynchronous": f"asynchronous: each learner misses a mix with probability "
            f"{self.miss:g}",
            "delayed": f"delayed: all mix what was sent {self.delay} round"
            f"{'' if self.delay == 1 else 's'} before",
        }[self.name]


@dataclass(frozen=True)
class Row:
    """The ball of one topology with so many learners."""

    topology: str
    learners: int
    case: Case
    ball: Ball

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, with a reason where null stands for no bound."""
        figures = {name: getattr(self.ball, name) for name in ABOUT}
        unbounded = math.inf in figures.values()
        return {
            "topology": self.topology,
            "learners": self.learners,
            "case": self.case.name,
            "delay": self.case.delay,
            "miss": self.case.miss,
            **{name: None if x == math.inf else x for name, x in figures.items()},
            "reason": "unbounded: disagreement does not shrink" if unbounded else None,
        }


def cases(delay: int, miss: float) -> list[Case]:
    """Learners in step, with missed mixes, and with old messages; without those that are 0.

    Raises:
        UserError: when a value is out of its bounds.
    """
    check_case(delay, 0.0)
    check_case(0, miss)
    named = [Case("synchronous"), Case("asynchronous", miss=miss), Case("delayed", delay=delay)]
    return [case for case in named if case.name == "synchronous" or case.delay or case.miss]


def rows(name_or_file: str | None, learners: list[int] | None, each: list[Case]) -> list[Row]:
    """A row for each topology, number of learners and case.

    Args:
        name_or_file: as for training; None: all the named topologies.
        learners: numbers of them; None: `LEARNERS`, or as many as a file names.
        each: from `cases`.

    Raises:
        UserError: when a topology or a number of learners cannot be used.
    """
    for number in learners or []:
        if not 1 <= number <= MAX_LEARNERS:
            raise UserError(f"{number} learners: choose 1 … {MAX_LEARNERS}")
    if name_or_file is not None and name_or_file not in topology.NAMES:
        numbers = learners or [topology.learners_in(name_or_file)]
        graphs = [_own(name_or_file, number) for number in numbers]
        return [
            Row(graph.name, graph.learners, case, ball(graph, delay=case.delay, miss=case.miss))
            for graph in graphs
            for case in each
        ]
    return [
        Row(name, number, case, named_ball(name, number, delay=case.delay, miss=case.miss))
        for name in ([name_or_file] if name_or_file else topology.NAMES)
        for number in learners or LEARNERS
        for case in each
    ]


def _own(name_or_file: str, learners: int) -> topology.Topology:
    if learners > MAX_OWN_LEARNERS:
        raise UserError(
            f"topology {name_or_file} with {learners} learners: a graph of your own may have "
            f"{MAX_OWN_LEARNERS} at most here"
        )
    return topology.make(name_or_file, learners)

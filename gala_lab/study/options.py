"""Options of a study: the values of each axis, whose combinations are its cells."""

from dataclasses import dataclass
from typing import Literal

from gala_rl.config.settings import setting
from gala_rl.gossip.topology import NAMES

RANDOM_MATCHING = "random-matching"
"""Topology that draws pairs of learners anew in each round; both of a pair mix."""
TOPOLOGIES = (*NAMES, RANDOM_MATCHING)

SECOND_MOMENTS = ("local", "split", "difference", "window", "gain-split", "gain-difference")
"""Estimates of the second moment of the gradient: see `stacked_optimizer`."""
NEED_HALVES = ("split", "gain-split")
"""Those that need the gradients of half-batches."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Options of `gala study`."""

    envs: tuple[str, ...] = setting(
        ("gym-vec:CartPole-v1",),
        "environments; those of vector backends (gym-vec, envpool, pgx) are fast",
        metavar="ID",
    )
    algorithm: Literal["a2c", "ppo"] = setting("a2c", "algorithm of each learner")
    learners: tuple[int, ...] = setting(
        (1, 16), "learners; 1 has the whole batch and nobody to gossip with", minimum=1
    )
    simulators_total: int = setting(256, "simulators of all learners together", minimum=1)
    steps: int = setting(500_000, "agent steps of all learners together", minimum=1)
    rates: tuple[float, ...] = setting(
        (0.5, 1.0, 2.0, 4.0, 8.0),
        "factors on the learning rate that gala train takes for as many simulators",
        above=0,
    )
    topologies: tuple[str, ...] = setting(("directed-ring",), ", ".join(TOPOLOGIES))
    second_moments: tuple[str, ...] = setting(
        ("local",), f"what the optimizer divides by the root of: {', '.join(SECOND_MOMENTS)}"
    )
    optimizers: tuple[str, ...] = setting(
        ("own",), "rmsprop, rmsprop-tf, adam, or own: that of the algorithm"
    )
    delays: tuple[int, ...] = setting((0,), "updates by which messages are late", minimum=0)
    missed: tuple[float, ...] = setting(
        (0.0,), "probability that a learner does not mix in a round", minimum=0, maximum=1
    )
    warm_ups: tuple[float, ...] = setting(
        (0.0,),
        "share of the updates, the first ones, in which all learners average fully",
        minimum=0,
        maximum=1,
    )
    seeds: int = setting(20, "runs of each cell", minimum=1, maximum=1_000, metavar="K")
    threshold: float | None = setting(
        None, "count the runs that end at this mean return or above", metavar="SCORE"
    )
    at_once: int = setting(1, "processes that train cells", minimum=1, metavar="M")

"""Options of a study: values whose combinations are its cells; imports no NumPy."""

from dataclasses import dataclass
from typing import Literal, get_args

from gala_rl.cli.plots import PLOT_HELP
from gala_rl.config.settings import setting

RANDOM_MATCHING = "random-matching"
"""Topology that draws new pairs of learners in each round; both learners of a pair mix."""

SecondMoment = Literal["local", "split", "difference", "window", "gain-split", "gain-difference"]
"""Estimates of the second moment of the gradient: see `stacked_optimizer`."""
NEED_HALVES = ("split", "gain-split")
"""Those that need the gradients of half-batches."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Options of `gala study`."""

    envs: tuple[str, ...] = setting(
        ("gym-vec:CartPole-v1",),
        "environments; those that step all simulators in one call are fast",
        metavar="ID",
    )
    algorithm: Literal["a2c", "ppo"] = setting("a2c", "algorithm of each learner")
    learners: tuple[int, ...] = setting(
        (1, 16), "numbers of learners; 1: one large batch, without gossip", minimum=1
    )
    simulators_total: int = setting(256, "simulators per run, of all learners together", minimum=1)
    steps: int = setting(500_000, "agent steps per run, of all learners together", minimum=1)
    rates: tuple[float, ...] = setting(
        (0.5, 1.0, 2.0, 4.0, 8.0),
        "factors on the learning rate that gala train uses with as many simulators",
        above=0,
    )
    topologies: tuple[str, ...] = setting(("directed-ring",), "by name, or random-matching")
    second_moments: tuple[str, ...] = setting(
        ("local",),
        f"estimates of the gradient's second moment: {', '.join(get_args(SecondMoment))}",
    )
    optimizers: tuple[str, ...] = setting(
        ("own",), "rmsprop, rmsprop-tf, adam; own: the algorithm's default"
    )
    bias_corrections: tuple[str, ...] = setting(
        ("own",), "on, off: whether RMSprop's bias is corrected; own: the algorithm's default"
    )
    delays: tuple[int, ...] = setting((0,), "ages of messages, in updates", minimum=0)
    missed: tuple[float, ...] = setting(
        (0.0,), "probabilities that a learner does not mix after an update", minimum=0, maximum=1
    )
    warm_ups: tuple[float, ...] = setting(
        (0.0,),
        "fractions of the training, from its start, in which all learners average fully",
        minimum=0,
        maximum=1,
    )
    seeds: int = setting(
        20, "runs per cell, with the seeds 0 to K - 1", minimum=1, maximum=1_000, metavar="K"
    )
    threshold: float | None = setting(
        None, "count the runs whose final mean return is at least this", metavar="SCORE"
    )
    plot: str | None = setting(None, PLOT_HELP, metavar="FILE")
    at_once: int = setting(1, "number of processes that train cells", minimum=1, metavar="M")

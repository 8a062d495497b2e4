"""Options of a comparison, besides the settings of its runs."""

from dataclasses import dataclass
from typing import Literal

from gala_rl.cli.options import MAX_STEPS
from gala_rl.config.settings import setting


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Options of `gala compare`."""

    seeds: int = setting(3, "runs per method", metavar="K")
    first_seed: int = setting(0, "seed of each method's first run", metavar="SEED")
    simulators_total: int | None = setting(
        None,
        "total number of simulators per method, over all its learners",
        unset="16, or the next number that each method can divide equally among its learners",
        minimum=1,
    )
    settings: Literal["published", "equal"] = setting(
        "published",
        "published: each method's own values; equal: the first method's values for all methods "
        "that have the setting. Options given here apply to all methods in both cases",
    )
    threshold: float | None = setting(
        None, "report which runs reach this mean return, and when", metavar="SCORE"
    )
    episodes: int = setting(0, "also play N full games greedily after each run", minimum=0)
    max_steps: int | None = setting(
        None, MAX_STEPS, unset="27,000; on Atari as --max-episode-frames", minimum=1
    )
    at_once: int = setting(
        1,
        "runs at the same time; they share the cores, so seconds and rates are not comparable",
        minimum=1,
        metavar="M",
    )

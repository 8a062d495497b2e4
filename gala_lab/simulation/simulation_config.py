"""The settings of a simulation: the cluster, the work on it, and for how long."""

import math
from dataclasses import dataclass
from typing import Literal

from gala_rl.config.settings import setting

SCHEMES = ("gossip", "all-reduce", "parameter-server", "local-sgd")

_FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """A cluster and its work, the same for every scheme so that schemes can be compared."""

    learners: int = setting(16, "number of learners", minimum=2, maximum=10_000)
    topology: str = setting(
        "directed-ring",
        "directed-ring, undirected-ring, exponential, rotating-exponential, complete, "
        "hierarchical (with --learners-per-node), or a JSON file of [sender, receiver] edges",
        metavar="NAME|FILE",
    )
    learners_per_node: int | None = setting(
        None,
        "learners per machine; messages between them arrive at once",
        unset="1",
        minimum=1,
    )
    when: Literal["auto", "all", "any"] = setting(
        "auto",
        "mix when all in-neighbours have news (GALA) or when any has; "
        "auto: any if hierarchical, else all",
    )
    average_every: int = setting(8, "updates between two averages", minimum=1)
    compute_s: float = setting(
        0.1,
        "mean time of an update, its rollout included",
        minimum=1e-9,
        maximum=1e9,
        metavar="SECONDS",
    )
    compute_variation: float = setting(
        0.1, "standard deviation of that time / its mean; 0: constant", minimum=0, maximum=10
    )
    compute_distribution: Literal["gamma", "lognormal"] = setting(
        "gamma", "distribution of that time; gamma with variation 1 is the exponential distribution"
    )
    stragglers: int = setting(0, "number of slower learners: the lowest ranks", minimum=0)
    slowdown: float = setting(4.0, "factor by which a straggler is slower", minimum=1, maximum=1e6)
    cores: int | None = setting(
        None,
        "cores that all learners share; each is then learners / cores times slower",
        unset="one per learner",
        minimum=1,
    )
    latency_s: float = setting(
        1e-4,
        "time from one port to another, regardless of message size",
        minimum=0,
        maximum=1e9,
        metavar="SECONDS",
    )
    bandwidth_bytes_per_s: float = setting(
        1.25e9,
        "bandwidth of a learner's or server's port in each direction; 1.25e9 is 10 Gbit/s",
        minimum=1,
        metavar="BYTES",
    )
    parameters: int = setting(
        866_439,
        "parameters of the network, 4 bytes each in a message (866,439: GALA's for Pong)",
        minimum=1,
        maximum=1e12,
    )
    failure_every_s: float | None = setting(
        None,
        "mean time between failures of a learner",
        unset="never",
        above=0,
        metavar="SECONDS",
    )
    restart_s: float = setting(
        30.0,
        "time from a failure until the learner is back",
        minimum=0,
        maximum=1e9,
        metavar="SECONDS",
    )
    joiners: int = setting(0, "number of learners that join later: the highest ranks", minimum=0)
    join_at_s: float = setting(
        0.0, "time at which they join", minimum=0, maximum=1e9, metavar="SECONDS"
    )
    updates: int | None = setting(
        None, "mean updates per learner", unset="200 without --duration-s", minimum=1
    )
    duration_s: float | None = setting(None, "simulated time", above=0, metavar="SECONDS")
    problem: Literal["quadratic", "logistic", "random-walk"] = setting(
        "quadratic", "what is learned; random-walk: nothing, updates are pure noise"
    )
    dimension: int = setting(20, "parameters of the problem", minimum=1)
    learning_rate: float = setting(0.05, "learning rate of each update", above=0, maximum=1)
    noise: float = setting(
        1.0,
        "standard deviation of a gradient's elements (logistic: from its batches)",
        minimum=0,
        maximum=1e9,
    )
    seed: int = setting(0, "seed of all random numbers", minimum=0)

    @property
    def message_bytes(self) -> int:
        """Bytes of one learner's parameters."""
        return _FLOAT_BYTES * self.parameters

    @property
    def update_limit(self) -> float:
        """Updates of all learners together after which the simulation ends; may be infinite."""
        if self.updates is None and self.duration_s is not None:
            return math.inf
        return self.learners * (200 if self.updates is None else self.updates)

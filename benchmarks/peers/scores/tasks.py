"""What every system trains on, by which settings, and how it reports.

Standard library and psutil only: each runner imports this inside the virtual environment of its own
system.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

GAMES = 100
"""The score is the mean raw return of this many games, the last of training."""
DISCOUNT, GAE_LAMBDA, MAX_GRAD_NORM, ADAM_EPSILON = 0.99, 0.95, 0.5, 1e-5
VALUE_COST = 0.25
"""Coefficient of the mean squared value error; CleanRL's 0.5 multiplies half of that error."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """An environment and PPO's settings on it.

    Attributes:
        env: Gymnasium id.
        steps: agent steps of a run.
        simulators: parallel environments.
        rollout_steps: agent steps per simulator and update.
        epochs: passes over a rollout.
        minibatches: per epoch.
        learning_rate: at the start; it falls to 0 in a straight line.
        clip_range: of the probability ratio.
        value_clip_range: of values; None: unlimited.
        entropy_cost: coefficient of the policy's entropy.
        normalize: observations and rewards, by running moments.
    """

    env: str
    steps: int
    simulators: int
    rollout_steps: int
    epochs: int
    minibatches: int
    learning_rate: float
    clip_range: float
    value_clip_range: float | None
    entropy_cost: float
    normalize: bool

    @property
    def update_steps(self) -> int:
        """Agent steps of all simulators per update."""
        return self.simulators * self.rollout_steps


CARTPOLE = Task(
    env="CartPole-v1",
    steps=500_000,
    simulators=4,
    rollout_steps=128,
    epochs=4,
    minibatches=4,
    learning_rate=2.5e-4,
    clip_range=0.2,
    value_clip_range=0.2,
    entropy_cost=0.01,
    normalize=False,
)
"""The defaults of CleanRL's ppo.py."""

HALF_CHEETAH = Task(
    env="HalfCheetah-v5",
    steps=300_000,
    simulators=16,
    rollout_steps=128,
    epochs=10,
    minibatches=32,
    learning_rate=3e-4,
    clip_range=0.2,
    value_clip_range=None,
    entropy_cost=0.0,
    normalize=True,
)
"""The paper's values for MuJoCo; its 2,048 steps per update come from 16 simulators, not one."""

TASKS = {task.env: task for task in (CARTPOLE, HALF_CHEETAH)}


def make_parser(description: str | None, envs: Iterable[str]) -> argparse.ArgumentParser:
    """Return the parser of a system's options; `envs` are what it can train on."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--env", choices=list(envs), required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    return parser


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run of one system: the JSON line that a runner prints last.

    Attributes:
        version: of the system's package.
        network: its layers, sorted, as of `benchmarks.peers.work.layers_of`.
        parameters: trained numbers.
        agent_steps: trained on in all.
        score: mean raw return of the last `GAMES` games, or of all if there were fewer.
        games: how many those were.
        agent_steps_per_s: from the end of the first update to the end of the last.
        processor_s: processor time of all its processes, from their start to the end of training.
    """

    version: str
    network: tuple[str, ...]
    parameters: int
    agent_steps: int
    score: float
    games: int
    agent_steps_per_s: float
    processor_s: float


class Stopwatch:
    """The rate between the first and the last update of a run."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._last = (0.0, 0)

    def record(self, trained: int) -> None:
        """Note that an update on all agent steps so far has just ended."""
        if trained == self._last[1]:
            return
        self._last = (time.perf_counter(), trained)
        if self._first is None and trained:
            self._first = self._last

    def agent_steps_per_s(self) -> float:
        """Return the rate; there have been two updates or more."""
        assert self._first is not None
        return (self._last[1] - self._first[1]) / (self._last[0] - self._first[0])


def processor_s() -> float:
    """Return the processor time of this process and all its descendants, also those that ended."""
    total = 0.0
    process = psutil.Process()
    for one in (process, *process.children(recursive=True)):
        total += sum(one.cpu_times()[:4])
    return total


def write_line(outcome: Outcome) -> None:
    """Print the outcome as the last line of standard output."""
    sys.stdout.flush()
    print(json.dumps(dataclasses.asdict(outcome), allow_nan=False), flush=True)


def read_line(text: str) -> Outcome:
    """The outcome in the last line of what a runner printed.

    Raises:
        ValueError: when there is none.
    """
    try:
        content = json.loads(text.strip().splitlines()[-1])
        return Outcome(**content | {"network": tuple(content["network"])})
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError("it printed no outcome") from error

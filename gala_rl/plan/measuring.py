"""Measures, for a moment of real training on one thread, seconds per update and gradient noise."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from gala_rl.agent import Agent, build_agent
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import seeded_generators
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.gossip import MemoryNetwork
from gala_rl.plan.candidates import SIMULATORS, fits_memory, measured_config
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.theory.noise import noise_share
from gala_rl.threads import threads_set_to
from gala_rl.trajectory_source import StopRequested

ROLLOUT_TIMEOUT_S = 120.0
"""A longer rollout cannot be measured."""
_WARM_UP = 3
"""Updates that are not counted, or half of them if there are fewer than twice as many."""
_NOISE_TIME = 0.5
"""Share of the time for two learners that gossip, from which noise is measured."""
_LONGEST = 4.0
"""No more simulators are built after this multiple of the time to measure for."""

_Record = TypeVar("_Record")


@dataclass(frozen=True)
class Timing:
    """Median seconds of one learner on a core of its own.

    Attributes:
        simulators: simulators of the learner.
        rollout_s: seconds per rollout.
        update_s: seconds per update.
    """

    simulators: int
    rollout_s: float
    update_s: float

    @property
    def total_s(self) -> float:
        """Seconds per rollout and update."""
        return self.rollout_s + self.update_s


@dataclass(frozen=True)
class Measurement:
    """What was measured on this machine.

    Attributes:
        timings: by the number of simulators.
        noise_share: share of noise in the second moment of a gradient, 0 to 1, with the method's
            default simulators; None: all gradients were zero.
        least_noise_share: two standard errors less, so that chance is not taken for noise; the
            same if it was measured only once.
        rounds: rounds over which it is averaged.
        left_out: numbers of simulators that would have taken too long.
    """

    timings: dict[int, Timing]
    noise_share: float | None
    least_noise_share: float | None
    rounds: int
    left_out: tuple[int, ...]


class _Parts(NamedTuple):
    """Seconds of one step of an agent."""

    rollout_s: float
    update_s: float


class _Round(NamedTuple):
    """A step of both learners, and the noise in their gradients."""

    parts: list[_Parts]
    noise: float | None


def measure(default: ResolvedConfig, seconds: float) -> Measurement:
    """Measure the method's default number of simulators, then others as long as time remains.

    Args:
        default: config with the method, the environment and the default number of simulators.
        seconds: to measure for; building simulators comes on top.

    Raises:
        UserError: when a rollout takes longer than `ROLLOUT_TIMEOUT_S`.
        LearnerFailure: when a gradient is not finite.
    """
    began = time.monotonic()
    keep_freed_memory()
    with seeded_generators(default.seed, 0), threads_set_to(1):
        pair, build_s, rounds = _measure_pair(default, seconds * _NOISE_TIME)
        # Both learners built their simulators.
        meter = _Meter(default, pair, build_s / 2, began + seconds * _LONGEST)
        meter.measure_others(seconds * (1 - _NOISE_TIME))
    noises = [noise for _, noise in rounds[len(rounds) // 2 :] if noise is not None]
    share, least = _shares(noises)
    return Measurement(
        timings=dict(sorted(meter.timings.items())),
        noise_share=share,
        least_noise_share=least,
        rounds=len(noises),
        left_out=meter.left_out,
    )


def _shares(noises: list[float]) -> tuple[float, float] | tuple[None, None]:
    """Return the mean of estimates, and two standard errors less, within what a share can be."""
    if not noises:
        return None, None
    mean, error = statistics.mean(noises), 0.0
    if len(noises) > 1:
        error = statistics.stdev(noises) / math.sqrt(len(noises))
    return min(max(mean, 0.0), 1.0), min(max(mean - 2 * error, 0.0), 1.0)


def _measure_pair(default: ResolvedConfig, seconds: float) -> tuple[Timing, float, list[_Round]]:
    """Train two gossiping learners in turn; return timing, seconds to build them, and rounds."""
    config = measured_config(default, 2, default.simulators)
    began = time.monotonic()
    with _agents(config) as agents:
        build_s = time.monotonic() - began

        def step() -> _Round:
            parts = [_step(agent, config) for agent in agents]
            return _Round(parts, noise_share(torch.stack([a.learner.flat.grads for a in agents])))

        rounds = _repeat(step, seconds)
    parts = [part for made in rounds for part in made.parts]
    return _timing(config.simulators, parts), build_s, rounds


class _Meter:
    """Measures single learners with more and more simulators.

    Args:
        default: config of the method's default.
        known: timing of the default.
        build_s: seconds to build its simulators.
        end: monotonic time after which no more simulators are built.

    Attributes:
        timings: by the number of simulators.
        left_out: numbers of simulators for which there was no time or memory.
    """

    def __init__(
        self,
        default: ResolvedConfig,
        known: Timing,
        build_s: float,
        end: float,
    ) -> None:
        self.timings = {known.simulators: known}
        self.left_out: tuple[int, ...] = ()
        self._default, self._end = default, end
        self._last = known
        self._build_s = build_s

    def measure_others(self, seconds: float) -> None:
        """Measure other numbers of simulators, in this time and the time to build them."""
        others = [count for count in SIMULATORS if count not in self.timings]
        for place, simulators in enumerate(others):
            config = replace(measured_config(self._default, 1, simulators), stagger=0)
            ratio = simulators / self._last.simulators
            update_s = ratio * self._last.total_s
            built_at = time.monotonic() + ratio * self._build_s
            # Two updates are the least.
            is_too_long = 2 * update_s > seconds or built_at > self._end
            if is_too_long or not fits_memory(config):
                self.left_out = tuple(others[place:])
                return
            share = seconds / (len(others) - place)
            seconds -= self._measure(config, share)

    def _measure(self, config: ResolvedConfig, seconds: float) -> float:
        """Measure one learner; return the seconds that its updates took."""
        began = time.monotonic()
        with _agents(config) as (agent,):
            built = time.monotonic()
            parts = _repeat(lambda: _step(agent, config), seconds)
        self._last = self.timings[config.simulators] = _timing(config.simulators, parts)
        self._build_s = built - began
        return time.monotonic() - built


@contextmanager
def _agents(config: ResolvedConfig) -> Iterator[list[Agent]]:
    """Build the agents of a serial run, and close their simulators at the end."""
    network, device = MemoryNetwork(config.learners), torch.device(config.device)
    with ExitStack() as stack:
        agents = []
        for rank in range(config.learners):
            seed = int(np.random.SeedSequence([config.seed, rank, 0]).generate_state(1)[0])
            agent = build_agent(config, rank, network.transport(rank), device, seed)
            stack.enter_context(closing(agent.source))
            agents.append(agent)
        yield agents


def _step(agent: Agent, config: ResolvedConfig) -> _Parts:
    """Make a rollout and an update; raises as `measure`."""
    deadline = time.monotonic() + ROLLOUT_TIMEOUT_S
    agent.source.should_stop = lambda: time.monotonic() > deadline
    before = replace(agent.timings)
    try:
        agent.step(config.initial_learning_rate)
    except StopRequested as error:
        raise UserError(
            f"env {config.env!r} is too slow to be measured: a rollout of {config.simulators} "
            f"simulators takes more than {ROLLOUT_TIMEOUT_S:g} s"
        ) from error
    except FloatingPointError as error:
        raise LearnerFailure(f"env {config.env!r} cannot be measured: {error}") from error
    after = agent.timings
    return _Parts(after.rollout_s - before.rollout_s, after.update_s - before.update_s)


def _repeat(step: Callable[[], _Record], seconds: float) -> list[_Record]:
    """Repeat a step for a while, twice at least; return the records of all but the first steps."""
    until = time.monotonic() + seconds
    records = [step(), step()]
    while time.monotonic() < until:
        records.append(step())
    return records[min(_WARM_UP, len(records) // 2) :]


def _timing(simulators: int, parts: list[_Parts]) -> Timing:
    rollouts, updates = zip(*parts, strict=True)
    return Timing(simulators, statistics.median(rollouts), statistics.median(updates))

"""Predicts the speed of configs and the time that learning takes with them, and chooses one.

The number of agent steps that training needs grows with the batch: a batch of n learners with B
simulators each needs 1 + n B / B_noise times as many as a small one, where B_noise is the batch
whose gradient is half noise ("An Empirical Model of Large-Batch Training", McCandlish et al. 2018,
https://arxiv.org/abs/1812.06162, equations 2.7 to 2.10). Batches are counted in simulators here,
since all rollouts are equally long.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.plan.candidates import Machine, candidate, fits_memory, numbers_of_learners
from gala_rl.plan.measuring import Measurement, Timing
from gala_rl.theory import named_ball
from gala_rl.theory.noise import normalizer_gain

TIE = 1.03
"""Predicted times within this factor of the least count as equal."""


@dataclass(frozen=True)
class Prediction:
    """What is predicted for a config.

    Attributes:
        config: what `gala train` would run.
        agent_steps_per_s: of all learners together.
        relative_agent_steps: needed for the same progress, as a multiple of the default's.
        relative_time: the same for time.
        ball_radius: typical distance of learners from their mean, in updates.
        rho: step of the learners' mean as a share of the step of one large batch with the same
            learning rate, since each learner normalises by its own noisier gradient; None if the
            noise is unknown.
    """

    config: ResolvedConfig
    agent_steps_per_s: float
    relative_agent_steps: float
    relative_time: float
    ball_radius: float
    rho: float | None


@dataclass(frozen=True)
class Advice:
    """Predictions, and which of them to use.

    Attributes:
        default: what `gala train METHOD` does by default.
        best: the best for each number of learners, in their order.
        advised: the one to use: the default or one of the best.
        noise_scale: simulators in all at which half of a gradient's second moment is noise; None
            if it is unknown.
    """

    default: Prediction
    best: tuple[Prediction, ...]
    advised: Prediction
    noise_scale: float | None


def advise(default: ResolvedConfig, machine: Machine, measured: Measurement) -> Advice:
    """Predict all candidates and choose one of them."""
    share, scale = measured.least_noise_share, None
    if share is not None:
        scale = noise_scale(share, default.simulators)
    reference = _prediction(default, default, machine, measured.timings, scale)
    by_learners = {
        learners: [
            _prediction(config, default, machine, measured.timings, scale)
            for config in (candidate(default, learners, b) for b in measured.timings)
            # Memory of another machine is unknown.
            if machine.is_larger_than_this or fits_memory(config)
        ]
        for learners in numbers_of_learners(machine.cores)
    }
    advised = choose([reference, *chain.from_iterable(by_learners.values())])
    best = [choose(predictions) for predictions in by_learners.values() if predictions]
    number = advised.config.learners
    shown = [advised if p.config.learners == number else p for p in best]
    return Advice(reference, tuple(shown), advised, scale)


def choose(predictions: Sequence[Prediction]) -> Prediction:
    """Return the one with the fewest simulators in all among those that take the least time."""
    least = min(p.relative_time for p in predictions)
    fast = [p for p in predictions if p.relative_time <= TIE * least]
    return min(fast, key=lambda p: (p.config.total_simulators, p.relative_time))


def speed(timing: Timing, learners: int, rollout_steps: int, machine: Machine) -> float:
    """Return agent steps per second of learners with a core each, as long as there are cores.

    Learners on one GPU update in turn.
    """
    agent_steps = timing.simulators * rollout_steps
    rate = min(learners, machine.cores) * agent_steps / timing.total_s
    if machine.gpus:
        return min(rate, machine.gpus * agent_steps / timing.update_s)
    return rate


def noise_scale(share: float, simulators: int) -> float:
    """Return B_noise, the simulators at which half of a gradient's second moment is noise.

    Args:
        share: share of noise in the second moment, 0 to 1.
        simulators: number at which it was measured.
    """
    return math.inf if share == 1 else simulators * share / (1 - share)


def relative_agent_steps(simulators: int, reference: int, scale: float | None) -> float:
    """Return agent steps needed with some simulators in all, as a multiple of the reference's.

    Args:
        simulators: number over all learners.
        reference: the reference's number.
        scale: B_noise; None if it is unknown: then all need equally many.
    """
    if scale is None or scale == math.inf:
        return 1.0
    return (scale + simulators) / (scale + reference)


def rho(scale: float, simulators: int, learners: int) -> float:
    """Return the step of gossiping learners' mean as a share of that of one large batch.

    Args:
        scale: B_noise.
        simulators: simulators per learner.
        learners: number of learners.
    """
    share = 1.0 if scale == math.inf else scale / (scale + simulators)
    return 1 / normalizer_gain(share, learners)


def _prediction(
    config: ResolvedConfig,
    default: ResolvedConfig,
    machine: Machine,
    timings: Mapping[int, Timing],
    scale: float | None,
) -> Prediction:
    """Predict for a config, compared with the default."""
    speeds = [
        speed(timings[c.simulators], c.learners, c.algorithm.rollout_steps, machine)
        for c in (config, default)
    ]
    agent_steps = relative_agent_steps(config.total_simulators, default.total_simulators, scale)
    return Prediction(
        config=config,
        agent_steps_per_s=speeds[0],
        relative_agent_steps=agent_steps,
        relative_time=agent_steps * speeds[1] / speeds[0],
        ball_radius=named_ball(config.gossip.topology_name, config.learners).typical_factor,
        rho=None if scale is None else rho(scale, config.simulators, config.learners),
    )

"""Training of a cell: all its learners, of several seeds at once, in one batch of tensors."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_lab.study.cell import Cell
from gala_lab.study.gradients import (
    Gradients,
    Loss,
    Samples,
    a2c_loss,
    gradients_of,
    proximal_loss,
    samples_of,
)
from gala_lab.study.options import NEED_HALVES
from gala_lab.study.stacked_actor import StackedActor
from gala_lab.study.stacked_gossip import StackedGossip
from gala_lab.study.stacked_network import StackedNetwork
from gala_lab.study.stacked_optimizer import StackedOptimizer
from gala_rl.agent import build_model
from gala_rl.envs import Episode, make_simulators
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.ppo import PPOSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.threads import threads_set_to

_GAMES = 100
"""A score is the mean return of the last 100 games."""
_POINTS = 50
"""Points of a learning curve."""


class RunResult(NamedTuple):
    """Learning curve of one run; a score is the mean return of the last 100 games.

    Attributes:
        seed: its seed.
        auc: mean score over all updates from the 100th game on; None: fewer games ended.
        final: score at the end.
        best: highest score.
        curve: the score at 50 equidistant updates; None before 100 games have ended.
        finite: whether no parameter is NaN or infinite at the end. A run whose rate is too high is
            a result, and it must not end the study.
    """

    seed: int
    auc: float | None
    final: float | None
    best: float | None
    curve: list[float | None]
    finite: bool


class StackedLearners:
    """Parameters and update rule of all learners of several seeds.

    Args:
        cell: the cell that is trained.
        seeds: seeds of their initial parameters, equal for all learners of a seed.

    Attributes:
        network: evaluates all learners.
        parameters: [M, P].
        optimizer: computes the steps.
        gossip: mixes parameters.
    """

    def __init__(self, cell: Cell, seeds: range) -> None:
        config = cell.config
        algorithm = config.algorithm
        assert isinstance(algorithm, A2CSettings | PPOSettings)
        environment, learners = config.environment, len(seeds) * cell.learners
        models = [
            build_model(replace(config, seed=seed), environment.observation, environment.action)
            for seed in seeds
        ]
        self._config, self._settings, self._rate = config, algorithm, cell.rate
        self._halves = cell.second_moment in NEED_HALVES and cell.learners > 1
        networks = [model for model in models if isinstance(model, ActorCritic)]
        self.network = StackedNetwork(networks[0])
        rows = [self.network.flattened(network) for network in networks]
        self.parameters = torch.stack(rows).repeat_interleave(cell.learners, dim=0)
        self.optimizer = StackedOptimizer(
            (learners, self.network.size), algorithm, cell.second_moment, cell.learners
        )
        self.gossip = StackedGossip(
            cell.topology,
            cell.learners,
            len(seeds),
            delays=cell.delay,
            missed=cell.missed,
            warm_up_rounds=round(cell.warm_up * cell.rounds),
            seed=seeds.start,
        )
        self._generator = torch.Generator().manual_seed(seeds.start)

    def update(self, samples: Samples, agent_steps: int) -> Tensor:
        """Update each learner from its samples, then mix; return the first losses [M]."""
        settings, annealed = self._settings, self._config.learning_rate_at(agent_steps)
        if isinstance(settings, A2CSettings):
            losses = self._descend(samples, a2c_loss(settings), annealed)
        else:
            losses = self._epochs(samples, settings, annealed)
        self.parameters = self.gossip.mix(self.parameters)
        return losses

    def _epochs(self, samples: Samples, settings: PPOSettings, learning_rate: float) -> Tensor:
        loss = proximal_loss(settings, learning_rate / self._config.initial_learning_rate)
        learners, count = samples.returns.shape
        losses = []
        for _ in range(settings.epochs):
            order = torch.rand(learners, count, generator=self._generator).argsort(dim=1)
            for part in order.tensor_split(settings.minibatches, dim=1):
                losses.append(self._descend(samples.at(part), loss, learning_rate))
        return losses[0]

    def _descend(self, samples: Samples, loss: Loss, learning_rate: float) -> Tensor:
        found: Gradients = gradients_of(
            self.network, self.parameters, samples, loss, halves=self._halves
        )
        step = self.optimizer.step(found, learning_rate * self._rate)
        self.parameters = self.parameters - step
        return found.losses


def train(cell: Cell, seeds: range) -> list[RunResult]:
    """Train a cell with several seeds, which share one stream of random numbers."""
    keep_freed_memory()
    with threads_set_to(1):
        return _train(cell, seeds)


def _train(cell: Cell, seeds: range) -> list[RunResult]:
    config, learners = cell.config, StackedLearners(cell, seeds)
    rows = len(learners.parameters)
    settings: Any = config.algorithm
    simulators = make_simulators(config.source, rows * cell.simulators, 1)
    curves = _Curves(seeds, rows // len(seeds) * cell.simulators, cell.rounds)
    try:
        actor = StackedActor(
            simulators,
            learners.network,
            rows,
            settings.rollout_steps,
            seeds.start,
            with_behaviour=settings.needs_behaviour,
        )
        for number in range(cell.rounds):
            views = learners.network.views(learners.parameters)
            trajectory = actor.collect(views)
            samples = samples_of(trajectory, actor.bootstrap, settings, rows)
            learners.update(samples, number * cell.learners * config.update_agent_steps)
            curves.add(actor.episodes)
    finally:
        simulators.close()
    finite = learners.parameters.view(len(seeds), -1).isfinite().all(dim=1)
    return curves.results(finite.tolist())


class _Curves:
    """Learning curves of several seeds.

    Args:
        seeds: their seeds.
        simulators: simulators per seed; those of a seed have consecutive indices.
        rounds: updates per learner.
    """

    def __init__(self, seeds: range, simulators: int, rounds: int) -> None:
        self._seeds, self._simulators = seeds, simulators
        self._games = [deque[float](maxlen=_GAMES) for _ in seeds]
        self._means: NDArray[np.float64] = np.full((rounds, len(seeds)), np.nan)
        self._round = 0

    def add(self, episodes: list[Episode]) -> None:
        """Add the games of one round."""
        for episode in episodes:
            self._games[episode.simulator // self._simulators].append(episode.score)
        for seed, games in enumerate(self._games):
            if len(games) == _GAMES:
                self._means[self._round, seed] = sum(games) / _GAMES
        self._round += 1

    def results(self, finite: Sequence[bool]) -> list[RunResult]:
        """Return the result of each seed, given whether its parameters are finite."""
        found = zip(self._seeds, self._means.T, finite, strict=True)
        return [self._result(*seed) for seed in found]

    def _result(self, seed: int, means: NDArray[np.float64], finite: bool) -> RunResult:
        known = means[~np.isnan(means)]
        places = np.linspace(0, len(means) - 1, min(_POINTS, len(means))).round().astype(int)
        curve = [None if math.isnan(x) else round(float(x), 2) for x in means[places]]
        if not len(known):
            return RunResult(seed, None, None, None, curve, finite)
        auc, final, best = (round(float(x), 3) for x in (known.mean(), known[-1], known.max()))
        return RunResult(seed, auc, final, best, curve, finite)

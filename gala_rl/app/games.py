"""Plays full games with a policy, for raw returns."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.agent import build_model
from gala_rl.app.video import Recording
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.cores import usable_cores
from gala_rl.envs import (
    Simulators,
    make_simulators,
    preserve_working_directory,
    seeded_generators,
    worker_timeouts,
)
from gala_rl.flat import FlatParameters
from gala_rl.models.network import Network
from gala_rl.threads import forward_flop, threads_for

MAX_SIMULATORS = 16

Show = Callable[[int, int], None]
"""Called after each step with the agent steps made in it, and the games over so far."""


class Games:
    """Games of one policy: how many to play, and the scores of those that have ended.

    Args:
        wanted: number of games to play.
        max_steps: agent steps after which a game is cut.

    Attributes:
        shares: number of games per simulator, fixed in advance: taking the first games to end
            would favour short ones.
        returns: scores of the games that have ended, per simulator.
        cut: number of games that were cut.
        failures: number of failures of simulators.
        recording: the first game of simulator 0 once it is over.
    """

    def __init__(self, wanted: int, max_steps: int) -> None:
        count = min(wanted, MAX_SIMULATORS)
        self.max_steps = max_steps
        self.shares = [wanted // count + (i < wanted % count) for i in range(count)]
        self.returns: list[list[float]] = [[] for _ in range(count)]
        self.cut = 0
        self.failures = 0
        self.recording: Recording | None = None
        self._actions: list[NDArray[Any]] = []

    @property
    def scores(self) -> list[float]:
        """Scores of all games that have ended."""
        return [score for played in self.returns for score in played]

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean score; None for one game, which shows no spread."""
        scores = self.scores
        if len(scores) == 1:
            return None
        return float(np.std(scores, ddof=1)) / math.sqrt(len(scores))

    @property
    def playing(self) -> NDArray[np.bool_]:
        """[simulators], whether a simulator has games left to play."""
        pairs = zip(self.returns, self.shares, strict=True)
        return np.array([len(played) < share for played, share in pairs])

    def record(self, action: Tensor, seed: int) -> None:
        """Keep the first game of simulator 0, for a video.

        Args:
            action: its action in the step that has been made.
            seed: seed of the simulators.
        """
        if self.recording is None:
            self._actions.append(action.numpy())
            if self.returns[0]:
                self.recording = Recording(seed, self._actions, self.returns[0][0])


def play(
    config: ResolvedConfig,
    parameters: Tensor,
    games: Games,
    greedy: bool,
    seed: int,
    show: Show = lambda made, over: None,
    cores: int | None = None,
) -> None:
    """Play all games of a policy; restore the process's random generators and folder.

    Args:
        config: config of the run.
        parameters: parameters [P] of the policy.
        games: the games, which receive their scores.
        greedy: whether it takes the best actions.
        seed: seed of games and actions.
        show: called after each step of the simulators.
        cores: cores to use; default: all.
    """
    with seeded_generators(seed), preserve_working_directory():
        _play_all(config, parameters, games, greedy, seed, show, cores or usable_cores())


def _play_all(
    config: ResolvedConfig,
    parameters: Tensor,
    games: Games,
    greedy: bool,
    seed: int,
    show: Show,
    cores: int,
) -> None:
    count = len(games.shares)
    processes = config.simulator_processes
    simulators = make_simulators(
        config.source,
        count,
        cores,
        training=False,
        processes=None if processes is None else min(processes, count),
        timeouts=worker_timeouts(config),
    )
    try:
        model = build_model(config, simulators.observation, simulators.action)
        FlatParameters(model).load(parameters)
        flop = count * forward_flop(model, simulators.observation)
        torch.set_num_threads(min(config.network_threads or threads_for(flop, cores), cores))
        generator = torch.Generator().manual_seed(seed)
        policy = model.greedy if greedy else partial(model.act, generator=generator)
        start = seed
        while games.playing.any():
            _play_on(simulators, model, policy, games, start, show)
            # Simulators are reset together, so games that follow a cut one start together.
            start = int(np.random.SeedSequence((seed, start)).generate_state(1)[0] % 2**31)
    finally:
        games.failures = simulators.failures
        simulators.close()


@torch.no_grad()
def _play_on(
    simulators: Simulators,
    model: Network,
    policy: Callable[..., Tensor],
    games: Games,
    seed: int,
    show: Show,
) -> None:
    """Play until every simulator has played its share or had a game cut."""
    observations = simulators.reset(seed)
    state = model.initial_state(len(observations))
    scores = np.zeros(len(observations))
    steps = np.zeros(len(observations), dtype=np.int64)
    playing = games.playing
    while playing.any():
        actions = policy(torch.from_numpy(observations), state=state)
        transition = simulators.step(actions.numpy())
        model.observe_rewards(torch.from_numpy(transition.rewards), state)
        state[torch.from_numpy(transition.terminated | transition.truncated)] = 0.0
        observations = transition.observations
        scores += transition.rewards
        steps += 1
        made = int(playing.sum())
        for episode in transition.episodes:
            i = episode.simulator
            if playing[i]:
                games.returns[i].append(episode.score)
                playing[i] = len(games.returns[i]) < games.shares[i]
            scores[i], steps[i] = 0.0, 0
        for late in np.flatnonzero(playing & (steps >= games.max_steps)):
            games.returns[late].append(float(scores[late]))
            games.cut += 1
            playing[late] = False
        games.record(actions[0], seed)
        show(made, len(games.scores))

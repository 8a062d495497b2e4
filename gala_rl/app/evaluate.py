"""Evaluates a run: plays full games with the network of a checkpoint, for raw rewards."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from gala_rl.agent import build_model, initial_parameters_of
from gala_rl.app.caller import check_may_play, unchanged_caller
from gala_rl.app.game_limit import game_limit
from gala_rl.app.policies import MEAN, network_of, parameters_of, selected_checkpoint
from gala_rl.app.preflight import Policy, check_evaluation
from gala_rl.app.progress import GamesProgress
from gala_rl.app.video import Recording, check_video, write_video
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
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.selection import NEWEST
from gala_rl.threads import forward_flop, threads_for

MAX_SIMULATORS = 16


@unchanged_caller()
def evaluate(  # noqa: PLR0913 - each is an option of the command
    run: str | Path,
    *,
    episodes: int = 10,
    policy: Policy = "greedy",
    learner: str = MEAN,
    seed: int = 0,
    max_steps: int | None = None,
    checkpoint: str | int = NEWEST,
    video: str | Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Play full games with the policy of a checkpoint of a run.

    Ctrl-C ends the evaluation; the result then has the games that have ended.

    Args:
        run: folder of the run.
        episodes: games per policy.
        policy: "greedy" takes the best actions, "sample" random ones; of Q-networks one in 1,000.
        learner: a rank, "all" for each learner, or "mean" for the average of their parameters.
        seed: seed of games and actions.
        max_steps: agent steps after which a game is cut and counts with its score so far;
            default: 27,000, on Atari as many as the run's `max_episode_frames` allow.
        checkpoint: "newest", "best", or agent steps of one of the run's checkpoints.
        video: file for the first game, as .mp4, .webm or .gif; not for several learners.
        console: console for progress; default: standard error.

    Returns:
        `results`, one entry per policy, with `mean_return`, `standard_error`, all `returns` (raw,
        full games), `games_cut`, and `simulator_failures`, each of which ends a game; whether
        it was `interrupted`; and what was evaluated. A policy without a finished game at the time
        of an interrupt has no entry. With `video`, what `write_video` returns, or None.

    Raises:
        UserError: when there is no such run, checkpoint or learner, nothing to play or no video.
        StorageError: when the video cannot be written.
    """
    check_evaluation(run, episodes, learner, seed, max_steps, checkpoint)
    config, saved = selected_checkpoint(run, checkpoint)
    check_may_play(config)
    if video is not None:
        check_video(video, config.source, learner)
    limit = game_limit(config, max_steps)
    policies = parameters_of(saved, learner, initial_parameters_of(config).parameters.numel())
    played = {name: _Games(episodes, limit) for name in policies}
    progress = GamesProgress(episodes * len(policies), console or Console(stderr=True))
    interrupted = _play_each(config, policies, played, policy == "greedy", seed, progress)
    recording = next(iter(played.values())).recording
    filmed = video and recording and write_video(video, config.source, recording)
    return {
        **_origin(run, config, saved),
        **{"policy": policy, "episodes": episodes, "seed": seed, "max_steps": limit},
        "interrupted": interrupted,
        **({} if video is None else {"video": filmed}),
        "results": [_result(name, games) for name, games in played.items() if games.scores],
    }


def _play_each(
    config: ResolvedConfig,
    policies: dict[str, Tensor],
    played: dict[str, "_Games"],
    greedy: bool,
    seed: int,
    progress: GamesProgress,
) -> bool:
    """Play the games of each policy; return whether Ctrl-C has ended them."""
    try:
        for name, games in played.items():
            _play(config, policies[name], games, greedy, seed, progress)
    except KeyboardInterrupt:
        return True
    return False


def _origin(run: str | Path, config: ResolvedConfig, saved: Checkpoint) -> dict[str, Any]:
    """Return what was evaluated."""
    return {
        "run": str(run),
        "method": config.method,
        "env": config.env,
        "checkpoint": saved.path.name,
        "agent_steps": saved.agent_steps,
    }


def _result(name: str, games: "_Games") -> dict[str, Any]:
    scores = games.scores
    count = len(scores)
    return {
        "learner": name,
        "mean_return": float(np.mean(scores)),
        # A single game gives no estimate of the spread.
        "standard_error": None if count == 1 else float(np.std(scores, ddof=1)) / math.sqrt(count),
        "min": min(scores),
        "max": max(scores),
        "returns": scores,
        "games_cut": games.cut,
        "simulator_failures": games.failures,
    }


@unchanged_caller()
def load_network(run: str | Path, learner: str = MEAN, checkpoint: str | int = NEWEST) -> Network:
    """Return the network of a run, with the parameters of one of its checkpoints.

    Args:
        run: folder of the run.
        learner: a rank, or "mean" for the average of the learners' parameters.
        checkpoint: as in `evaluate`.

    Returns:
        The network, on the CPU. Its `greedy` and `act` take observations [N, ...] as the run's
        simulators give them; `gala_rl.envs.actions.ActionDecoder` converts their actions to the
        environment's: they count from 0 if discrete, and -1 … 1 spans a continuous space.

    Raises:
        UserError: when there is no such run, checkpoint or learner.
    """
    check_evaluation(run, 1, learner, checkpoint=checkpoint)
    return network_of(*selected_checkpoint(run, checkpoint), learner)


class _Games:
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


def _play(
    config: ResolvedConfig,
    parameters: Tensor,
    games: _Games,
    greedy: bool,
    seed: int,
    progress: GamesProgress,
) -> None:
    """Play all games of a policy; restore the process's random generators and folder."""
    with progress, seeded_generators(seed), preserve_working_directory():
        _play_all(config, parameters, games, greedy, seed, progress)


def _play_all(
    config: ResolvedConfig,
    parameters: Tensor,
    games: _Games,
    greedy: bool,
    seed: int,
    progress: GamesProgress,
) -> None:
    count = len(games.shares)
    processes = config.simulator_processes
    simulators = make_simulators(
        config.source,
        count,
        usable_cores(),
        training=False,
        processes=None if processes is None else min(processes, count),
        timeouts=worker_timeouts(config),
    )
    try:
        model = build_model(config, simulators.observation, simulators.action)
        FlatParameters(model).load(parameters)
        flop = count * forward_flop(model, simulators.observation)
        torch.set_num_threads(config.network_threads or threads_for(flop, usable_cores()))
        generator = torch.Generator().manual_seed(seed)
        policy = model.greedy if greedy else partial(model.act, generator=generator)
        start = seed
        while games.playing.any():
            _play_on(simulators, model, policy, games, start, progress)
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
    games: _Games,
    seed: int,
    progress: GamesProgress,
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
        progress.show(made, len(games.scores))

"""Evaluates a run: plays full games with the network of a checkpoint, for raw rewards."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from torch import Tensor

from gala_rl.agent import initial_parameters_of
from gala_rl.app.caller import check_may_play, unchanged_caller
from gala_rl.app.game_limit import game_limit
from gala_rl.app.games import Games, play
from gala_rl.app.policies import MEAN, network_of, parameters_of, selected_checkpoint
from gala_rl.app.preflight import Policy, check_evaluation
from gala_rl.app.progress import GamesProgress
from gala_rl.app.video import check_video, write_video
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.models.network import Network
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.selection import NEWEST


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
    played = {name: Games(episodes, limit) for name in policies}
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
    played: dict[str, Games],
    greedy: bool,
    seed: int,
    progress: GamesProgress,
) -> bool:
    """Play the games of each policy; return whether Ctrl-C has ended them."""
    try:
        for name, games in played.items():
            with progress:
                play(config, policies[name], games, greedy, seed, progress.show)
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


def _result(name: str, games: Games) -> dict[str, Any]:
    scores = games.scores
    return {
        "learner": name,
        "mean_return": float(np.mean(scores)),
        "standard_error": games.standard_error,
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

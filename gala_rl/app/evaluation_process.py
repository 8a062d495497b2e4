"""The process of an evaluation while a run trains: plays a checkpoint, and writes one row."""

import os
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gala_rl.agent import initial_parameters_of
from gala_rl.app.game_limit import game_limit
from gala_rl.app.games import Games, play
from gala_rl.app.policies import MEAN, parameters_of
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs.registration import RegistryEntries
from gala_rl.processes.heartbeat import set_heartbeat
from gala_rl.processes.spawn import end_with_parent
from gala_rl.processes.torch_defaults import set_torch_defaults
from gala_rl.records.checkpoint import open_checkpoint
from gala_rl.records.metrics import MetricsWriter
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.learner_process import redirect_output

_NICENESS = 10
"""Learners come first where processes compete for a core."""
_STREAM = 10_000
"""Distinguishes the random stream of evaluations from those of learners, by their ranks."""


@dataclass(frozen=True)
class EvaluationSpec:
    """Arguments of the process of an evaluation.

    Attributes:
        config: resolved config of the run.
        folder: folder of the run.
        checkpoint: folder of the checkpoint.
        agent_steps: its total agent steps.
        heartbeat: [1] shared memory for its signs of life.
        registry: environments that the process may lack.
    """

    config: ResolvedConfig
    folder: RunFolder
    checkpoint: Path
    agent_steps: int
    heartbeat: Tensor
    registry: RegistryEntries


def run_evaluation(spec: EvaluationSpec) -> None:
    """Play the games of an evaluation on one core, and append its row to the run's metrics."""
    end_with_parent()
    redirect_output(spec.folder.evaluation_log)
    os.nice(_NICENESS)
    set_torch_defaults(1)
    set_heartbeat(spec.heartbeat.numpy())
    spec.registry.register()
    started = time.monotonic()
    row = _play_both(spec)
    row |= {"elapsed_s": time.monotonic() - started, "cpu_s": time.process_time()}
    with closing(MetricsWriter(spec.folder.evaluation_file)) as writer:
        writer.write(row)


def _play_both(spec: EvaluationSpec) -> dict[str, Any]:
    """Play with greedy and with sampled actions; return the row about it."""
    config, episodes = spec.config, spec.config.evaluate_episodes
    size = initial_parameters_of(config).parameters.numel()
    parameters = parameters_of(open_checkpoint(spec.checkpoint), MEAN, size)[MEAN]
    entropy = [config.seed, _STREAM, spec.agent_steps]
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0] % 2**31)
    row: dict[str, Any] = {
        "total_agent_steps": spec.agent_steps,
        "episodes": episodes,
        "seed": seed,
    }
    cut = failures = 0
    for name, greedy in (("greedy", True), ("sampled", False)):
        games = Games(episodes, game_limit(config, None))
        with torch.no_grad():
            play(config, parameters, games, greedy, seed, cores=1)
        cut, failures = cut + games.cut, failures + games.failures
        row |= {
            f"{name}_mean_return": float(np.mean(games.scores)),
            f"{name}_standard_error": games.standard_error,
            f"{name}_returns": games.scores,
        }
    return {"time": round(time.time(), 3), **row, "games_cut": cut, "simulator_failures": failures}

"""This package's own methods: gossiping learners, or one learner on all cores."""

import argparse
import dataclasses
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.peers.meter import Meter, Options, options_of, parser_with_options
from benchmarks.peers.work import ENV, Result, Work, measured_work, write_line
from gala_rl import TrainConfig
from gala_rl.agent import build_model, initial_parameters_of
from gala_rl.checks.config import check_config
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import make_simulators
from gala_rl.envs.ids import atari_game
from gala_rl.methods import METHODS, find
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.local import LocalRun
from gala_rl.run.status import RunStatus

WARM_AGENT_STEPS = 800
"""Warm-up per learner before measuring: 10 updates of A2C, or the first update of PPO."""


def config_of(method: str, simulators: int) -> ResolvedConfig:
    """One learner or two, by the paper's settings; stopped long before the budget ends."""
    learners = 1 if find(method).sharing == "nothing" else 2
    return check_config(
        TrainConfig(
            method=method,
            env=ENV,
            learners=learners,
            simulators=simulators // learners,
            steps=10**15,
            device="cpu",
        )
    )


def work_of(config: ResolvedConfig) -> Work:
    """What is trained on what."""
    simulators = make_simulators(config.source, 1, 1)
    game = atari_game(config.env)
    assert game is not None
    sticky_actions = (
        game.sticky_actions if config.atari.sticky_actions is None else config.atari.sticky_actions
    )
    model = build_model(config, simulators.observation, simulators.action)
    work = measured_work(
        env=config.env,
        simulators=config.total_simulators,
        observation=simulators.observation.shape,
        frame_skip=simulators.frames_per_step,
        sticky_actions=sticky_actions,
        model=model,
    )
    simulators.close()
    return work


def run(method: str, options: Options) -> Result:
    """Train until the meter has seen enough."""
    config = config_of(method, options.simulators)
    work = work_of(config)
    meter, algorithm = Meter(options), config.algorithm
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary) / "run")
        folder.create(config)
        system = LocalRun(config, folder, torch.device("cpu"), initial_parameters_of(config), None)

        seen = 0

        def observe(status: RunStatus) -> None:
            nonlocal seen
            # The window begins and ends where updates do, which for PPO may be seconds apart.
            if min(status.agent_steps) < WARM_AGENT_STEPS or status.total_agent_steps == seen:
                return
            seen = status.total_agent_steps
            if meter.record(seen):
                system.stop()

        system.run(observe)
    return Result(
        system=method,
        version=version("gala-rl"),
        work=work,
        settings={
            "algorithm": algorithm.name.upper(),
            "rollout_steps": algorithm.rollout_steps,
            "learners": config.learners,
            "torch_threads": config.threads_per_learner(),
        },
        notes=(),
        **dataclasses.asdict(meter.result()),
    )


def main() -> None:
    """Run it and print the result."""
    parser = parser_with_options(argparse.ArgumentParser(description=__doc__))
    parser.add_argument("--method", choices=[m.name for m in METHODS], default="gala-a2c")
    values = parser.parse_args()
    write_line(run(values.method, options_of(values)))


if __name__ == "__main__":
    main()

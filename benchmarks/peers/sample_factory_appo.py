"""Sample Factory APPO: asynchronous, double-buffered sampling, one epoch on fresh experience."""

import argparse
import dataclasses
import tempfile
from importlib.metadata import version

import ale_py  # noqa: F401 - registers the games with Gymnasium
import torch
from sample_factory.algo.runners.runner import AlgoObserver, Runner
from sample_factory.algo.utils.context import global_model_factory
from sample_factory.algo.utils.misc import ExperimentStatus
from sample_factory.cfg.arguments import parse_full_cfg, parse_sf_args
from sample_factory.model.actor_critic import create_actor_critic
from sample_factory.model.encoder import Encoder
from sample_factory.train import make_runner
from sample_factory.utils.typing import Config, ObsSpace
from sf_examples.atari.atari_params import atari_override_defaults
from sf_examples.atari.atari_utils import atari_env_by_name, make_atari_env
from sf_examples.atari.train_atari import register_atari_components

from benchmarks.peers.meter import Meter, Options, options_of, parser_with_options
from benchmarks.peers.network import FEATURES, make_torso
from benchmarks.peers.work import Result, Work, measured_protocol, measured_work, write_line

GAME = "atari_pong"
ROLLOUT_STEPS = 32
WORKERS = 2


class Torso(Encoder):
    """Sample Factory's convnet_atari with 32 instead of 64 filters in the last convolution."""

    def __init__(self, cfg: Config, obs_space: ObsSpace) -> None:
        super().__init__(cfg)
        self.layers = make_torso(obs_space["obs"].shape[0])

    def forward(self, obs_dict: dict[str, torch.Tensor]) -> torch.Tensor:
        """{"obs": [N, 4, 84, 84] in 0 … 1} → [N, 512]."""
        features: torch.Tensor = self.layers(obs_dict["obs"])
        return features

    def get_out_size(self) -> int:
        """Length of the feature vector."""
        return FEATURES


class Watch(AlgoObserver):
    """Ends training when the meter has seen enough."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_training_step(self, runner: Runner, training_iteration_since_resume: int) -> None:
        """Called after each update."""
        # The runner counts emulator frames.
        trained = sum(runner.env_steps.values()) // runner.cfg.env_frameskip
        if self._meter.record(trained):
            runner.cfg.train_for_env_steps = 0


def config_of(simulators: int, folder: str) -> Config:
    """The documented Atari settings, made asynchronous and single-pass as for best throughput."""
    arguments = {
        "env": GAME,
        "experiment": "speed",
        "train_dir": folder,
        "device": "cpu",
        "serial_mode": False,
        "async_rl": True,
        "num_workers": WORKERS,
        "num_envs_per_worker": simulators // WORKERS,
        "worker_num_splits": 2,
        "rollout": ROLLOUT_STEPS,
        "batch_size": simulators * ROLLOUT_STEPS,
        "num_batches_per_epoch": 1,
        "num_epochs": 1,
        # Running statistics are not part of the network that all systems train.
        "normalize_input": False,
        "normalize_returns": False,
        "train_for_env_steps": 10**12,
    }
    argv = [f"--{name}={value}" for name, value in arguments.items()]
    parser, partial = parse_sf_args(argv)
    atari_override_defaults(partial.env, parser)
    return parse_full_cfg(parser, argv)


def work_of(runner: Runner) -> Work:
    """What is trained on what; one more simulator and network are built here to be looked at."""
    cfg, info = runner.cfg, runner.env_info
    game = make_atari_env(GAME, cfg, None)
    frame_skip, sticky_actions = measured_protocol(game)
    game.close()
    return measured_work(
        env=atari_env_by_name(GAME).env_id,
        simulators=cfg.num_workers * cfg.num_envs_per_worker,
        observation=info.obs_space["obs"].shape,
        frame_skip=frame_skip,
        sticky_actions=sticky_actions,
        model=create_actor_critic(cfg, info.obs_space, info.action_space),
    )


def run(options: Options) -> Result:
    """Train until the meter has seen enough."""
    register_atari_components()
    global_model_factory().register_encoder_factory(Torso)
    meter = Meter(options)
    with tempfile.TemporaryDirectory() as folder:
        cfg, runner = make_runner(config_of(options.simulators, folder))
        runner.register_observer(Watch(meter))
        if runner.init() != ExperimentStatus.SUCCESS:
            raise RuntimeError("Sample Factory did not start")
        work = work_of(runner)
        runner.run()
    return Result(
        system="sample-factory-appo",
        version=version("sample-factory"),
        work=work,
        settings={
            "algorithm": "APPO",
            "rollout_steps": ROLLOUT_STEPS,
            "batch_size": cfg.batch_size,
            "epochs": cfg.num_epochs,
            "simulator_processes": WORKERS,
            # Each of its processes limits itself to one.
            "torch_threads": 1,
        },
        notes=("PPO's clipped loss and Adam instead of A2C's and RMSprop",),
        **dataclasses.asdict(meter.result()),
    )


def main() -> None:
    """Run it and print the result."""
    parser = parser_with_options(argparse.ArgumentParser(description=__doc__))
    write_line(run(options_of(parser.parse_args())))


if __name__ == "__main__":
    main()

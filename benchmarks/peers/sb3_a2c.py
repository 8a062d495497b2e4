"""Stable-Baselines3 A2C, as its documentation trains Atari games: a process a simulator."""

import argparse
import dataclasses
import os
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

# PyTorch's threads would spin on the cores that the simulators need; read at import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import ale_py
import gymnasium
import torch
from gymnasium.spaces import Box
from stable_baselines3 import A2C
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack

from benchmarks.peers.meter import Meter, Options, options_of, parser_with_options
from benchmarks.peers.network import FEATURES, make_torso
from benchmarks.peers.work import (
    ENV,
    FRAME_STACK,
    Result,
    Work,
    measured_protocol,
    measured_work,
    write_line,
)

ROLLOUT_STEPS = 5


class Torso(BaseFeaturesExtractor):
    """Stable-Baselines3's NatureCNN with 32 instead of 64 filters in the last convolution."""

    def __init__(self, observation_space: Box) -> None:
        super().__init__(observation_space, features_dim=FEATURES)
        self.layers = make_torso(observation_space.shape[0])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[N, 4, 84, 84] in 0 … 1 → [N, 512]."""
        features: torch.Tensor = self.layers(images)
        return features


class Watch(BaseCallback):
    """Ends training when the meter has seen enough."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def _on_rollout_start(self) -> None:
        # The update on everything collected so far is over here.
        self._meter.record(self.num_timesteps)

    def _on_step(self) -> bool:
        return self._meter.reading is None


def make_game(**_: object) -> gymnasium.Env:
    """The bare game, as any process may build it."""
    gymnasium.register_envs(ale_py)
    return gymnasium.make(ENV)


def work_of(model: BaseAlgorithm, simulators: VecFrameStack) -> Work:
    """What is trained on what; one more simulator is built here to see its emulator."""
    one = make_atari_env(make_game, n_envs=1)
    assert isinstance(one, DummyVecEnv)
    frame_skip, sticky_actions = measured_protocol(one.envs[0])
    one.close()
    return measured_work(
        env=ENV,
        simulators=simulators.num_envs,
        observation=model.observation_space.shape or (),
        frame_skip=frame_skip,
        sticky_actions=sticky_actions,
        model=model.policy,
    )


def run(
    algorithm: str,
    make_model: Callable[..., BaseAlgorithm],
    settings: dict[str, int],
    options: Options,
    threads: int,
) -> Result:
    """Train until the meter has seen enough.

    Args:
        algorithm: its name.
        make_model: its class, or that with some arguments.
        settings: to report.
        options: of the measurement.
        threads: of PyTorch.
    """
    torch.set_num_threads(threads)
    # Forked simulators start in no time and share the libraries' memory.
    processes = make_atari_env(
        make_game,
        n_envs=options.simulators,
        seed=0,
        vec_env_cls=SubprocVecEnv,
        vec_env_kwargs={"start_method": "fork"},
    )
    simulators = VecFrameStack(processes, n_stack=FRAME_STACK)
    meter = Meter(options)
    try:
        policy = {"features_extractor_class": Torso, "net_arch": []}
        model = make_model("CnnPolicy", simulators, policy_kwargs=policy, device="cpu")
        work = work_of(model, simulators)
        model.learn(10**15, callback=Watch(meter))
    finally:
        simulators.close()
    reading = meter.result()
    return Result(
        system=f"sb3-{algorithm.lower()}",
        version=version("stable-baselines3"),
        work=work,
        settings={
            "algorithm": algorithm,
            **settings,
            "simulator_processes": options.simulators,
            "torch_threads": threads,
        },
        notes=(),
        **dataclasses.asdict(reading),
    )


def parse(text: str | None) -> tuple[Options, int]:
    """The command line: how to measure, and with how many threads of PyTorch."""
    parser = parser_with_options(argparse.ArgumentParser(description=text))
    # Threads: 2 were faster than 1 on 2 cores, since the simulators idle during an update.
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    values = parser.parse_args()
    return options_of(values), values.threads


def main() -> None:
    """Run it and print the result."""
    make_model = partial(A2C, n_steps=ROLLOUT_STEPS, ent_coef=0.01)
    write_line(run("A2C", make_model, {"rollout_steps": ROLLOUT_STEPS}, *parse(__doc__)))


if __name__ == "__main__":
    main()

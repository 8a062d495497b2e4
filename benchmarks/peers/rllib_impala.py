"""RLlib IMPALA on its new API stack, which has no A2C: the closest actor-critic that it offers."""

import argparse
import dataclasses
import os
from importlib.metadata import version
from typing import Any

# Two runners keep both cores busy: more threads for the learner only get in their way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import ale_py
import gymnasium
import ray
import torch
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.wrappers.atari_wrappers import ClipRewardEnv, EpisodicLifeEnv, FireResetEnv
from ray.tune.registry import register_env

from benchmarks.peers.meter import Meter, Options, options_of, parser_with_options
from benchmarks.peers.network import FEATURES, make_torso
from benchmarks.peers.work import (
    ENV,
    FRAME_SKIP,
    FRAME_STACK,
    IMAGE_SIZE,
    NOOP_MAX,
    Result,
    Work,
    measured_protocol,
    measured_work,
    write_line,
)

RUNNERS = 2
ROLLOUT_STEPS = 50
BATCH_SIZE = 500
MIB = 2**20


def make_simulator(_: Any = None) -> gymnasium.Env:
    """One simulator; Gymnasium's preprocessing is faster than RLlib's own and sends bytes."""
    gymnasium.register_envs(ale_py)
    env = AtariPreprocessing(
        gymnasium.make(ENV),
        noop_max=NOOP_MAX,
        frame_skip=FRAME_SKIP,
        screen_size=IMAGE_SIZE,
    )
    env = ClipRewardEnv(FireResetEnv(EpisodicLifeEnv(env)))
    return FrameStackObservation(env, FRAME_STACK)


class ActorCritic(TorchRLModule, ValueFunctionAPI):
    """A policy and a value on one torso."""

    def setup(self) -> None:
        """Build the layers."""
        self.torso = make_torso(self.observation_space.shape[0])
        self.policy = torch.nn.Linear(FEATURES, self.action_space.n)
        self.value = torch.nn.Linear(FEATURES, 1)

    def _features(self, batch: dict[str, Any]) -> torch.Tensor:
        features: torch.Tensor = self.torso(batch[Columns.OBS].float() / 255.0)
        return features

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        features = self._features(batch)
        return {Columns.ACTION_DIST_INPUTS: self.policy(features)}

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        features = self._features(batch)
        return {
            Columns.ACTION_DIST_INPUTS: self.policy(features),
            # With these the value needs no second pass over the torso.
            Columns.EMBEDDINGS: features,
        }

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """V [N] of a batch."""
        features = self._features(batch) if embeddings is None else embeddings
        values: torch.Tensor = self.value(features).squeeze(-1)
        return values


def config_of(options: Options, runners: int = RUNNERS) -> IMPALAConfig:
    """IMPALA's defaults, by default a runner a core, and the learner in this process."""
    return (
        IMPALAConfig()
        .environment("game")
        .env_runners(
            num_env_runners=runners,
            num_envs_per_env_runner=options.simulators // runners,
            rollout_fragment_length=ROLLOUT_STEPS,
        )
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=BATCH_SIZE)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=ActorCritic))
        .reporting(min_time_s_per_iteration=1)
    )


def work_of(config: IMPALAConfig, model: Any) -> Work:
    """What is trained on what; one more simulator is built here to see its emulator."""
    simulator = make_simulator()
    frame_skip, sticky_actions = measured_protocol(simulator)
    return measured_work(
        env=ENV,
        simulators=config.num_env_runners * config.num_envs_per_env_runner,
        observation=simulator.observation_space.shape or (),
        frame_skip=frame_skip,
        sticky_actions=sticky_actions,
        model=model,
    )


def start_ray() -> None:
    """A Ray of this machine that knows the game."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Processor slots are only for Ray's own book-keeping: more than there are cores is fine.
    ray.init(num_cpus=8, include_dashboard=False, object_store_memory=1024 * MIB)
    register_env("game", make_simulator)


def trained_steps(algorithm: Any) -> int:
    """Train for one more iteration; agent steps that have been trained on in all."""
    learners = algorithm.train().get("learners", {})
    return int(learners.get("__all_modules__", {}).get("num_env_steps_trained_lifetime", 0))


def run(options: Options) -> Result:
    """Train until the meter has seen enough."""
    start_ray()
    meter = Meter(options)
    config = config_of(options)
    algorithm = config.build_algo()
    work = work_of(config, algorithm.get_module())
    while not meter.record(trained_steps(algorithm)):
        pass
    algorithm.stop()
    ray.shutdown()
    return Result(
        system="rllib-impala",
        version=version("ray"),
        work=work,
        settings={
            "algorithm": "IMPALA",
            "rollout_steps": ROLLOUT_STEPS,
            "batch_size": BATCH_SIZE,
            "simulator_processes": RUNNERS,
            "torch_threads": torch.get_num_threads(),
        },
        notes=(
            "V-trace and Adam instead of n-step returns and RMSprop",
            "it counts the bootstrap step after every fragment of 50 as trained on: 2 % too many",
        ),
        **dataclasses.asdict(meter.result()),
    )


def main() -> None:
    """Run it and print the result."""
    parser = parser_with_options(argparse.ArgumentParser(description=__doc__))
    write_line(run(options_of(parser.parse_args())))


if __name__ == "__main__":
    main()

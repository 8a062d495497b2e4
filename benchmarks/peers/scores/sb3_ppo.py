"""Stable-Baselines3 PPO by a task's settings: `DummyVecEnv`, and `VecNormalize` where asked for."""

import os
import statistics
from importlib.metadata import version

# PyTorch's threads would spin on the cores; read at import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from benchmarks.peers.scores.tasks import (
    DISCOUNT,
    GAE_LAMBDA,
    GAMES,
    MAX_GRAD_NORM,
    TASKS,
    VALUE_COST,
    Outcome,
    Stopwatch,
    Task,
    make_parser,
    processor_s,
    write_line,
)
from benchmarks.peers.work import layers_of


class Watch(BaseCallback):
    """Notes the ends of updates."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        super().__init__()
        self._stopwatch = stopwatch

    def _on_rollout_start(self) -> None:
        self._stopwatch.record(self.num_timesteps)

    def _on_training_end(self) -> None:
        self._stopwatch.record(self.num_timesteps)

    def _on_step(self) -> bool:
        return True


def make_model(task: Task, simulators: VecEnv, seed: int) -> PPO:
    """Return PPO with its own network for vectors, which is this package's as well."""
    return PPO(
        "MlpPolicy",
        simulators,
        n_steps=task.rollout_steps,
        batch_size=task.update_steps // task.minibatches,
        n_epochs=task.epochs,
        learning_rate=lambda left: left * task.learning_rate,
        clip_range=task.clip_range,
        clip_range_vf=task.value_clip_range,
        ent_coef=task.entropy_cost,
        vf_coef=VALUE_COST,
        gamma=DISCOUNT,
        gae_lambda=GAE_LAMBDA,
        max_grad_norm=MAX_GRAD_NORM,
        stats_window_size=GAMES,
        seed=seed,
        device="cpu",
    )


def run(task: Task, steps: int, seed: int) -> Outcome:
    """Train to the end."""
    torch.set_num_threads(1)
    simulators = make_vec_env(task.env, task.simulators, seed=seed)
    if task.normalize:
        simulators = VecNormalize(simulators, gamma=DISCOUNT)
    model, stopwatch = make_model(task, simulators, seed), Stopwatch()
    model.learn(steps, callback=Watch(stopwatch))
    spent = processor_s()
    # Raw: the monitors are inside the normalisation.
    returns = [game["r"] for game in model.ep_info_buffer]
    return Outcome(
        version=version("stable-baselines3"),
        network=layers_of(model.policy),
        parameters=sum(p.numel() for p in model.policy.parameters() if p.requires_grad),
        agent_steps=model.num_timesteps,
        score=statistics.fmean(returns),
        games=len(returns),
        agent_steps_per_s=stopwatch.agent_steps_per_s(),
        processor_s=spent,
    )


def main() -> None:
    """Run it and print the outcome."""
    values = make_parser(__doc__, TASKS).parse_args()
    write_line(run(TASKS[values.env], values.steps, values.seed))


if __name__ == "__main__":
    main()

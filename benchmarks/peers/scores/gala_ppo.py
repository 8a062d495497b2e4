"""This package's `ppo` by a task's settings, through its Python API, on any backend."""

import io
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.peers.scores.tasks import (
    ADAM_EPSILON,
    DISCOUNT,
    GAE_LAMBDA,
    GAMES,
    MAX_GRAD_NORM,
    TASKS,
    VALUE_COST,
    Outcome,
    Task,
    make_parser,
    processor_s,
    write_line,
)
from benchmarks.peers.work import layers_of
from gala_rl import TrainConfig, train
from gala_rl.agent import build_model
from gala_rl.checks.config import check_config
from gala_rl.envs import make_simulators
from gala_rl.methods.ppo import PPOSettings


def config_of(task: Task, steps: int, seed: int, backend: str, out: Path) -> TrainConfig:
    """Return the task's settings as this package writes them.

    Args:
        task: what to train on.
        steps: agent steps in all.
        seed: of the run.
        backend: prefix of the environment, such as "envpool:"; "" for Gymnasium.
        out: folder of the run.
    """
    return TrainConfig(
        method="ppo",
        env=f"{backend}{task.env}",
        simulators=task.simulators,
        steps=steps,
        seed=seed,
        network_threads=1,
        device="cpu",
        out=str(out),
        algorithm=PPOSettings(
            rollout_steps=task.rollout_steps,
            epochs=task.epochs,
            minibatches=task.minibatches,
            learning_rate=task.learning_rate,
            clip_range=task.clip_range,
            anneal_clip_range=False,
            value_clip_range=task.value_clip_range,
            value_cost=VALUE_COST,
            entropy_cost=task.entropy_cost,
            discount=DISCOUNT,
            gae_lambda=GAE_LAMBDA,
            max_grad_norm=MAX_GRAD_NORM,
            adam_epsilon=ADAM_EPSILON,
            normalize_observations=task.normalize,
            normalize_rewards=task.normalize,
        ),
    )


def network_of(config: TrainConfig) -> tuple[tuple[str, ...], int]:
    """Return the layers and the number of trained parameters of the network that a run builds."""
    checked = check_config(config)
    simulators = make_simulators(checked.source, 1, 1)
    model = build_model(checked, simulators.observation, simulators.action)
    simulators.close()
    return layers_of(model), sum(p.numel() for p in model.parameters() if p.requires_grad)


def rate_of(rows: list[dict[str, Any]]) -> float:
    """Return agent steps per second between the first and the last row of metrics."""
    first, last = rows[0], rows[-1]
    rate: float = (last["agent_steps"] - first["agent_steps"]) / (last["time"] - first["time"])
    return rate


def run(task: Task, steps: int, seed: int, backend: str) -> Outcome:
    """Train to the end."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "run"
        config = config_of(task, steps, seed, backend, out)
        summary = train(config, Console(file=io.StringIO()))
        spent = processor_s()
        lines = (out / "metrics" / "learner_00.jsonl").read_text(encoding="utf-8").splitlines()
        network, parameters = network_of(config)
    return Outcome(
        version=version("gala-rl"),
        network=network,
        parameters=parameters,
        agent_steps=summary["agent_steps"],
        score=summary["mean_return"],
        games=min(GAMES, summary["episodes"]),
        agent_steps_per_s=rate_of([json.loads(line) for line in lines]),
        processor_s=spent,
    )


def main() -> None:
    """Run it and print the outcome."""
    parser = make_parser(__doc__, TASKS)
    parser.add_argument("--backend", default="", help='such as "envpool:"')
    values = parser.parse_args()
    write_line(run(TASKS[values.env], values.steps, values.seed, values.backend))


if __name__ == "__main__":
    main()

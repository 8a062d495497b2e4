"""Training on fast simulators beside the same environment by its Gymnasium id, in turn.

    python -m benchmarks.backends [--cases cartpole minatar …] [--rounds 5] [--out FILE]

Needs the extras `envpool` and `jax`, and gymnasium[mujoco] for MuJoCo's. Each round measures
each side of a case for some seconds with a process per learner: first its simulators alone, with
random actions, then training. The order of the sides changes with each round.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch

from gala_lab.bench import component_rates
from gala_lab.bench.training_rate import measure_training
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.records.provenance import provenance

CASES: dict[str, tuple[TrainConfig, ...]] = {
    "cartpole": (
        TrainConfig(method="gala-a2c", env="CartPole-v1", learners=2, simulators=64),
        TrainConfig(method="gala-a2c", env="gym-vec:CartPole-v1", learners=2, simulators=64),
    ),
    "minatar": (
        TrainConfig(method="gala-a2c", env="pgx:minatar-breakout", learners=2, simulators=64),
    ),
    "mujoco": (
        TrainConfig(method="gala-a2c", env="HalfCheetah-v5", learners=2, simulators=16),
        TrainConfig(method="gala-a2c", env="envpool:HalfCheetah-v5", learners=2, simulators=16),
    ),
    "mujoco-ppo": (
        TrainConfig(method="ppo", env="HalfCheetah-v5", simulators=16),
        TrainConfig(method="ppo", env="envpool:HalfCheetah-v5", simulators=16),
    ),
    "pong": (
        TrainConfig(method="gala-a2c", env="PongNoFrameskip-v4", learners=2, simulators=16),
        TrainConfig(method="gala-a2c", env="envpool:Pong-v5", learners=2, simulators=16),
    ),
}
"""The sides of each case, the slower one first."""
PARTS = ("simulators_alone", "training")


def rates_of(config: ResolvedConfig, seconds: float) -> dict[str, float]:
    """Return agent steps per second of all learners together: of simulators alone, of training."""
    cpu = torch.device("cpu")
    simulators = component_rates.rate(component_rates.simulators_only, config, cpu, seconds, 1)
    training = measure_training(config, seconds).values["sps"]
    assert training is not None
    return {"simulators_alone": simulators, "training": training}


def measure(name: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Return the rates of each side in each round, their medians, and ratios of last to first."""
    configs = [resolve(config) for config in CASES[name]]
    found: list[list[dict[str, float]]] = []
    for number in range(rounds):
        order = range(len(configs)) if number % 2 == 0 else reversed(range(len(configs)))
        sides = {side: rates_of(configs[side], seconds) for side in order}
        found.append([sides[side] for side in range(len(configs))])
        print(name, found[-1], flush=True)
    return {
        "case": name,
        "envs": [str(config.env) for config in configs],
        "method": configs[0].method,
        "learners": configs[0].learners,
        "simulators": configs[0].simulators,
        "rounds": found,
        **{part: summary([[side[part] for side in sides] for sides in found]) for part in PARTS},
    }


def summary(rounds: list[list[float]]) -> dict[str, Any]:
    """Return medians of a rate: each side's, and of the ratios of the last side to the first."""
    ratios = [sides[-1] / sides[0] for sides in rounds]
    return {
        "steps_per_s": [statistics.median(side) for side in zip(*rounds, strict=True)],
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    cases = [measure(name, options.rounds, options.seconds) for name in options.cases]
    setting = {"rounds": options.rounds, "seconds": options.seconds}
    text = json.dumps({**setting, "cases": cases, **provenance()}, indent=2)
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

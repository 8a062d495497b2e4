"""Compares `gala simulate` with real training: rate and consensus distance of 2 to 8 learners.

    python -m benchmarks.validate_simulation [--learners 2 4 8] [--out RESULT.json]

The inputs of the simulation are measured on one core: how long an update takes two learners that
share it, gossip and the switching between them included, and how long the steps are that learners
make which take turns. From that it predicts what as many real processes do on all cores. It is
right if their rate is within 15 % of it, and the distance of the learners in their checkpoints
within a factor of 2.
"""

import argparse
import dataclasses
import io
import json
import math
import os
import statistics
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import gala_rl
from gala_lab.simulation.simulate import simulate
from gala_lab.simulation.simulation_config import SimulationConfig
from gala_rl.agent import Agent, build_agent
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.gossip import MemoryNetwork
from gala_rl.methods.resolving import resolve
from gala_rl.records.checkpoint import open_checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.provenance import provenance
from gala_rl.records.run_folder import RunFolder

RATE_WITHIN, DISTANCE_WITHIN = 0.15, 2.0
UPDATES_A_ROW = 20
LAGS = 8
"""Updates over which a learner's updates are held against its own later ones."""
DIMENSION = 50
TRAINING = TrainConfig(
    method="gala-a2c",
    env="CartPole-v1",
    simulators=16,
    log_every=UPDATES_A_ROW,
    checkpoint_every=0.5,
    checkpoints_kept=10_000,
)


def training(learners: int, seed: int) -> ResolvedConfig:
    """The config of a real training."""
    return resolve(dataclasses.replace(TRAINING, learners=learners, seed=seed))


def train(config: ResolvedConfig, updates: int, folder: Path) -> list[list[dict[str, Any]]]:
    """Train with real processes for this many updates per learner. Return each learner's rows."""
    steps = updates * config.learners * config.simulators * config.algorithm.rollout_steps
    gala_rl.train(
        dataclasses.replace(config, steps=steps, out=str(folder)), Console(file=io.StringIO())
    )
    files = (RunFolder(folder).metrics_file(rank) for rank in range(config.learners))
    return [MetricsReader(file).new_rows() for file in files]


def rate(rows: Sequence[dict[str, Any]]) -> float:
    """Updates a second of one learner, from its first row to its last."""
    first, last = rows[0], rows[-1]
    return float((last["updates"] - first["updates"]) / (last["time"] - first["time"]))


def variation(rows: Sequence[dict[str, Any]]) -> float:
    """Standard deviation / mean of the seconds of one learner's updates."""
    seconds = [1 / row["agent_steps_per_s"] for row in rows[1:-1]]
    # A row is a mean over this many updates, which varies less than they do.
    relative = statistics.stdev(seconds) / statistics.fmean(seconds)
    return float(math.sqrt(UPDATES_A_ROW) * relative)


def measure_one_core(updates: int) -> dict[str, float]:
    """Seconds that an update keeps a core busy: mean, and variation.

    Of two learners, since one alone neither gossips nor has anybody to make room for.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with tempfile.TemporaryDirectory() as temporary:
            rows = train(training(learners=2, seed=0), updates, Path(temporary) / "run")
    finally:
        os.sched_setaffinity(0, cores)
    return {
        "compute_s": 1 / sum(map(rate, rows)),
        "compute_variation": statistics.fmean(map(variation, rows)),
    }


def measure_real(config: ResolvedConfig, updates: int) -> dict[str, float]:
    """What real processes do, one a learner."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        rows = train(config, updates, folder)
        rms = consensus_rms(folder / "checkpoints", config.learners)
    made = sum(learner[-1]["updates"] for learner in rows)
    return {
        "updates_per_s": sum(rate(learner) for learner in rows),
        "mixed_share": sum(learner[-1]["mixes"] for learner in rows) / made,
        "consensus_rms": rms,
    }


def consensus_rms(checkpoints: Path, learners: int) -> float:
    """Root mean square distance of learners from their mean, over the later half of checkpoints."""
    paths = sorted(checkpoints.glob("step_*"))
    squares = []
    for path in paths[len(paths) // 2 :]:
        saved = open_checkpoint(path)
        rows = torch.stack([saved.load(i).tensors["parameters"] for i in range(learners)]).double()
        squares.append(float((rows - rows.mean(dim=0)).square().sum() / learners))
    return math.sqrt(statistics.fmean(squares))


def measure_updates(config: ResolvedConfig, updates: int) -> dict[str, float]:
    """What the steps of learners that take turns are like, in the second half of a training.

    Returns:
        `update_rms`, their root mean square length; `own_share`, of its square, what is a
        learner's own rather than all learners' mean; `persistence`, by which the square of a sum
        of many own parts of one learner exceeds the sum of their squares.
    """
    n, network = config.learners, MemoryNetwork(config.learners)
    agents = [
        build_agent(config, rank, network.transport(rank), torch.device("cpu"), config.seed + rank)
        for rank in range(n)
    ]
    recent: deque[torch.Tensor] = deque(maxlen=LAGS + 1)
    square, products = 0.0, [0.0] * (LAGS + 1)
    for number in range(updates):
        moves = torch.stack([_step(agent, config) for agent in agents]).double()
        if number >= updates // 2:
            recent.appendleft(moves - moves.mean(dim=0))
            square += float(moves.square().sum())
            for lag, earlier in enumerate(recent):
                products[lag] += float((recent[0] * earlier).sum())
    for agent in agents:
        agent.actor.simulators.close()
    return {
        "update_rms": math.sqrt(square / (n * (updates - updates // 2))),
        # A mean of n takes its part of each: what is left is (n - 1) / n of what is its own.
        "own_share": products[0] * n / (n - 1) / square,
        "persistence": 1 + 2 * sum(products[1:]) / products[0],
    }


def _step(agent: Agent, config: ResolvedConfig) -> torch.Tensor:
    """One step of an agent, as `Agent.step`. Returns what the optimiser added, [P]."""
    trajectory = agent.actor.collect()
    before = agent.learner.flat.values.clone()
    agent.learner.update(trajectory, config.learning_rate_at(0))
    move = agent.learner.flat.values - before
    agent.updates += 1
    agent.gossip.exchange(agent.updates)
    return move


def predict(
    learners: int, updates: int, one_core: dict[str, float], steps: dict[str, float], seed: int
) -> dict[str, float]:
    """Return the simulation of this many learners on the cores of this machine."""
    own_square = steps["update_rms"] ** 2 * steps["own_share"] * steps["persistence"]
    result = simulate(
        "gossip",
        SimulationConfig(
            learners=learners,
            cores=usable_cores(),
            compute_s=one_core["compute_s"],
            compute_variation=one_core["compute_variation"],
            latency_s=0.0,
            # Shared memory: what gossip takes is a part of an update's seconds.
            bandwidth_bytes_per_s=1e30,
            problem="random-walk",
            dimension=DIMENSION,
            learning_rate=1.0,
            noise=math.sqrt(own_square / DIMENSION),
            updates=updates,
            seed=seed,
        ),
    )
    return {
        "updates_per_s": result["updates_per_s"]["total"],
        "mixed_share": result["mixed_share"],
        "consensus_rms": result["consensus"]["rms"],
    }


def case_of(learners: int, updates: int, one_core: dict[str, float], seeds: int) -> dict[str, Any]:
    """One number of learners: every run of it, and how far the predictions are off."""
    runs = []
    for seed in range(seeds):
        config = training(learners, seed)
        measured, steps = measure_real(config, updates), measure_updates(config, updates)
        predicted = predict(learners, updates, one_core, steps, seed)
        runs.append({"seed": seed, "measured": measured, "steps": steps, "predicted": predicted})
        print(learners, runs[-1])
    return {"learners": learners, **verdict(runs), "runs": runs}


def verdict(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Predicted / measured: of the mean rates, and of the root mean squares over the runs."""

    def mean(whose: str, name: str, power: int) -> float:
        return float(statistics.fmean(run[whose][name] ** power for run in runs) ** (1 / power))

    rates = mean("predicted", "updates_per_s", 1) / mean("measured", "updates_per_s", 1)
    distances = mean("predicted", "consensus_rms", 2) / max(
        1e-12, mean("measured", "consensus_rms", 2)
    )
    return {
        "rate_ratio": rates,
        "distance_ratio": distances,
        "rate_is_right": abs(rates - 1) <= RATE_WITHIN,
        "distance_is_right": 1 / DISTANCE_WITHIN <= distances <= DISTANCE_WITHIN,
    }


def main() -> None:
    """Measure, predict, compare, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learners", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--updates", type=int, default=2000, help="of a learner")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each number of learners")
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    one_core = measure_one_core(options.updates)
    cases = [case_of(n, options.updates, one_core, options.seeds) for n in options.learners]
    result = {
        "settings": {"updates": options.updates, "seeds": options.seeds},
        "one_core": one_core,
        "cases": cases,
        **provenance(),
    }
    text = json.dumps(result, indent=2, allow_nan=False)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

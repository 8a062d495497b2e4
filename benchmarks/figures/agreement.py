"""Gradient agreement: gossiping learners beside equal groups of A2C's simulators.

    python -m benchmarks.figures.agreement --out benchmarks/results/agreement

The mean cosine between the gradients of two learners of `gala-a2c`, each at its own parameters
and from its own simulators; and of two groups of as many simulators of `a2c`, all at the same
parameters. Both learn as in training, with the package's default settings; learners take turns.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.figures import draw, results
from benchmarks.figures.runs import SIMULATORS_A_LEARNER
from benchmarks.figures.summary import bootstrap
from gala_rl.agent import Agent, build_agent, build_model
from gala_rl.config import TrainConfig
from gala_rl.gossip import MemoryNetwork
from gala_rl.learner import Learner
from gala_rl.records.run_folder import provenance
from gala_rl.trajectory import Trajectory

WINDOWS = 20
"""Parts of training over which cosines are averaged: those of single updates are noise."""


def mean_cosine(gradients: Tensor) -> float:
    """Mean over all pairs of rows of [n, P]."""
    n = len(gradients)
    units = torch.nn.functional.normalize(gradients, dim=1)
    total = units.sum(dim=0).square().sum()  # n ones, and every pair twice
    return float((total - n) / (n * (n - 1)))


def of_gossiping_learners(config: TrainConfig) -> Iterator[Tensor]:
    """Gradients [n, P] of all learners at each round."""
    network = MemoryNetwork(config.resolved_learners)
    agents = [agent_of(config, rank, network) for rank in range(config.resolved_learners)]
    while True:
        for agent in agents:
            agent.step(config.initial_learning_rate)
        yield torch.stack([agent.learner.flat.grads for agent in agents])


def of_groups_in_step(config: TrainConfig, groups: int) -> Iterator[Tensor]:
    """Gradients [groups, P] of the parts of every batch of one learner, at its parameters."""
    agent = agent_of(config, 0, MemoryNetwork(1))
    simulators = agent.actor.simulators
    probe = Learner(build_model(config, simulators.observation, simulators.action), config.a2c)
    while True:
        trajectory = agent.actor.collect()
        probe.flat.load(agent.learner.flat.values)
        yield torch.stack([_gradient(probe, part) for part in split(trajectory, groups)])
        agent.learner.update(trajectory, config.initial_learning_rate)


def split(trajectory: Trajectory, groups: int) -> list[Trajectory]:
    """Rollouts of equal groups of simulators; without activations, which belong to the whole."""
    names = ("observations", "actions", "rewards", "terminated", "truncated", "truncation_values")
    chunks = {name: getattr(trajectory, name).chunk(groups, dim=1) for name in names}
    return [
        replace(trajectory, activations=None, **{name: chunks[name][k] for name in names})
        for k in range(groups)
    ]


def _gradient(probe: Learner, trajectory: Trajectory) -> Tensor:
    probe.update(trajectory, learning_rate=0.0)  # which leaves the parameters where they are
    return probe.flat.grads.clone()


def agent_of(config: TrainConfig, rank: int, network: MemoryNetwork) -> Agent:
    """A learner of a run that takes turns with the others in this process."""
    seed = np.random.SeedSequence([config.seed, rank]).generate_state(1)[0]
    return build_agent(config, rank, network.transport(rank), torch.device("cpu"), int(seed))


def measure(method: str, options: argparse.Namespace, seed: int) -> list[float]:
    """Mean cosines of a run, one for each window of its training."""
    groups = options.simulators // SIMULATORS_A_LEARNER
    learners = 1 if method == "a2c" else groups
    config = TrainConfig(
        method=method,
        env=options.env,
        learners=learners,
        simulators=options.simulators // learners,
        seed=seed,
        device="cpu",
        serial=True,
    )
    each = of_groups_in_step(config, groups) if learners == 1 else of_gossiping_learners(config)
    updates = options.steps // (config.a2c.rollout_steps * options.simulators)
    cosines = [mean_cosine(gradients) for gradients in itertools.islice(each, updates)]
    return [float(part.mean()) for part in np.array_split(cosines, WINDOWS)]


def summary(cosines: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Means over training and seeds of each method, and of their difference at equal seeds."""
    means = {method: np.mean(rows, axis=1) for method, rows in cosines.items()}
    means["difference"] = means["gala-a2c"] - means["a2c"]
    return {
        name: {"mean": float(values.mean()), "interval": bootstrap(values.tolist())}
        for name, values in means.items()
    }


def main(arguments: Sequence[str]) -> None:
    """Measure both methods with each seed, and write the figure's folder."""
    parser = results.parser(__doc__)
    parser.add_argument("--env", default="CartPole-v1", help="Gymnasium id")
    parser.add_argument("--simulators", type=int, default=64, help="of all learners together")
    parser.add_argument("--steps", type=int, default=320_000, help="agent steps of a run")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each method")
    options = parser.parse_args(arguments)
    origin = provenance()
    torch.set_num_threads(1)
    cosines: dict[str, list[list[float]]] = {"a2c": [], "gala-a2c": []}
    for seed in range(options.seeds):
        for method, rows in cosines.items():
            rows.append(measure(method, options, seed))
            print(f"{method}, seed {seed}: {np.mean(rows[-1]):.3f}", flush=True)
    middles = [(k + 0.5) * options.steps / WINDOWS for k in range(WINDOWS)]
    result = {
        "env": options.env,
        "simulators": options.simulators,
        "groups": options.simulators // SIMULATORS_A_LEARNER,
        "steps": options.steps,
        "agent_steps": middles,
        "cosines": cosines,
        "summary": summary(cosines),
        **origin,
    }
    results.write(options.out, "agreement", arguments, result, draw.agreement(result))


if __name__ == "__main__":
    main(sys.argv[1:])

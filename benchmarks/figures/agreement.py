"""Gradient agreement: gossiping learners beside equal groups of A2C's simulators.

    python -m benchmarks.figures.agreement --out benchmarks/results/agreement

The mean cosine between gradients of groups of eight simulators: of two groups of `a2c`'s one
learner, of two groups of one learner of `gala-a2c`, and of groups of two of its learners, each at
its own parameters. The last two are of the same run at the same time, so that nothing but the
difference of parameters is between them. Both methods learn as in training, with the package's
default settings; learners take turns.
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
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.gossip import MemoryNetwork
from gala_rl.learners.learner import Learner, make_learner
from gala_rl.methods.resolving import resolve
from gala_rl.records.provenance import provenance
from gala_rl.trajectory import Trajectory

GROUP = 8
"""Simulators whose common gradient is one of those that are compared: half a learner's."""

WINDOWS = 20
"""Parts of training over which cosines are averaged: those of single updates are noise."""


def cosines(gradients: Tensor) -> dict[str, float]:
    """Mean cosine of two gradients of one learner (`within`) and of two learners (`between`).

    Args:
        gradients: [learners, groups, P].
    """
    learners, groups, _ = gradients.shape
    sums = torch.nn.functional.normalize(gradients, dim=-1).sum(dim=1)  # of unit vectors
    own, total = float(sums.square().sum()), float(sums.sum(dim=0).square().sum())
    count = learners * groups  # of pairs of a gradient with itself, whose cosine is 1
    found = {"within": (own - count) / (count * (groups - 1))}
    if learners > 1:
        found["between"] = (total - own) / (count * (learners - 1) * groups)
    return found


def gradients(config: ResolvedConfig, group: int = GROUP) -> Iterator[Tensor]:
    """Gradients [learners, groups, P] of every round of a run whose learners take turns."""
    network = MemoryNetwork(config.learners)
    agents = [_agent(config, rank, network) for rank in range(config.learners)]
    simulators = agents[0].actor.simulators
    probe = make_learner(
        build_model(config, simulators.observation, simulators.action),
        config.algorithm,
        initial_learning_rate=config.initial_learning_rate,
        seed=config.seed,
    )
    while True:
        found = []
        for agent in agents:
            probe.flat.load(agent.learner.flat.values)
            agent.step(config.initial_learning_rate)
            parts = split(agent.actor.trajectory, config.simulators // group)
            found.append(torch.stack([_gradient(probe, part) for part in parts]))
        yield torch.stack(found)


def _agent(config: ResolvedConfig, rank: int, network: MemoryNetwork) -> Agent:
    seed = np.random.SeedSequence([config.seed, rank]).generate_state(1)[0]
    return build_agent(config, rank, network.transport(rank), torch.device("cpu"), int(seed))


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


def measure(method: str, options: argparse.Namespace, seed: int) -> dict[str, list[float]]:
    """Mean cosines of a run, one for each window of its training."""
    learners = 1 if method == "a2c" else options.simulators // SIMULATORS_A_LEARNER
    config = resolve(
        TrainConfig(
            method=method,
            env=options.env,
            learners=learners,
            simulators=options.simulators // learners,
            seed=seed,
            device="cpu",
            serial=True,
        )
    )
    updates = options.steps // (config.algorithm.rollout_steps * options.simulators)
    rounds = [cosines(found) for found in itertools.islice(gradients(config), updates)]
    return {
        f"{method}, {kind}": [
            float(part.mean()) for part in np.array_split([r[kind] for r in rounds], WINDOWS)
        ]
        for kind in rounds[0]
    }


def summary(curves: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Means over training and seeds of each curve, and of differences at equal seeds."""
    means = {name: np.mean(rows, axis=1) for name, rows in curves.items()}
    for other in ("a2c, within", "gala-a2c, within"):
        means[f"gala-a2c, between − {other}"] = means["gala-a2c, between"] - means[other]
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
    curves: dict[str, list[list[float]]] = {}
    for seed in range(options.seeds):
        for method in ("a2c", "gala-a2c"):
            for name, curve in measure(method, options, seed).items():
                curves.setdefault(name, []).append(curve)
                print(f"{name}, seed {seed}: {np.mean(curve):.3f}", flush=True)
    middles = [(k + 0.5) * options.steps / WINDOWS for k in range(WINDOWS)]
    result = {
        "env": options.env,
        "simulators": options.simulators,
        "group": GROUP,
        "steps": options.steps,
        "agent_steps": middles,
        "cosines": curves,
        "summary": summary(curves),
        **origin,
    }
    results.write(options.out, "agreement", arguments, result, draw.agreement(result))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Consensus without learning: how fast do learners that only gossip agree?

Each of n learners starts from one random number and only averages. In step, a round on a directed
ring leaves at most cos(π/n) of the disagreement; other topologies leave less.

    python examples/02_consensus.py
"""

import math

import numpy as np
import torch

from gala_rl.gossip import Topology, complete, directed_ring, exponential, rotating_exponential
from gala_rl.gossip.mixing import mix_


def disagreement(values: torch.Tensor) -> float:
    """Return the root mean square distance from the mean."""
    return float((values - values.mean(dim=0)).square().mean().sqrt())


def rounds_to_agree(topology: Topology, tolerance: float = 1e-3, seed: int = 0) -> int:
    """Return the synchronous rounds until a share `tolerance` of the disagreement remains."""
    values = torch.randn(topology.learners, 1, generator=torch.Generator().manual_seed(seed))
    start, rounds = disagreement(values), 0
    while disagreement(values) > tolerance * start:
        sent = values.clone()
        for learner in range(topology.learners):
            heard = topology.in_neighbours(learner, rounds)
            mix_(values[learner], [sent[j] for j in heard])
        rounds += 1
    return rounds


def main(learners: int = 16) -> dict[str, int]:
    """Return the rounds to a thousandth of the initial disagreement, by topology."""
    topologies = (directed_ring, exponential, rotating_exponential, complete)
    return {make.__name__: rounds_to_agree(make(learners)) for make in topologies}


if __name__ == "__main__":
    n = 16
    second = np.sort(np.abs(np.linalg.eigvals(directed_ring(n).mixing_matrix(0))))[-2]
    print(f"directed ring of {n}: slowest mode shrinks by {second:.4f} per round, "
          f"cos(π/{n}) = {math.cos(math.pi / n):.4f}")  # fmt: skip
    for name, rounds in main(n).items():
        print(f"{name:22} {rounds:4} rounds")

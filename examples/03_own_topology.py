"""Your own topology: a small graph of learners as a list of [sender, receiver] edges.

    python examples/03_own_topology.py

The same file works on the command line: gala train gala-a2c --learners 4 --topology edges.json
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from gala_rl import GossipSettings, TrainConfig, train
from gala_rl.gossip import from_edges

# A ring of four with one shortcut: learners 0 and 1 are both in-neighbours of learner 2.
EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]


def main(steps: int = 40_000, folder: str | None = None) -> dict[str, Any]:
    """Train CartPole with this topology and return the summary of the run."""
    topology = from_edges(EDGES, learners=4)
    print(topology.mixing_matrix(0))
    # Only learner 2 has two in-neighbours, so mixing favours the parameters of some learners.
    print(f"keeps the mean of all learners: {topology.is_doubly_stochastic()}")

    home = Path(folder or tempfile.mkdtemp())
    edges = home / "edges.json"
    edges.write_text(json.dumps(EDGES), encoding="utf-8")
    config = TrainConfig(
        method="gala-a2c",
        env="CartPole-v1",
        learners=4,
        steps=steps,
        out=str(home / "run"),
        gossip=GossipSettings(topology=str(edges)),
    )
    return train(config)


if __name__ == "__main__":  # learner processes import this file too
    summary = main()
    print(f"mixes: {summary['mixes']} in {summary['updates']} updates")

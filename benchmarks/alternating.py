"""Alternating sampling on a CPU beside synchronised sampling: one learner, training included.

    python -m benchmarks.alternating [--simulators 32 64 128] [--rounds 40] [--out RESULT.json]

Both learners are in this process and take turns every few updates, the first in one round the
second in the next: what else happens on the machine happens to both.
"""

import os

# As learners' threads wait; read when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from gala_rl.agent import Agent, build_agent
from gala_rl.config.train import TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.gossip import MemoryNetwork
from gala_rl.methods.resolving import resolve
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.records.provenance import provenance

ENV = "PongNoFrameskip-v4"
WARM_UP, UPDATES = 10, 4
LEARNING_RATE = 7e-4


def make_agent(simulators: int, groups: int) -> Agent:
    """A learner of Pong alone on all cores, warm."""
    settings = TrainConfig(
        method="a2c", env=ENV, simulators=simulators, simulator_groups=groups, learners=1
    )
    transport = MemoryNetwork(1).transport(0)
    agent = build_agent(resolve(settings), 0, transport, torch.device("cpu"), seed=0)
    for _ in range(WARM_UP):
        agent.step(LEARNING_RATE)
    return agent


def rate(agent: Agent) -> float:
    """Agent steps a second in a few updates."""
    begun, before = time.perf_counter(), agent.agent_steps
    for _ in range(UPDATES):
        agent.step(LEARNING_RATE)
    return (agent.agent_steps - before) / (time.perf_counter() - begun)


def measure(simulators: int, rounds: int) -> dict[str, Any]:
    """Medians of both, and of their ratio in each round with its quartiles."""
    agents = [make_agent(simulators, groups) for groups in (1, 2)]
    pairs = []
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        rates = {which: rate(agents[which]) for which in order}
        pairs.append((rates[0], rates[1]))
    for agent in agents:
        agent.source.close()
    low, middle, high = statistics.quantiles((b / a for a, b in pairs), n=4)
    return {
        "simulators": simulators,
        "synchronised_steps_per_s": statistics.median(a for a, _ in pairs),
        "alternating_steps_per_s": statistics.median(b for _, b in pairs),
        "ratio": middle,
        "ratio_quartiles": [low, high],
    }


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulators", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    keep_freed_memory()
    cases = [measure(simulators, options.rounds) for simulators in options.simulators]
    setting = {"env": ENV, "rounds": options.rounds, "updates_a_turn": UPDATES}
    text = json.dumps({**setting, "cases": cases, **provenance()}, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

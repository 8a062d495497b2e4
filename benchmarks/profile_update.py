"""Where the time of one agent step goes: simulators, acting, update, and PyTorch's operators.

    python benchmarks/profile_update.py [--threads 1 2] [--simulators 16] [--out RESULT.json]

One learner alone, without gossip. Parts are timed in one pass and operators in another, since
the profiler slows what it watches; operators are therefore given as shares.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from gala_rl.agent import Agent, build_agent
from gala_rl.config.train import TrainConfig
from gala_rl.envs import Simulators, Transition
from gala_rl.gossip import MemoryNetwork
from gala_rl.methods.resolving import resolve
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.records.provenance import provenance

WARM_UP, UPDATES, OPERATORS = 10, 100, 12
LEARNING_RATE = 7e-4


class Stopwatch:
    """Times what an actor waits for its simulators.

    Args:
        simulators: whose `recv` is timed from now on.
    """

    def __init__(self, simulators: Simulators) -> None:
        self.seconds = 0.0
        self._recv = simulators.recv
        simulators.recv = self._timed  # type: ignore[method-assign]

    def _timed(self, group: int = 0) -> Transition:
        start = time.perf_counter()
        transition = self._recv(group)
        self.seconds += time.perf_counter() - start
        return transition


def make_agent(threads: int, simulators: int) -> Agent:
    """Return a warm learner of Pong, alone on this many threads."""
    settings = TrainConfig(
        method="a2c",
        simulators=simulators,
        simulator_threads=threads,
        network_threads=threads,
        learners=1,
    )
    config = resolve(settings)
    agent = build_agent(config, 0, MemoryNetwork(1).transport(0), torch.device("cpu"), seed=0)
    for _ in range(WARM_UP):
        agent.step(LEARNING_RATE)
    return agent


def time_parts(agent: Agent) -> dict[str, float]:
    """Median milliseconds of each part of an agent's step."""
    watch, rows = Stopwatch(agent.actor.simulators), []
    for _ in range(UPDATES):
        watch.seconds, start = 0.0, time.perf_counter()
        trajectory = agent.actor.collect()
        acted = time.perf_counter()
        agent.learner.update(trajectory, LEARNING_RATE)
        rows.append(
            {
                "simulators": watch.seconds,
                "acting": acted - start - watch.seconds,
                "update": time.perf_counter() - acted,
            }
        )
    return {name: 1e3 * statistics.median(row[name] for row in rows) for name in rows[0]}


def share_operators(agent: Agent) -> dict[str, float]:
    """Share of each of the longest operators in the time of all, their own time alone."""
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        for _ in range(UPDATES // 5):
            agent.learner.update(agent.actor.collect(), LEARNING_RATE)
    own = {event.key: event.self_cpu_time_total for event in watched.key_averages()}
    total = sum(own.values())
    longest = sorted(own, key=lambda name: own[name], reverse=True)[:OPERATORS]
    return {name: own[name] / total for name in longest}


def main() -> None:
    """Profile, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--simulators", type=int, default=16)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    keep_freed_memory()
    cases: list[dict[str, Any]] = []
    for threads in options.threads:
        agent = make_agent(threads, options.simulators)
        parts = time_parts(agent)
        cases.append({"threads": threads, "ms": parts, "operators": share_operators(agent)})
    text = json.dumps({"simulators": options.simulators, "cases": cases, **provenance()}, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

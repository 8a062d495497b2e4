"""One thread against all cores, for whole learners: does the rule of gala_rl/threads.py pay?

    python -m benchmarks.threads [--rounds 15] [--out RESULT.json]

Each learner alternates between the threads that the rule gives it and a thread per core, in turns
of a fraction of a second within one process, so that both see the same machine; first on the
machine as it is, then beside one busy process per core. The forward passes from which the rule's
threshold was read are timed in the same way. HalfCheetah needs Gymnasium's `mujoco` extra.
"""

import os

# As in learners' processes; read when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import contextlib
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from gala_rl.agent import Agent, build_agent
from gala_rl.config.train import TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.gossip import MemoryNetwork
from gala_rl.methods.resolving import resolve
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.records.provenance import provenance
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.threads import FLOP_PER_THREAD, Threads, forward_flop

LEARNING_RATE = 1e-4
TURN_S = 0.5
LEARNERS: tuple[tuple[str, str, int | None], ...] = (
    ("a2c", "CartPole-v1", 16),
    ("a2c", "CartPole-v1", 32),
    ("ppo", "CartPole-v1", None),
    ("impala", "CartPole-v1", 16),
    ("a2c", "HalfCheetah-v5", 16),
    ("ppo", "HalfCheetah-v5", None),
    ("impala", "HalfCheetah-v5", 16),
    ("a2c", "PongNoFrameskip-v4", 16),
    ("ppo", "PongNoFrameskip-v4", None),
    ("impala", "PongNoFrameskip-v4", 16),
)
PASSES = ((17, 1), (17, 16), (17, 256), (17, 4096), ("image", 1), ("image", 4), ("image", 16))
"""Numbers in an observation, or an Atari image, and observations in a forward pass."""


def per_second(call: Callable[[], float], seconds: float) -> float:
    """Return the sum of what calls return, per second, over at least `seconds` and one call."""
    call()
    total, began = 0.0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds or not total:
        total += call()
    return total / elapsed


def paired(sides: tuple[Callable[[], float], Callable[[], float]], rounds: int) -> dict[str, Any]:
    """Medians of two rates, and of their ratio in each round with its quartiles."""
    pairs = []
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        rates = {which: sides[which]() for which in order}
        pairs.append((rates[0], rates[1]))
    low, middle, high = statistics.quantiles((b / a for a, b in pairs), n=4)
    return {
        "all_cores_per_s": round(statistics.median(a for a, _ in pairs), 1),
        "rule_per_s": round(statistics.median(b for _, b in pairs), 1),
        "ratio": round(middle, 3),
        "ratio_quartiles": [round(low, 3), round(high, 3)],
    }


def learner_case(method: str, env: str, simulators: int | None, rounds: int) -> dict[str, Any]:
    """Agent steps per second of one learner, with a thread per core and by the rule."""
    config = resolve(TrainConfig(method=method, env=env, learners=1, simulators=simulators))
    transport = MemoryNetwork(1).transport(0)
    agent = build_agent(config, 0, transport, torch.device("cpu"), seed=0)
    rule, cores = agent.threads, usable_cores()
    everything = Threads(cores, cores, rule.forward_flop)
    agent.step(LEARNING_RATE)

    def side(threads: Threads) -> float:
        agent.threads = threads
        return per_second(lambda: step(agent), TURN_S)

    measured = paired((lambda: side(everything), lambda: side(rule)), rounds)
    agent.source.close()
    labels = {"method": method, "env": env, "simulators": config.simulators}
    threads = {"acting_threads": rule.acting, "learning_threads": rule.learning}
    return labels | {"forward_mflop": rule.forward_flop / 1e6} | threads | measured


def step(agent: Agent) -> float:
    """Agent steps of one update."""
    before = agent.agent_steps
    agent.step(LEARNING_RATE)
    return agent.agent_steps - before


def pass_case(kind: int | str, batch: int, rounds: int) -> dict[str, Any]:
    """Forward passes per second on one thread ("rule") against a thread per core."""
    is_image = isinstance(kind, str)
    shape = (4, 84, 84) if isinstance(kind, str) else (kind,)
    spec = ObservationSpec(shape, is_image)
    model = ActorCritic(spec, ActionSpec(6, True))
    observations = torch.zeros(batch, *shape, dtype=torch.uint8 if is_image else torch.float32)

    @torch.no_grad()
    def forward() -> float:
        model.values(observations)
        return 1.0

    def side(threads: int) -> float:
        torch.set_num_threads(threads)
        return per_second(forward, TURN_S / 5)

    measured = paired((lambda: side(usable_cores()), lambda: side(1)), rounds)
    mflop = forward_flop(model, spec) * batch / 1e6
    one, all_cores = measured.pop("rule_per_s"), measured.pop("all_cores_per_s")
    return {
        "network": "Atari image" if is_image else f"{kind} numbers",
        "observations": batch,
        "mflop": round(mflop, 2),
        "one_thread_per_s": one,
        "all_cores_per_s": all_cores,
        "one_thread_over_all_cores": measured.pop("ratio"),
        **measured,
    }


def _spin() -> None:
    while True:
        pass


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Run this many processes that compute during the block."""
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=_spin, daemon=True) for _ in range(processes)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.join()


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    keep_freed_memory()
    learners = [
        case for case in LEARNERS if "HalfCheetah" not in case[1] or find_spec("mujoco") is not None
    ]
    cases: list[dict[str, Any]] = []
    passes: list[dict[str, Any]] = []
    for others in (0, usable_cores()):
        with busy(others):
            label = {"busy_processes": others}
            for kind, batch in PASSES:
                passes.append(label | pass_case(kind, batch, options.rounds))
                print(passes[-1], flush=True)
            for case in learners:
                cases.append(label | learner_case(*case, options.rounds))
                print(cases[-1], flush=True)
    setting = {"rounds": options.rounds, "turn_s": TURN_S, "flop_per_thread": FLOP_PER_THREAD}
    text = json.dumps({**setting, "passes": passes, "cases": cases, **provenance()}, indent=2)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""Throughput: what simulators and network could do on this machine, and what training does."""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from gala_rl.agent import Agent, build_agent, build_model
from gala_rl.config import TrainConfig
from gala_rl.envs import make_simulators
from gala_rl.experiment.preflight import check_config
from gala_rl.flat import flat_size
from gala_rl.gossip import MemoryNetwork
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder, provenance
from gala_rl.systems.allocator import keep_freed_memory
from gala_rl.systems.local import LocalSystem
from gala_rl.systems.status import Status

_WARM_UP_UPDATES = 10
_START_DEADLINE_S = 120.0


def bench_throughput(config: TrainConfig, seconds: float, repeats: int) -> dict[str, Any]:
    """Measure the parts alone, then together, in turn and several times.

    The ceiling is what one core after the other would make if a step cost its simulators' time
    plus its network's time and nothing else: 1 / (1 / simulators_only + 1 / network_only).

    Args:
        config: of the training that is measured; `steps` and `out` are ignored.
        seconds: of each measurement.
        repeats: rounds of all measurements.

    Returns:
        Medians over the rounds (ratios are medians of paired ratios), the rounds themselves, and
        what they were measured on. `gossip_share` is gossip's part of a learner's time.
    """
    config = check_config(replace(config, log_every=_WARM_UP_UPDATES))
    plain = check_config(replace(config, method="a2c", learners=1, simulator_threads=None))
    rounds = []
    for _ in range(repeats):
        simulators = _in_parallel(_simulators_only, config, seconds)
        network = _in_parallel(_network_only, config, seconds)
        measured = _training(config, seconds)
        ceiling = 1.0 / (1.0 / simulators + 1.0 / network)
        a2c = _training(plain, seconds)["achieved_sps"]
        rounds.append(
            {
                "simulators_only_sps": simulators,
                "network_only_sps": network,
                "ceiling_sps": ceiling,
                **measured,
                "achieved_over_ceiling": measured["achieved_sps"] / ceiling,
                "a2c_sps": a2c,
                "achieved_over_a2c": measured["achieved_sps"] / a2c,
            }
        )
    medians = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    return {
        **medians,
        "method": config.method,
        "env": config.env,
        "learners": config.learners,
        "simulators": config.simulators,
        "seconds": seconds,
        "rounds": rounds,
        **provenance(),
    }


_Part = Callable[[Agent, float], float]


def _in_parallel(part: _Part, config: TrainConfig, seconds: float) -> float:
    """Agent steps a second of one part, run by as many processes at once as there are learners."""
    context = multiprocessing.get_context("spawn")
    count = config.resolved_learners
    rates = context.Array("d", count, lock=False)
    barrier = context.Barrier(count)
    processes = [
        context.Process(
            target=_run_part, args=(part, config, rank, barrier, rates, seconds), daemon=True
        )
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(_START_DEADLINE_S + 2 * seconds)
    if any(process.exitcode != 0 for process in processes):
        raise RuntimeError(f"a benchmark process failed: {[p.exitcode for p in processes]}")
    return float(sum(rates))


def _run_part(
    part: _Part, config: TrainConfig, rank: int, barrier: Barrier, rates: Any, seconds: float
) -> None:
    torch.set_num_threads(config.threads_per_learner())
    keep_freed_memory()
    transport = MemoryNetwork(config.resolved_learners).transport(rank)
    agent = build_agent(config, rank, transport, torch.device("cpu"), seed=rank)
    barrier.wait(_START_DEADLINE_S)
    rates[rank] = part(agent, seconds)


def _simulators_only(agent: Agent, seconds: float) -> float:
    """Random actions, drawn beforehand, through the package's own environment layer."""
    simulators = agent.actor.simulators
    first = agent.actor.trajectory.actions
    batch = torch.randint(simulators.action.size, (256, *first.shape[1:])).to(first.dtype).numpy()
    return _rate(lambda k: simulators.step(batch[k % 256]), simulators.count, seconds)


def _network_only(agent: Agent, seconds: float) -> float:
    """The acting passes and the update of one rollout, on the same observations each time."""
    actor, learner = agent.actor, agent.learner
    actor.collect()
    steps, _ = actor.trajectory.rewards.shape
    model, activations = actor.model, actor.trajectory.activations

    def update(_: int) -> None:
        with torch.no_grad():
            for t in range(steps):
                record = None if activations is None else activations.at(t)
                model.sample(actor.trajectory.observations[t], actor.generator, record)
        learner.update(actor.trajectory, 0.0)

    return _rate(update, actor.trajectory.agent_steps, seconds)


def _rate(step: Callable[[int], object], agent_steps: int, seconds: float) -> float:
    for k in range(_WARM_UP_UPDATES):
        step(k)
    start, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        step(count)
        count += 1
    return count * agent_steps / elapsed


def _training(config: TrainConfig, seconds: float) -> dict[str, float]:
    """Real training with real processes, from the moment that all learners are warm."""
    simulators = make_simulators(config.env, 1, 1, config.atari)
    model = build_model(config, simulators.observation, simulators.action)
    simulators.close()
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary) / "run")
        folder.create(config)
        size = flat_size(model)
        endless = replace(config, steps=10**15)
        system = LocalSystem(endless, folder, torch.device("cpu"), size, None)
        samples: list[tuple[float, int]] = []

        def observe(status: Status) -> None:
            if min(status.updates) >= _WARM_UP_UPDATES:
                samples.append((time.perf_counter(), status.total_agent_steps))
            if samples and samples[-1][0] - samples[0][0] >= seconds:
                system.stop()

        system.run(observe)
        rows = [
            row
            for rank in range(config.resolved_learners)
            for row in MetricsReader(folder.metrics_file(rank)).new_rows()[1:]
        ]
    (start, before), (end, after) = samples[0], samples[-1]
    spent = {
        part: sum(row[f"{part}_s"] for row in rows) for part in ("rollout", "update", "gossip")
    }
    return {
        "achieved_sps": (after - before) / (end - start),
        "gossip_share": spent["gossip"] / sum(spent.values()),
        "rss_mb_per_learner": max(row["rss_mb"] for row in rows),
    }

"""Parts of training measured alone, by as many processes at once as there are learners."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gala_lab.bench import bare, plain
from gala_rl.agent import Agent, build_agent, simulator_groups
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import make_simulators, worker_timeouts
from gala_rl.errors import LearnerFailure
from gala_rl.gossip import MemoryNetwork
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.spaces import ActionSpec

_WARM_UP_CALLS = 10
_START_DEADLINE_S = 120.0
_ACTIONS = 256
"""Random actions are drawn beforehand, and used in turn."""


@dataclass(frozen=True)
class Work:
    """Something to do over and over.

    Attributes:
        call: does it once; is given the number of the call.
        agent_steps: that one call stands for.
    """

    call: Callable[[int], object]
    agent_steps: int


Part = Callable[[ResolvedConfig, int, torch.device], Work]
"""Makes the work of the learner of that rank, on that device."""


def rate(
    part: Part, config: ResolvedConfig, device: torch.device, seconds: float, threads: int
) -> float:
    """Agent steps a second of a part, of all processes together.

    Args:
        part: a function of a module, since it is sent to other processes.
        config: of the training it is a part of.
        device: where the network is.
        seconds: to measure for, once all processes are ready.
        threads: PyTorch's, a process.

    Raises:
        LearnerFailure: when a process died or was not done in time.
    """
    context = multiprocessing.get_context("spawn")
    count = config.learners
    rates = context.Array("d", count, lock=False)
    barrier = context.Barrier(count)
    processes = [
        context.Process(
            target=_measure,
            args=(part, config, rank, str(device), seconds, threads, barrier, rates),
            daemon=True,
        )
        for rank in range(count)
    ]
    give_up_at = time.monotonic() + 2 * _START_DEADLINE_S + 2 * seconds
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(max(0.0, give_up_at - time.monotonic()))
        codes = [process.exitcode for process in processes]
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()
    if any(code != 0 for code in codes):
        raise LearnerFailure(f"a process that measured {part.__name__} failed: exit codes {codes}")
    return float(sum(rates))


def _measure(
    part: Part,
    config: ResolvedConfig,
    rank: int,
    device: str,
    seconds: float,
    threads: int,
    barrier: Barrier,
    rates: Any,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Whoever has started it ends it.
    torch.set_num_threads(threads)
    try:
        work = part(config, rank, torch.device(device))
        for k in range(_WARM_UP_CALLS):
            work.call(k)
        barrier.wait(_START_DEADLINE_S)
    except BaseException:
        barrier.abort()  # Nobody need wait for this one.
        raise
    rates[rank] = _calls_per_second(work.call, torch.device(device), seconds) * work.agent_steps


def _calls_per_second(call: Callable[[int], object], device: torch.device, seconds: float) -> float:
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    start, count = now(), 0
    while (elapsed := now() - start) < seconds or not count:
        call(count)
        count += 1
    return count / elapsed


def simulators_only(config: ResolvedConfig, rank: int, device: torch.device) -> Work:
    """Random actions through the package's own environment layer, in its groups."""
    keep_freed_memory()
    threads = config.simulator_threads or config.threads_per_learner()
    groups = simulator_groups(config, device)
    simulators = make_simulators(
        config.env,
        config.simulators,
        threads,
        config.atari,
        groups=groups,
        processes=config.simulator_processes,
        timeouts=worker_timeouts(config),
    )
    simulators.reset(rank)
    actions = _random_actions(simulators.action, config.simulators)
    for group, rows in enumerate(simulators.groups):
        simulators.send(actions[-1, rows], group)

    def step(k: int) -> None:
        # Every group goes on as soon as it has answered, whatever the others do.
        for group, rows in enumerate(simulators.groups):
            simulators.recv(group)
            simulators.send(actions[k % _ACTIONS, rows], group)

    return Work(step, config.simulators)


def simulators_bare(config: ResolvedConfig, rank: int, device: torch.device) -> Work:
    """Random actions through ALE's vector environment alone."""
    simulators = bare.make_bare(config)
    bare.reset(simulators, rank)
    action = ActionSpec(int(simulators.single_action_space.n), True)  # type: ignore[attr-defined]
    actions = _random_actions(action, config.simulators)
    return Work(lambda k: simulators.step(actions[k % _ACTIONS]), config.simulators)


def _random_actions(action: ActionSpec, simulators: int) -> NDArray[Any]:
    generator = np.random.default_rng(0)
    if action.sizes:
        return generator.integers(action.sizes, size=(_ACTIONS, simulators, action.size))
    if action.is_discrete:
        return generator.integers(action.size, size=(_ACTIONS, simulators))
    return generator.standard_normal((_ACTIONS, simulators, action.size), dtype=np.float32)


def network_only(config: ResolvedConfig, rank: int, device: torch.device) -> Work:
    """Acting passes and update of one rollout, on the same observations each time."""
    keep_freed_memory()  # As learners do; plain PyTorch does not.
    agent = _agent(config, rank, device)
    agent.actor.collect()
    return Work(lambda k: _network_only(agent), agent.actor.trajectory.agent_steps)


def network_one_thread(config: ResolvedConfig, rank: int, device: torch.device) -> Work:
    """The same on one thread."""
    return network_only(replace(config, network_threads=1), rank, device)


def _network_only(agent: Agent) -> None:
    """What the network does in one step of an agent, by the package's own code."""
    actor, trajectory = agent.actor, agent.actor.trajectory
    torch.set_num_threads(agent.threads.acting)
    with torch.no_grad():
        for t in range(trajectory.rewards.shape[0]):
            for group in range(len(actor.simulators.groups)):
                actor.act(t, group).cpu()
    torch.set_num_threads(agent.threads.learning)
    agent.learner.update(trajectory, 0.0)


def network_plain(config: ResolvedConfig, rank: int, device: torch.device) -> Work:
    """The same by plain PyTorch modules."""
    agent = _agent(config, rank, device)
    trajectory = agent.actor.collect()
    simulators = agent.actor.simulators
    network = plain.PlainNetwork(simulators.observation.shape, simulators.action.size).to(device)
    ends = trajectory.terminated | trajectory.truncated
    algorithm = config.algorithm
    update = plain.PlainUpdate(
        network,
        algorithm,
        trajectory.observations.clone(),
        trajectory.rewards.clone(),
        algorithm.discount * (~ends).float(),
        learning_rate=0.0,
    )
    return Work(lambda k: update.step(), trajectory.agent_steps)


def _agent(config: ResolvedConfig, rank: int, device: torch.device) -> Agent:
    transport = MemoryNetwork(config.learners).transport(rank)
    return build_agent(config, rank, transport, device, seed=rank)

"""Rates of single parts of training, measured with one process per learner."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from gala_lab.bench import bare_simulators, plain_network
from gala_rl.agent import Agent, build_agent, simulator_groups
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.settings import ActorCriticSettings
from gala_rl.envs import make_simulators, worker_timeouts
from gala_rl.errors import LearnerFailure
from gala_rl.gossip import MemoryNetwork
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.spaces import ActionSpec

_WARM_UP_CALLS = 10
_START_TIMEOUT_S = 120.0
_ACTIONS = 256
"""Random actions are drawn beforehand, and used in turn."""


@dataclass(frozen=True)
class Work:
    """Work that a measurement repeats.

    Attributes:
        call: does it once, given the number of the call.
        agent_steps: per call.
    """

    call: Callable[[int], object]
    agent_steps: int


Part = Callable[[ResolvedConfig, int, torch.device], Work]
"""Returns the work of one learner, given its rank and device."""


def rate(
    part: Part, config: ResolvedConfig, device: torch.device, seconds: float, threads: int
) -> float:
    """Measure the agent steps per second of a part, of all processes together.

    Args:
        part: a function of a module, since it is sent to other processes.
        config: config of the training.
        device: where the network is.
        seconds: to measure for, once all processes are ready.
        threads: PyTorch threads per process.

    Raises:
        LearnerFailure: when a process died or did not finish in time.
    """
    context, count = multiprocessing.get_context("spawn"), config.learners
    rates, barrier = context.Array("d", count, lock=False), context.Barrier(count)
    arguments = (part, config, str(device), seconds, threads, barrier, rates)
    give_up_at = time.monotonic() + 2 * _START_TIMEOUT_S + 2 * seconds
    workers = spawn(_measure, arguments, count, join=False, daemon=True)  # type: ignore[no-untyped-call]
    assert workers is not None
    what = f"a process that measured {part.__name__} failed"
    try:
        while not workers.join(1.0):
            if time.monotonic() > give_up_at:
                raise LearnerFailure(f"{what}: it did not finish in time")
    except (ProcessExitedException, ProcessRaisedException) as error:
        raise LearnerFailure(f"{what}: {str(error).strip().splitlines()[-1]}") from error
    finally:
        for process in workers.processes:
            process.kill()
            process.join()
    return float(sum(rates))


def _measure(
    rank: int,
    part: Part,
    config: ResolvedConfig,
    device: str,
    seconds: float,
    threads: int,
    barrier: Barrier,
    rates: Any,
) -> None:
    """Measure one process's share of the rate; PyTorch ends it with the process that started it."""
    torch.set_num_threads(threads)
    try:
        work = part(config, rank, torch.device(device))
        for k in range(_WARM_UP_CALLS):
            work.call(k)
        barrier.wait(_START_TIMEOUT_S)
    except BaseException:
        barrier.abort()  # The other processes must not wait for this one.
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
    simulators = make_simulators(
        config.source,
        config.simulators,
        config.simulator_threads or config.threads_per_learner(),
        groups=simulator_groups(config, device),
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
    simulators = bare_simulators.make_bare(config, rank)
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
    return Work(lambda k: _network_step(agent), agent.actor.trajectory.agent_steps)


def network_one_thread(config: ResolvedConfig, rank: int, device: torch.device) -> Work:
    """The same on one thread."""
    return network_only(replace(config, network_threads=1), rank, device)


def _network_step(agent: Agent) -> None:
    """Do what the network does in one step of an agent, by the package's own code."""
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
    agent, algorithm = _agent(config, rank, device), config.algorithm
    assert isinstance(algorithm, ActorCriticSettings)
    trajectory = agent.actor.collect()
    simulators = agent.actor.simulators
    shape, actions = simulators.observation.shape, simulators.action.size
    ends = trajectory.terminated | trajectory.truncated
    update = plain_network.PlainUpdate(
        plain_network.PlainNetwork(shape, actions).to(device),
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

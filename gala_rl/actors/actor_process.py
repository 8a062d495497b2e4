"""Main function of an actor's process: collects rollouts with the newest parameters."""

from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection

import torch
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.actors.exploration import epsilons_of
from gala_rl.actors.rollout_slots import MakeModel, RolloutSlots
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import make_simulators, seed_generators, worker_timeouts
from gala_rl.envs.registration import RegistryEntries
from gala_rl.errors import SimulatorFailure
from gala_rl.flat import FlatParameters
from gala_rl.gossip import SharedMailboxes
from gala_rl.processes.heartbeat import set_heartbeat
from gala_rl.processes.spawn import end_with_parent
from gala_rl.processes.torch_defaults import set_torch_defaults
from gala_rl.threads import actor_threads, forward_flop

READY = 255
"""First message of an actor, instead of a slot number: its simulators have been built."""

MAX_MESSAGE_BYTES = 2048
"""Longest message of an actor: its last one, the error of the simulator that failed."""


@dataclass(frozen=True)
class ActorSpec:
    """Arguments of an actor's process.

    Attributes:
        config: configuration of the run.
        rank: rank of its learner.
        make_model: makes the network; a module-level function, since it is pickled.
        index: index among the learner's actors.
        simulators: b, number of its simulators.
        seed: seed of its actions and simulators.
        slots: memory for its rollouts.
        parameters: a single mailbox, with the parameters of the learner.
        connection: connection to the learner; carries slot numbers, a byte each, and a last error.
        heartbeat: [1] int64, shared; see `processes.heartbeat`.
        progress: [1] int64, shared: agent steps of all learners.
        registry: environments that only the main program has registered.
    """

    config: ResolvedConfig
    rank: int
    make_model: MakeModel
    index: int
    simulators: int
    seed: int
    slots: RolloutSlots
    parameters: SharedMailboxes
    connection: Connection
    heartbeat: Tensor
    progress: Tensor
    registry: RegistryEntries = field(default_factory=RegistryEntries)


def run_actor(spec: ActorSpec) -> None:
    """Collect rollouts until the learner closes the connection or dies."""
    end_with_parent(leads_group=True)
    set_torch_defaults(threads=1)
    seed_generators(spec.seed)
    set_heartbeat(spec.heartbeat.numpy())
    spec.registry.register()
    try:
        with closing(_make_actor(spec)) as actor:
            _act(spec, actor)
    except SimulatorFailure as error:
        # The learner quotes this text in its own error; sending fails if the learner is dead.
        with suppress(OSError):
            spec.connection.send_bytes(str(error).encode()[:MAX_MESSAGE_BYTES])
        raise


def _act(spec: ActorSpec, actor: Actor) -> None:
    flat = FlatParameters(actor.network)
    version = failures = 0
    message_byte = READY
    while (slot := _exchange(spec.connection, message_byte)) is not None:
        # `latest` never returns torn parameters. It returns None if the learner published again
        # during every copy; then the actor continues with its older parameters.
        if (message := spec.parameters.latest(0)) is not None:
            flat.load(message.parameters)
            version = message.version
        actor.total_agent_steps = int(spec.progress[0])
        rollout = actor.collect()
        first = spec.index * spec.simulators
        episodes = [replace(e, simulator=first + e.simulator) for e in actor.episodes]
        actor.episodes.clear()
        spec.slots.write(slot, rollout, version, episodes, actor.failures - failures)
        failures, message_byte = actor.failures, slot


def _make_actor(spec: ActorSpec) -> Actor:
    config = spec.config
    algorithm = config.algorithm
    threads = config.simulator_threads or config.threads_per_learner()
    processes, actors = config.simulator_processes, config.simulators // spec.simulators
    simulators = make_simulators(
        config.source,
        spec.simulators,
        max(1, threads * spec.simulators // config.simulators),
        groups=config.simulator_groups or 1,
        processes=None if processes is None else processes // actors,
        timeouts=worker_timeouts(config),
    )
    model = spec.make_model(simulators.observation, simulators.action)
    first = spec.index * spec.simulators
    actor = Actor(
        simulators,
        model,
        algorithm.rollout_steps,
        spec.seed,
        with_behaviour=True,
        for_replay=algorithm.learns_action_values,
        stagger=config.stagger,
        epsilons=epsilons_of(config, spec.rank, range(first, first + spec.simulators)),
    )
    flop = forward_flop(model, simulators.observation)
    torch.set_num_threads(actor_threads(config, flop, spec.simulators))
    return actor


def _exchange(connection: Connection, message: int) -> int | None:
    """Send a filled slot and wait for the next; None if the learner closed the connection."""
    try:
        connection.send_bytes(bytes([message]))
        return connection.recv_bytes(1)[0]
    except (BrokenPipeError, ConnectionResetError, EOFError):
        return None

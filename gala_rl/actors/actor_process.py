"""What runs inside one actor's process: rollouts by the newest parameters, handed over."""

import os
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection

import torch
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.actors.rollout_slots import RolloutSlots
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import make_simulators, seed_generators, worker_timeouts
from gala_rl.envs.registration import RegistryEntries
from gala_rl.errors import SimulatorFailure
from gala_rl.flat import FlatParameters
from gala_rl.gossip import SharedMailboxes
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.processes.heartbeat import beat_in
from gala_rl.processes.spawn import die_with
from gala_rl.processes.torch_defaults import set_torch_defaults
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.threads import actor_threads, forward_flop

READY = 255
"""In place of a slot: the actor's first word, when its simulators are there."""

MOST_WORDS = 2048
"""Bytes of an actor's last words, which say which of its simulators kept failing."""

_LOOK_EVERY_S = 1.0

MakeModel = Callable[[ObservationSpec, ActionSpec], ActorCritic]


@dataclass(frozen=True)
class ActorSpec:
    """Everything an actor's process is started with.

    Attributes:
        config: of the run, resolved.
        make_model: a function of a module, since it is sent to the process.
        index: of the actor, among its learner's.
        simulators: b, of this actor.
        seed: of its actions and simulators.
        slots: where its rollouts go.
        parameters: the learner's, as its one mailbox.
        connection: to the learner; slots travel over it, a byte each, and last words.
        learner: process id; the actor does not outlive it.
        heartbeats: of all actors, where this one shows its signs of life.
        registered: environments that only the program knows.
    """

    config: ResolvedConfig
    make_model: MakeModel
    index: int
    simulators: int
    seed: int
    slots: RolloutSlots
    parameters: SharedMailboxes
    connection: Connection
    learner: int
    heartbeats: Tensor
    registered: RegistryEntries = field(default_factory=RegistryEntries)


def run_actor(post: ActorSpec) -> None:
    """Be an actor until the learner is gone."""
    die_with(post.learner)
    # Games that simulators start are in this group, and end with it.
    os.setpgid(0, 0)
    torch.set_num_threads(1)
    set_torch_defaults()
    keep_freed_memory()
    seed_generators(post.seed)
    beat_in(post.heartbeats.numpy()[post.index :][:1])
    post.registered.register()
    try:
        with closing(_make_actor(post)) as actor:
            _act(post, actor)
    except SimulatorFailure as error:
        # The learner ends its own last line with these words. A dead one reads none.
        with suppress(OSError):
            post.connection.send_bytes(str(error).encode()[:MOST_WORDS])
        raise


def _act(post: ActorSpec, actor: Actor) -> None:
    flat = FlatParameters(actor.network)
    version = failures = 0
    word = READY
    while (slot := _exchange(post, word)) is not None:
        # A copy of whole parameters: gossip's mailboxes never lend a torn message. Where the
        # learner was faster at every try, what was there before serves as well.
        if (message := post.parameters.latest(0)) is not None:
            flat.load(message.parameters)
            version = message.version
        rollout = actor.collect()
        first = post.index * post.simulators
        episodes = [replace(e, simulator=first + e.simulator) for e in actor.episodes]
        actor.episodes.clear()
        post.slots.write(slot, rollout, version, episodes, actor.failures - failures)
        failures, word = actor.failures, slot


def _make_actor(post: ActorSpec) -> Actor:
    config = post.config
    algorithm = config.algorithm
    threads = config.simulator_threads or config.threads_per_learner()
    processes, actors = config.simulator_processes, config.simulators // post.simulators
    simulators = make_simulators(
        config.env,
        post.simulators,
        max(1, threads * post.simulators // config.simulators),
        config.atari,
        groups=config.simulator_groups or 1,
        processes=None if processes is None else processes // actors,
        timeouts=worker_timeouts(config),
    )
    model = post.make_model(simulators.observation, simulators.action)
    actor = Actor(simulators, model, algorithm.rollout_steps, post.seed, with_behaviour=True)
    flop = forward_flop(model, simulators.observation)
    torch.set_num_threads(actor_threads(config, flop, post.simulators))
    return actor


def _exchange(post: ActorSpec, word: int) -> int | None:
    """Hand a word over and wait for a slot; None when the learner is gone or gave this actor up."""
    try:
        post.connection.send_bytes(bytes([word]))
        while not post.connection.poll(_LOOK_EVERY_S):
            if os.getppid() != post.learner:
                return None
        return post.connection.recv_bytes(1)[0]
    except (BrokenPipeError, ConnectionResetError, EOFError):
        return None

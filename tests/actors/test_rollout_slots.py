"""The books of the queue: a rollout crosses whole, once, and no slot is ever lost.

The actors are scripted here: they do what an actor's process does, between any two steps of which
it can be killed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gala_rl.actors import actors
from gala_rl.actors.actor_process import READY, ActorSpec
from gala_rl.actors.rollout_slots import FIELDS, RolloutInfo, RolloutSlots
from gala_rl.agent import build_model
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.envs import Episode, make_simulators
from gala_rl.errors import ActorFailure
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.resolving import resolve
from gala_rl.processes import supervised
from gala_rl.trajectory import Trajectory
from gala_rl.trajectory_source import StopRequested

STEPS, SHARE = 3, 2
CROSSING = FIELDS[:-2]
"""Without what only a recurrent network has."""


def make_config(**given: Any) -> ResolvedConfig:
    algorithm = ImpalaSettings(rollout_steps=STEPS, actors=2, actor_slots=2, **given)
    config = TrainConfig(
        method="impala", env="tests.environments:Counting-v0", simulators=2 * SHARE, max_restarts=50
    )
    return resolve(replace(config, algorithm=algorithm))


@dataclass(eq=False)
class ScriptedProcess:
    """Stands where an actor's process would; has what it was started with."""

    spec: ActorSpec
    exitcode: int | None = None
    pid: int = 2**30
    """No process has it."""

    def kill(self) -> None:
        self.exitcode = -9 if self.exitcode is None else self.exitcode
        self.spec.connection.close()

    def join(self, timeout: float) -> None:
        self.exitcode = 1 if self.exitcode is None else self.exitcode


class ScriptedActor:
    """An actor, step by step; every rollout is filled with one number of its own."""

    def __init__(self, spec: ActorSpec) -> None:
        # The learner closes its copy of the actor's end when the process has started.
        self.connection = Connection(os.dup(spec.connection.fileno()))
        self.spec = replace(spec, connection=self.connection)
        self.process = ScriptedProcess(self.spec)
        self.in_work: int | None = None
        self.stamp = 0

    @property
    def alive(self) -> bool:
        return self.process.exitcode is None

    def begin(self) -> bool:
        """Take a slot and write half a rollout into it."""
        if self.in_work is None and self.alive and self.connection.poll():
            self.in_work = self.connection.recv_bytes(1)[0]
            self._observations[: STEPS // 2] = -1
            return True
        return False

    def finish(self, stamp: int, version: int) -> None:
        assert self.in_work is not None
        episodes = [Episode(stamp % 4, float(stamp), 5)] * (stamp % (STEPS * SHARE + 1))
        self.spec.slots.write(self.in_work, stamped(stamp), version, episodes, stamp % 2)
        self.connection.send_bytes(bytes([self.in_work]))
        self.in_work = None

    @property
    def _observations(self) -> torch.Tensor:
        return self.spec.slots._fields["observations"][self.in_work]


def stamped(stamp: int) -> Trajectory:
    """A rollout that consists of one number."""
    observation = torch.zeros(SHARE, 3)
    rollout = Trajectory.allocate(
        STEPS,
        observation,
        torch.zeros(SHARE, dtype=torch.int64),
        torch.zeros(SHARE, 0),
        torch.device("cpu"),
        with_behaviour=True,
    )
    for name in CROSSING:
        getattr(rollout, name).fill_(stamp)
    return rollout


@contextmanager
def scripted(config: ResolvedConfig) -> Iterator[tuple[actors.ActorProcesses, list[ScriptedActor]]]:
    """Queued actors whose processes are scripted, at once ready; the newest come last."""
    made: list[ScriptedActor] = []

    def start(work: Any, spec: ActorSpec, name: str, imports: str | None) -> ScriptedProcess:
        made.append(ScriptedActor(spec))
        made[-1].connection.send_bytes(bytes([READY]))
        return made[-1].process

    simulators = make_simulators(config.env, 1, 1, config.atari)

    def make_model(*specs: Any) -> Any:
        return build_model(config, *specs)

    with mock.patch.object(supervised, "start_process", start):
        parameters = torch.zeros(8)
        queue = actors.ActorProcesses(config, 0, make_model, parameters, simulators, seed=0)
        try:
            yield queue, made
        finally:
            queue.close()


@settings(max_examples=60, stateful_step_count=40, deadline=None)
class Books(RuleBasedStateMachine):
    """Actors that begin, finish and die in any order, and a learner that collects."""

    @initialize()
    def start(self) -> None:
        self.context = scripted(make_config(batch_rollouts=1))
        self.queue, self.made = self.context.__enter__()
        self.stamp = 0
        self.version_of: dict[int, int] = {}
        self.announced: list[int] = []
        self.learned: list[int] = []
        self.episodes = self.failures = 0

    def teardown(self) -> None:
        self.context.__exit__(None, None, None)

    def present(self, index: int) -> ScriptedActor:
        return [actor for actor in self.made if actor.spec.index == index][-1]

    @rule(index=st.integers(0, 1))
    def begin(self, index: int) -> None:
        self.present(index).begin()

    @rule(index=st.integers(0, 1))
    def finish(self, index: int) -> None:
        actor = self.present(index)
        if actor.alive and actor.in_work is not None:
            self.stamp += 1
            self.version_of[self.stamp] = self.queue._version
            actor.finish(self.stamp, self.queue._version)
            self.announced.append(self.stamp)

    @rule(index=st.integers(0, 1))
    def die(self, index: int) -> None:
        if self.present(index).alive:
            self.present(index).process.kill()

    @rule()
    def first_collect_publishes(self) -> None:
        if self.queue._version == 0:
            self.queue._publish()

    @precondition(lambda self: len(self.announced) > len(self.learned) and self.queue._version)
    @rule()
    def collect(self) -> None:
        trajectory = self.queue.collect()
        stamp = int(trajectory.rewards[0, 0])
        for name in CROSSING:
            field = getattr(trajectory, name)
            assert torch.equal(field, torch.full_like(field, stamp)), "torn"
        assert stamp in self.announced
        assert stamp not in self.learned, "repeated"
        self.learned.append(stamp)
        assert self.queue._lags[-1] == self.queue._version - self.version_of[stamp]
        games = stamp % (STEPS * SHARE + 1)
        told = [self.queue.episodes.popleft() for _ in range(games)]
        assert told == [Episode(stamp % 4, float(stamp), 5)] * games
        assert not self.queue.episodes
        self.failures += stamp % 2
        assert self.queue.failures == self.failures

    @invariant()
    def no_slot_is_lost_or_in_two_hands(self) -> None:
        if self.queue._version == 0:
            return
        for actor in self.queue._actors:
            waiting = [slot for other, slot in self.queue._queue if other is actor]
            assert len(waiting) == len(set(waiting))
            assert not actor.requested & set(waiting)
            if actor.is_ready:
                assert actor.requested | set(waiting) == {0, 1}


TestBooks = Books.TestCase


def run(actor: ScriptedActor, stamp: int, version: int) -> None:
    assert actor.begin()
    actor.finish(stamp, version)


def test_batches_are_joined_in_the_order_of_arrival_and_lag_is_told() -> None:
    with scripted(make_config(batch_rollouts=3)) as (queue, made):
        queue._publish()
        for actor, stamp in ((made[1], 1), (made[0], 2), (made[1], 3)):
            run(actor, stamp, version=1)
            queue.poll()
        queue._version = 4  # Three updates later.
        trajectory = queue.collect()
        assert trajectory.rewards.shape == (STEPS, 3 * SHARE)
        assert trajectory.rewards[0].tolist() == [1, 1, 2, 2, 3, 3]
        metrics = queue.take_metrics()
        assert metrics["policy_lag_updates"] == metrics["policy_lag_updates_max"] == 4
        assert queue.take_metrics()["policy_lag_updates_max"] == 0


def test_actors_wait_when_the_queue_is_full() -> None:
    with scripted(make_config()) as (queue, made):
        queue._publish()
        run(made[0], 1, 1)
        run(made[0], 2, 1)
        queue.poll()
        assert not made[0].begin(), "it has no slot left"
        run(made[1], 3, 1)
        queue.collect()
        assert made[0].begin()


def test_a_half_written_slot_goes_to_the_successor_and_whole_ones_are_learned() -> None:
    with scripted(make_config()) as (queue, made):
        queue._publish()
        run(made[0], 1, 1)
        assert made[0].begin()
        made[0].process.kill()
        queue.poll()
        queue.poll()
        successor = made[2]
        assert successor.spec.index == 0
        assert successor.spec.seed not in {actor.spec.seed for actor in made[:2]}
        run(successor, 4, 1)
        assert not successor.begin(), "its other slot still waits in the queue"
        rewards = queue.collect().rewards
        assert rewards[0].tolist() == [1, 1, 4, 4]
        assert queue.take_metrics()["actor_restarts"] == 1


def test_a_silent_actor_is_replaced_and_one_without_a_slot_is_not() -> None:
    with scripted(make_config()) as (queue, made):
        queue._publish()
        run(made[0], 1, 1)
        run(made[0], 2, 1)
        queue.poll()
        # As if the patience were over: actor 0 has nothing to do, actor 1 does nothing.
        for actor in queue._actors:
            actor.process.timeout_s = -1.0
        queue.poll()
        assert [actor.spec.index for actor in made] == [0, 1, 1]
        assert made[0].alive
        assert not made[1].alive


def test_signs_of_life_keep_an_actor_and_a_pause_of_the_learner_is_no_silence() -> None:
    with scripted(make_config()) as (queue, made):
        queue._publish()
        process = queue._actors[0].process
        for beat in range(1, 4):
            queue._heartbeats[:] = beat
            process.silence.silent_s = process.timeout_s
            queue.poll()
        process.silence._checked_at -= 10**6
        queue.poll()
        assert len(made) == 2, "nobody was replaced"
        process.silence.silent_s = process.timeout_s
        queue.poll(0.01)
        assert [actor.spec.index for actor in made] == [0, 1, 0]


def test_a_learner_that_waits_for_actors_lives_and_heeds_a_stop() -> None:
    with scripted(make_config()) as (queue, _made):
        queue.should_stop = lambda: True
        with pytest.raises(StopRequested):
            queue.collect()


def test_an_actor_that_keeps_dying_ends_the_learner_with_its_name() -> None:
    with scripted(replace(make_config(), max_restarts=2)) as (queue, made):
        queue._publish()
        for _ in range(2):
            made[-1].process.kill()
            queue.poll()
            queue.poll()
        made[-1].process.kill()
        with pytest.raises(ActorFailure, match=r"actor 1 of learner 0 died 3 times"):
            queue.poll()


def test_the_last_words_of_an_actor_end_the_line_of_its_learner() -> None:
    with scripted(replace(make_config(), max_restarts=0)) as (queue, made):
        queue._publish()
        made[-1].connection.send_bytes(b"simulator 3 of E-v0 failed")
        with pytest.raises(ActorFailure, match=r"died 1 time .*; simulator 3 of E-v0 failed$"):
            queue.poll()


def test_the_state_of_a_recurrent_network_crosses_by_simulator() -> None:
    memory = torch.zeros(SHARE, 5)
    observation, actions = torch.zeros(SHARE, 3), torch.zeros(SHARE, dtype=torch.int64)
    cpu = torch.device("cpu")
    rollout = Trajectory.allocate(STEPS, observation, actions, memory, cpu, with_behaviour=True)
    rollout.initial_state.copy_(torch.arange(SHARE * 5).view(SHARE, 5))
    rollout.is_first[2, 1] = True
    slots = RolloutSlots(1, rollout)
    slots.write(0, rollout, 1, [], 0)
    two = memory.repeat(2, 1)
    observation, actions = observation.repeat(2, 1), actions.repeat(2)
    into = Trajectory.allocate(STEPS, observation, actions, two, cpu, with_behaviour=True)
    slots.read(0, into, slice(SHARE, 2 * SHARE))
    assert into.initial_state.tolist() == [[0] * 5, [0] * 5, [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert into.is_first.nonzero().tolist() == [[2, 3]]


def test_slots_keep_rollouts_apart() -> None:
    slots = RolloutSlots(2, stamped(0))
    slots.write(0, stamped(5), 7, [], 0)
    slots.write(1, stamped(6), 8, [Episode(3, -2.5, 40, ended_at=1795697001.231)], 1)
    into = stamped(0)
    slots.read(0, into, slice(0, SHARE))
    assert (into.rewards == 5).all()
    assert [slots.info(1, item) for item in RolloutInfo] == [8, 1, 1]
    assert slots.episodes(1) == [Episode(3, -2.5, 40)]
    assert slots.episodes(1)[0].ended_at == 1795697001.231
    assert slots.episodes(0) == []

"""The books of the queue: a rollout crosses whole, once, and no slot is ever lost.

The actors are scripted here: they do what an actor's process does, between any two steps of which
it can be killed.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gala_rl.envs import Episode
from gala_rl.errors import ActorFailure
from gala_rl.trajectory_source import StopRequested
from tests.actors.scripted import CROSSING, SHARE, STEPS, ScriptedActor, make_config, run, scripted


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

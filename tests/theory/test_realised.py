"""The realised bound holds for any events, is tight, and detects a wrong mixing weight."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gala_rl.theory.realised import HISTORY, Bounds, Realised, UntrackedError

Vector = NDArray[np.float64]
DIMENSIONS = 3


class World:
    """Real vectors beside the coefficients that claim to describe them.

    Args:
        learners: n.
        realised: what is tested.
        weight: of each message in a mix of k, right is 1 / (1 + k).
    """

    def __init__(
        self,
        learners: int,
        realised: Realised,
        weight: Callable[[int], float] = lambda k: 1.0 / (1 + k),
    ) -> None:
        self.realised = realised
        self.now = [np.zeros(DIMENSIONS) for _ in range(learners)]
        self.sent: list[dict[int, Vector]] = [{} for _ in range(learners)]
        self.norms: list[float] = []
        self._weight = weight

    def update(self, learner: int, step: Vector) -> None:
        version = max(self.sent[learner], default=0) + 1
        self.now[learner] = self.now[learner] + step
        self.sent[learner][version] = self.now[learner]
        self.norms.append(float(np.linalg.norm(step)))
        self.realised.update(learner, version, self.norms[-1])

    def mix(self, learner: int, messages: list[tuple[int, int]]) -> None:
        weight = self._weight(len(messages))
        heard = sum((weight * self.sent[j][version] for j, version in messages), np.zeros(1))
        self.now[learner] = (1.0 - len(messages) * weight) * self.now[learner] + heard
        self.realised.mix(learner, messages)

    def adopt(self, learner: int, message: tuple[int, int]) -> None:
        self.now[learner] = self.sent[message[0]][message[1]]
        self.realised.adopt(learner, message)

    def newest(self) -> list[int]:
        return [max(sent) for sent in self.sent]

    def bounds(self) -> Bounds:
        return self.realised.bounds(self.newest())

    def from_mean(self) -> list[float]:
        """Distance of each learner from the mean of what was sent last."""
        last = np.array([self.sent[i][version] for i, version in enumerate(self.newest())])
        return [float(np.linalg.norm(vector)) for vector in last - last.mean(axis=0)]

    def distances(self) -> tuple[float, float]:
        """Span and rms of what was sent last."""
        last = np.array([self.sent[i][version] for i, version in enumerate(self.newest())])
        pairs = itertools.combinations(last, 2)
        span = max((float(np.linalg.norm(a - b)) for a, b in pairs), default=0.0)
        rms = float(np.sqrt(np.mean(np.sum((last - last.mean(axis=0)) ** 2, axis=1))))
        return span, rms


def play(world: World, data: st.DataObject, events: int, seed: int) -> None:
    """Updates, late mixes with any old messages, deaths and returns, in any order."""
    learners = len(world.now)
    generator = np.random.default_rng(seed)
    for learner in range(learners):
        world.update(learner, generator.standard_normal(DIMENSIONS))
    for _ in range(events):
        learner = data.draw(st.integers(0, learners - 1))
        event = data.draw(st.sampled_from(["update", "update", "mix", "mix", "adopt"]))
        if event == "update":
            size = data.draw(st.sampled_from([0.0, 0.1, 1.0, 100.0]))
            world.update(learner, size * generator.standard_normal(DIMENSIONS))
            continue
        senders = data.draw(
            st.lists(st.integers(0, learners - 1), min_size=1, max_size=3, unique=True)
        )
        newest = world.newest()
        messages = [
            (j, max(1, newest[j] - data.draw(st.integers(0, HISTORY - 1)))) for j in senders
        ]
        if event == "mix":
            world.mix(learner, messages)
        else:
            world.adopt(learner, messages[0])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), learners=st.integers(2, 5), seed=st.integers(0, 2**32))
def test_no_schedule_of_mixes_delays_losses_and_deaths_exceeds_the_bound(
    data: st.DataObject, learners: int, seed: int
) -> None:
    world = World(learners, Realised(learners))
    play(world, data, events=40, seed=seed)
    span, rms = world.distances()
    bounds = world.bounds()
    assert span <= bounds.span * (1 + 1e-9) + 1e-9
    assert rms <= bounds.rms * (1 + 1e-9) + 1e-9
    for distance, bound in zip(world.from_mean(), bounds.distances, strict=True):
        assert distance <= bound * (1 + 1e-9) + 1e-9
    assert bounds.rms <= bounds.span


@settings(max_examples=20, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_nor_when_old_updates_are_forgotten_and_summed_up(data: st.DataObject, seed: int) -> None:
    """A hundred rounds in room for as few updates as there can be."""
    world = World(2, Realised(2, capacity=1))
    play(world, data, events=30, seed=seed)
    generator = np.random.default_rng(seed)
    for _ in range(100):
        for learner in (0, 1):
            world.update(learner, generator.standard_normal(DIMENSIONS))
            if data.draw(st.booleans()):
                world.mix(learner, [(1 - learner, world.newest()[1 - learner])])
    span, rms = world.distances()
    bounds = world.bounds()
    assert span <= bounds.span * (1 + 1e-9)
    assert rms <= bounds.rms * (1 + 1e-9)
    for distance, bound in zip(world.from_mean(), bounds.distances, strict=True):
        assert distance <= bound * (1 + 1e-9)


def rounds_on_the_ring(world: World, rounds: int, step: Callable[[int, int], Vector]) -> None:
    """All learners of a directed ring update, then all mix with their neighbour's message."""
    learners = len(world.now)
    for k in range(rounds):
        for learner in range(learners):
            world.update(learner, step(learner, k))
        newest = world.newest()
        for learner in range(learners):
            sender = (learner - 1) % learners
            world.mix(learner, [(sender, newest[sender])])


def opposed(learner: int, k: int) -> Vector:
    return np.array([1.0 if learner % 2 == 0 else -1.0, 0.0, 0.0])


def test_it_is_reached_by_two_learners_that_pull_apart() -> None:
    world = World(2, Realised(2))
    for k in range(20):
        world.update(0, opposed(0, k))
        world.update(1, opposed(1, k))
        if k % 3 == 2:
            world.mix(0, [(1, world.newest()[1])])
    world.update(0, opposed(0, 20))
    world.update(1, opposed(1, 20))
    span, rms = world.distances()
    assert world.bounds().span == pytest.approx(span)
    assert world.bounds().rms == pytest.approx(rms)


def test_two_learners_that_mix_every_round_differ_by_their_last_updates_only() -> None:
    world = World(2, Realised(2))
    rounds_on_the_ring(world, 30, opposed)
    world.update(0, opposed(0, 0))
    world.update(1, opposed(1, 0))
    assert world.bounds().span == pytest.approx(2.0)
    assert world.distances()[0] == pytest.approx(2.0)


def test_a_wrong_mixing_weight_exceeds_it() -> None:
    world = World(2, Realised(2), weight=lambda k: 0.3)
    rounds_on_the_ring(world, 30, opposed)
    world.update(0, opposed(0, 0))
    world.update(1, opposed(1, 0))
    assert world.distances()[0] > 1.2 * world.bounds().span


@pytest.mark.parametrize("learners", [3, 4, 8])
def test_distances_of_independent_updates_are_as_predicted(learners: int) -> None:
    """Mean over many seeds, on a ring whose learners mix three times out of four."""
    squares, foretold = [], 0.0
    for seed in range(150):
        generator = np.random.default_rng(seed)
        world, schedule = World(learners, Realised(learners)), np.random.default_rng(0)
        for _ in range(40):
            for i in range(learners):
                step = generator.standard_normal(DIMENSIONS)
                world.update(i, step / np.linalg.norm(step))
            newest = world.newest()
            for i in range(learners):
                if schedule.random() < 0.75:
                    sender = (i - 1) % learners
                    world.mix(i, [(sender, newest[sender])])
        squares.append(world.distances()[1] ** 2)
        foretold = world.bounds().rms_independent
    assert np.sqrt(np.mean(squares)) == pytest.approx(foretold, rel=0.06)


def test_what_has_been_averaged_is_forgotten() -> None:
    world = World(4, Realised(4))
    rounds_on_the_ring(world, 2000, opposed)
    assert world.realised.state()["norms"].size <= 2048
    assert world.bounds().span < 20


def test_summing_up_loosens_the_bound_but_little() -> None:
    generator = np.random.default_rng(3)
    steps = generator.standard_normal((8, 1000, DIMENSIONS))
    exact, summed = Realised(8), Realised(8, capacity=1)
    for realised in (exact, summed):
        rounds_on_the_ring(World(8, realised), 1000, lambda i, k: steps[i, k])
    versions = [1000] * 8
    assert exact.bounds(versions).span <= summed.bounds(versions).span
    assert summed.bounds(versions).span < 3 * exact.bounds(versions).span


def test_learners_may_begin_apart() -> None:
    realised = Realised(2)
    realised.set_distance(0, 3.0)
    realised.set_distance(1, 4.0)
    realised.set_sent_distance(1, 7, 5.0)
    realised.update(0, 8, 1.0)
    realised.update(1, 8, 0.0)
    assert realised.bounds([8, 8]).span == pytest.approx(3.0 + 1.0 + 4.0)
    realised.mix(0, [(1, 7)])
    realised.update(0, 9, 0.0)
    assert realised.bounds([9, 8]).span == pytest.approx((3.0 + 1.0) / 2 + 5.0 / 2 + 4.0)


def test_a_returning_learner_begins_with_a_message_or_the_initial_parameters() -> None:
    realised = Realised(2)
    realised.update(0, 1, 2.0)
    realised.update(1, 1, 3.0)
    realised.adopt(1, (0, 1))
    realised.update(1, 2, 0.0)
    assert realised.bounds([1, 2]).span == 0.0
    realised.adopt(1, None)
    realised.update(1, 3, 0.0)
    assert realised.bounds([1, 3]).span == pytest.approx(2.0)


def test_a_message_that_is_too_old_is_refused_by_its_edge() -> None:
    realised = Realised(learners := 40)
    for version in range(1, HISTORY + 2):
        realised.update(2, version, 1.0)
    with pytest.raises(UntrackedError, match=r"edge 2 → 0: version 1 is not among the last 8"):
        realised.mix(0, [(2, 1)])
    with pytest.raises(UntrackedError, match="version 1"):
        realised.bounds([1] * learners)
    realised.set_distance(0, 1.0)
    with pytest.raises(UntrackedError, match="where learner 1 began"):
        realised.adopt(1, None)


@given(data=st.data())
def test_kept_versions_have_bounds_however_late_other_events_are_reported(
    data: st.DataObject,
) -> None:
    learners = data.draw(st.integers(2, 5))
    steps = np.random.default_rng(0).standard_normal((learners, 150, DIMENSIONS))
    now, late = (World(learners, Realised(learners)) for _ in range(2))
    told, lag = data.draw(st.integers(1, 50)), data.draw(st.integers(0, 100))
    rounds_on_the_ring(now, told, lambda i, k: steps[i, k])
    versions = now.newest()
    before = data.draw(st.integers(max(0, told - HISTORY), told))
    rounds_on_the_ring(late, before, lambda i, k: steps[i, k])
    late.realised.retain_versions(versions)
    rounds_on_the_ring(late, told - before + lag, lambda i, k: steps[i, before + k])
    assert late.realised.bounds(versions).span == pytest.approx(now.bounds().span)
    late.realised.retain_versions([])
    if lag > 64:
        with pytest.raises(UntrackedError):
            late.realised.bounds(versions)


def play_with_members(world: World, data: st.DataObject, events: int, seed: int) -> int:
    """Updates and mixes of members, the first so many; others join by what one has sent, or leave.

    Returns:
        Number of members.
    """
    members = 2
    generator = np.random.default_rng(seed)
    for learner in range(members):
        world.update(learner, generator.standard_normal(DIMENSIONS))
    for _ in range(events):
        event = data.draw(st.sampled_from(["update", "update", "mix", "join", "leave"]))
        learner, other = (data.draw(st.integers(0, members - 1)) for _ in range(2))
        if event == "update":
            world.update(learner, generator.standard_normal(DIMENSIONS))
        elif event == "mix":
            world.mix(learner, [(other, max(world.sent[other]))])
        elif event == "join" and members < len(world.now):
            world.adopt(members, (other, max(world.sent[other])))
            world.update(members, generator.standard_normal(DIMENSIONS))
            members += 1
        elif event == "leave" and members > 1:
            members -= 1
            world.realised.leave(members)
    return members


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32), capacity=st.sampled_from([1, 10_000]))
def test_learners_that_join_and_leave_do_not_exceed_the_bound(
    data: st.DataObject, seed: int, capacity: int
) -> None:
    world = World(5, Realised(5, capacity, members=2))
    members = play_with_members(world, data, events=60, seed=seed)
    # Enough of them that what is old is forgotten or summed up.
    generator = np.random.default_rng(seed)
    for _ in range(100):
        for learner in range(members):
            world.update(learner, generator.standard_normal(DIMENSIONS))
            sender = (learner - 1) % members
            world.mix(learner, [(sender, max(world.sent[sender]))])
    versions = [max(sent) for sent in world.sent[:members]]
    last = [world.sent[i][version] for i, version in enumerate(versions)]
    pairs = itertools.combinations(last, 2)
    span = max((float(np.linalg.norm(a - b)) for a, b in pairs), default=0.0)
    bounds = world.realised.bounds(versions)
    assert span <= bounds.span * (1 + 1e-9) + 1e-9


def test_what_a_learner_that_left_has_sent_cannot_be_mixed_unnoticed() -> None:
    realised = Realised(3, members=3)
    realised.update(2, 1, 1.0)
    realised.leave(2)
    with pytest.raises(UntrackedError, match="edge 2 → 0"):
        realised.mix(0, [(2, 1)])
    with pytest.raises(UntrackedError, match="where learner 2 began"):
        realised.adopt(2, None)


def test_updates_are_forgotten_though_others_have_never_joined() -> None:
    realised = Realised(4, capacity=1, members=2)
    for version in range(1, 2000):
        for learner in (0, 1):
            realised.update(learner, version, 1.0)
        for learner in (0, 1):
            realised.mix(learner, [(1 - learner, version)])
    # Two that mix in step are as far apart as one update each has taken them.
    assert realised.bounds([1999, 1999]).span == pytest.approx(2.0, rel=1e-6)

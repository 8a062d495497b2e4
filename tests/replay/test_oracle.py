"""Replays equal a literal one of lists, over episodes with ends at every edge of a sequence."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from numpy.typing import NDArray

from gala_rl.replay import SequenceReplay, TransitionReplay
from tests.support.replay_oracle import Item, LiteralRing, Row
from tests.support.replay_runs import Twins, pairs, twins

all_kinds = st.one_of(
    twins(sequences=True),
    twins(sequences=False),
    twins(sequences=True, images=True),
    twins(sequences=False, images=True),
)


@given(all_kinds)
@limits(deadline=None, max_examples=80)
def test_exactly_the_whole_items_can_be_sampled_after_every_rollout(made: Twins) -> None:
    for _ in made:
        found = pairs(made.keys())
        assert sorted(found) == sorted(made.expected())
        assert made.replay.items == len(found)


@given(all_kinds)
@limits(deadline=None, max_examples=25)
def test_all_steps_in_the_rings_are_counted(made: Twins) -> None:
    for _ in made:
        kept = [slot for ring in made.rings for slot in ring.slots[-made.replay.settings.slots :]]
        assert made.replay.size_agent_steps == sum(slot.step is not None for slot in kept)


@given(all_kinds)
@limits(deadline=None, max_examples=25)
def test_every_step_is_learned_in_exactly_one_item(made: Twins) -> None:
    met: dict[tuple[int, int], int] = {}
    for _ in made:
        for (b, position), item in made.expected().items():
            assert (b, position) in pairs(made.keys())
            for slot in made.rings[b].learned(item):
                # The same item after every rollout.
                assert met.setdefault((b, slot), position) == position


@given(st.one_of(twins(sequences=False), twins(sequences=False, images=True)))
@limits(deadline=None, max_examples=80)
def test_transitions_are_those_of_the_literal_replay(made: Twins) -> None:
    replay = made.replay
    assert isinstance(replay, TransitionReplay)
    for _ in made:
        if not (expected := made.expected()):
            continue
        # Equal priorities: each of as many strata holds an item.
        batch = replay.sample(2 * len(expected), np.random.default_rng(0))
        assert set(pairs(batch.keys)) == set(expected)
        for i, (b, position) in enumerate(pairs(batch.keys)):
            ring, item = made.rings[b], expected[b, position]
            step = ring.step(position)
            total, discount, following = ring.transition(item, replay.settings.discount)
            assert batch.actions[i] == step.action
            assert_same(batch.observations[i], step.observation)
            assert batch.returns[i].item() == pytest.approx(total, rel=1e-5, abs=1e-5)
            assert batch.discounts[i].item() == pytest.approx(discount, rel=1e-6)
            if following is not None:
                assert_same(batch.next_observations[i], following)


@given(st.one_of(twins(sequences=True), twins(sequences=True, images=True)))
@limits(deadline=None, max_examples=80)
def test_sequences_are_those_of_the_literal_replay(made: Twins) -> None:
    replay = made.replay
    assert isinstance(replay, SequenceReplay)
    for _ in made:
        if not (expected := made.expected()):
            continue
        batch = replay.sample(2 * len(expected), np.random.default_rng(0))
        assert set(pairs(batch.keys)) == set(expected)
        burn_in, length = replay.settings.burn_in, replay.settings.learned_steps
        for i, (b, position) in enumerate(pairs(batch.keys)):
            ring, item = made.rings[b], expected[b, position]
            assert_same(batch.state[i], ring.state(item))
            rows = ring.rows(item)
            for r, row in enumerate(rows):
                found = {name: x[r, i] for name, x in vars_of(batch).items()}
                assert_row(found, row)
            learned = [row.step is not None for row in rows[burn_in : burn_in + length]]
            assert batch.is_learned[:, i].tolist() == learned


def vars_of(batch: Any) -> dict[str, torch.Tensor]:
    others = ("is_learned", "state", "weights", "keys")
    return {name: x for name, x in batch._asdict().items() if name not in others}


def assert_same(found: torch.Tensor, expected: NDArray[Any]) -> None:
    np.testing.assert_array_equal(found.numpy(), expected)


def assert_row(found: dict[str, torch.Tensor], row: Row) -> None:
    step, previous = row.step, row.previous
    if row.observation is None:
        assert not found.pop("observations").any()
    else:
        assert_same(found.pop("observations"), row.observation)
    assert {name: x.item() for name, x in found.items()} == {
        "actions": step.action if step else 0,
        "rewards": step.reward if step else 0.0,
        "previous_actions": previous.action if row.observation is not None and previous else -1,
        "previous_rewards": previous.reward if row.observation is not None and previous else 0.0,
        "terminated": bool(step and step.terminated),
        "truncated": bool(step and step.truncated),
        "is_first": bool(step and step.is_first),
    }


def initial_priority(ring: LiteralRing, item: Item, share: float) -> float:
    errors = [ring.step(slot).error for slot in ring.learned(item)]
    return share * max(errors) + (1.0 - share) * sum(errors) / len(errors)


@given(st.one_of(twins(sequences=False), twins(sequences=True)))
@limits(deadline=None, max_examples=25)
def test_new_items_have_the_priorities_of_their_steps(made: Twins) -> None:
    made.with_errors = True
    object.__setattr__(made.replay.settings, "priority_exponent", 0.9)
    for _ in made:
        keys = made.keys()
        leaves = made.replay._items.tree.leaves[keys.leaf]
        expected = made.expected()
        for (b, position), leaf in zip(pairs(keys), leaves, strict=True):
            item = expected[b, position]
            priority = initial_priority(made.rings[b], item, made.replay.settings.max_share)
            assert leaf == pytest.approx(priority**0.9, rel=1e-6)


def test_the_drawn_runs_meet_what_they_are_about() -> None:
    met: Counter[str] = Counter()

    @given(twins(sequences=True))
    @limits(deadline=None, max_examples=40, database=None)
    def look(made: Twins) -> None:
        for _ in made:
            met["wrapped"] += any(len(r.slots) > made.replay.settings.slots for r in made.rings)
            for b, _ in (expected := made.expected()):
                met[f"simulator {b}"] += 1
            for (b, _), item in expected.items():
                rows = made.rings[b].rows(item)
                met["final"] += any(r.step is None and r.observation is not None for r in rows)
                met["terminated"] += any(r.step is not None and r.step.terminated for r in rows)
                met["midway"] += not item.segment.is_whole
                met["burnt in"] += item.start > 0

    look()
    wanted = ["wrapped", "simulator 2", "final", "terminated", "midway", "burnt in"]
    assert all(met[name] > 20 for name in wanted), met

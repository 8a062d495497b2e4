"""Priorities, weights, memory and saving of replays."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.errors import UserError
from gala_rl.replay import ReplaySettings, SampleKeys, SequenceReplay, TransitionReplay
from gala_rl.spaces import ObservationSpec
from gala_rl.trajectory import Trajectory
from tests.support.replay_runs import VECTOR, Twins, pairs
from tests.support.replay_tapes import Episode, Steps, Tape, rollout
from tests.support.statistics import chi_square_p

SIMULATORS = 3
TRANSITIONS = ReplaySettings(
    size=300,
    simulators=SIMULATORS,
    observation=VECTOR,
    n_steps=3,
    priority_exponent=0.9,
    importance_exponent=0.6,
)
SEQUENCES = dataclasses.replace(
    TRANSITIONS, size=600, state_size=2, burn_in=4, learned_steps=4, n_steps=2
)
ATARI = ReplaySettings(
    size=500_000,
    simulators=32,
    observation=ObservationSpec((4, 84, 84), True),
    frame_stack=4,
    state_size=1024,
    burn_in=40,
    learned_steps=40,
    n_steps=5,
    priority_exponent=0.9,
    importance_exponent=0.6,
)


def tapes(count: int = SIMULATORS) -> list[Steps]:
    episodes = [Episode(13), Episode(9, is_truncated=True), Episode(30)] * 20
    return [Tape(episodes[b:], seed=b).steps for b in range(count)]


def filled(replay: Any, rollouts: int = 10, steps: int = 15) -> Any:
    for turn in range(rollouts):
        replay.add(rollout(tapes(), turn * steps, steps)[0])
    return replay


def all_keys(replay: Any) -> SampleKeys:
    return Twins(replay, [], 1).keys()


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def leaves(replay: Any) -> NDArray[np.float64]:
    return np.array(replay._items.tree.leaves)


@pytest.mark.parametrize("kind", [TransitionReplay, SequenceReplay])
def test_items_are_drawn_by_priority_with_the_exponent_applied_once(kind: Any) -> None:
    replay = filled(kind(TRANSITIONS if kind is TransitionReplay else SEQUENCES))
    keys = all_keys(replay)
    priorities = rng().exponential(size=len(keys.leaf)) + 0.01
    replay.update_priorities(keys, torch.from_numpy(priorities))
    np.testing.assert_allclose(leaves(replay)[keys.leaf], priorities**0.9)
    draws = np.concatenate([replay.sample(100, rng_).keys.leaf for rng_ in streams(1_000)])
    assert len(draws) == 100_000
    chances = priorities**0.9 / (priorities**0.9).sum()
    order = np.argsort(keys.leaf)
    counts = np.bincount(np.searchsorted(keys.leaf[order], draws), minlength=len(order))
    assert chi_square_p(counts, chances[order]) > 0.001
    wrong = priorities**0.81 / (priorities**0.81).sum()
    assert chi_square_p(counts, wrong[order]) < 0.001


def streams(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng((1, i)) for i in range(count)]


def test_weights_undo_what_sampling_does_to_means_up_to_the_exponent() -> None:
    replay = filled(TransitionReplay(TRANSITIONS))
    keys = all_keys(replay)
    priorities = rng().exponential(size=len(keys.leaf)) + 0.01
    replay.update_priorities(keys, torch.from_numpy(priorities))
    by_leaf = dict(zip(keys.leaf.tolist(), priorities**0.9, strict=True))
    batch = replay.sample(64, rng())
    drawn = np.array([by_leaf[leaf] for leaf in batch.keys.leaf.tolist()])
    expected = (1 / (drawn / sum(by_leaf.values())) / len(by_leaf)) ** 0.6
    np.testing.assert_allclose(batch.weights.numpy(), expected / expected.max(), rtol=1e-5)
    replay.importance_exponent = 0.0
    assert set(replay.sample(64, rng()).weights.tolist()) == {1.0}


def test_without_exponents_all_items_are_equally_likely() -> None:
    replay = filled(TransitionReplay(dataclasses.replace(TRANSITIONS, priority_exponent=0.0)))
    keys = all_keys(replay)
    replay.update_priorities(keys, torch.rand(len(keys.leaf)) * 100)
    assert set(leaves(replay)[keys.leaf]) == {1.0}
    assert set(replay.sample(64, rng()).weights.tolist()) == {1.0}


def test_new_items_have_the_highest_priority_so_far() -> None:
    replay = filled(TransitionReplay(TRANSITIONS), rollouts=2)
    assert set(leaves(replay)[leaves(replay) > 0]) == {1.0}
    keys = replay.sample(4, rng()).keys
    replay.update_priorities(keys, torch.tensor([0.1, 0.5, 0.4, 0.2]))
    before = leaves(replay)
    replay.add(rollout(tapes(), 30, 15)[0])
    new = leaves(replay)[(before == 0) & (leaves(replay) > 0)]
    assert len(new) > 0
    np.testing.assert_allclose(new, 0.5**0.9)
    replay.update_priorities(keys, torch.full((4,), 0.01))
    before = leaves(replay)
    replay.add(rollout(tapes(), 45, 15)[0])
    np.testing.assert_allclose(leaves(replay)[(before == 0) & (leaves(replay) > 0)], 0.5**0.9)


def test_an_item_without_an_error_can_still_be_drawn() -> None:
    replay = filled(TransitionReplay(TRANSITIONS))
    keys = all_keys(replay)
    replay.update_priorities(keys, torch.zeros(len(keys.leaf)))
    assert (leaves(replay)[keys.leaf] > 0.0).all()
    assert replay.items == len(all_keys(replay).leaf)


def test_priorities_that_are_no_numbers_are_left_out() -> None:
    replay = filled(TransitionReplay(TRANSITIONS))
    keys, before = all_keys(replay), leaves(replay)
    numbers = torch.full((len(keys.leaf),), torch.nan)
    numbers[1], numbers[2] = torch.inf, 3.0
    replay.update_priorities(keys, numbers)
    before[keys.leaf[2]] = 3.0**0.9
    np.testing.assert_allclose(leaves(replay), before)


def test_ages_count_the_steps_of_all_simulators() -> None:
    replay = TransitionReplay(TRANSITIONS)
    steps = [Tape([Episode(40)] * 3, seed=b).steps for b in range(SIMULATORS)]
    replay.add(rollout(steps, 0, 15)[0])
    keys = all_keys(replay)
    assert replay.ages(keys).tolist() == [SIMULATORS * (15 - p) for p in keys.position.tolist()]


@pytest.mark.parametrize("kind", [TransitionReplay, SequenceReplay])
def test_a_priority_for_an_overwritten_item_is_dropped(kind: Any) -> None:
    replay = filled(kind(TRANSITIONS if kind is TransitionReplay else SEQUENCES), rollouts=4)
    for turn in range(4, 60):
        keys = all_keys(replay)
        replay.add(rollout(tapes(), turn * 15, 15)[0])
        stored = set(pairs(all_keys(replay)))
        before = leaves(replay)
        # Lower than ever, since new items have the highest.
        replay.update_priorities(keys, torch.full((len(keys.leaf),), 1.0 / turn))
        changed = {pair for pair in pairs(keys) if pair in stored}
        after = leaves(replay)
        is_changed = np.array([pair in changed for pair in pairs(keys)])
        np.testing.assert_allclose(after[keys.leaf[is_changed]], turn**-0.9)
        others = np.setdiff1d(np.arange(len(after)), keys.leaf[is_changed])
        np.testing.assert_array_equal(after[others], before[others])
    assert not is_changed.all()


def test_where_an_item_is_repeated_its_last_priority_counts() -> None:
    replay = filled(TransitionReplay(TRANSITIONS))
    keys = SampleKeys(*(np.repeat(x[:2], 2) for x in all_keys(replay)))
    replay.update_priorities(keys, torch.tensor([1.0, 2.0, 4.0, 3.0]))
    np.testing.assert_allclose(leaves(replay)[keys.leaf], np.array([2, 2, 3, 3]) ** 0.9)


def test_unknown_errors_do_not_count_in_a_sequences_priority() -> None:
    settings = dataclasses.replace(SEQUENCES, priority_exponent=1.0, max_share=0.9)
    replay = SequenceReplay(settings)
    trajectory, errors = rollout(tapes(), 0, 15)
    errors[1] = torch.nan
    errors[4:8] = torch.nan
    replay.add(trajectory, errors)
    known = errors[[0, 2, 3], 0].double()
    first, second = leaves(replay)[[0, 4]]
    assert first == pytest.approx(float(0.9 * known.max() + 0.1 * known.mean()), rel=1e-6)
    known_items = leaves(replay)[[0, 8, *(b * settings.slots for b in (1, 2))]]
    assert second == pytest.approx(known_items.max(), rel=1e-6)


def test_columns_of_a_trajectory_may_be_any_simulators_in_any_order() -> None:
    straight, mixed = TransitionReplay(TRANSITIONS), TransitionReplay(TRANSITIONS)
    steps = 15
    parts = [[rollout([t], turn * steps, steps)[0] for turn in range(4)] for t in tapes()]
    filled(straight, 4, steps)
    # Actor 1 has delivered two rollouts before 0 and 2 have any.
    for order in ([1, 1, 0], [2, 0, 1], [2, 2, 0], [0, 1, 2]):
        columns = [parts[b].pop(0) for b in order]
        mixed.add(joined(columns), simulators=np.array(order))
    for name, array in straight.state().items():
        np.testing.assert_array_equal(array, mixed.state()[name], err_msg=name)


def joined(columns: Sequence[Trajectory]) -> Trajectory:
    tensors: dict[str, Any] = {
        name: torch.cat(
            [getattr(c, name) for c in columns],
            dim=0 if name in ("initial_state", "final_state") else 1,
        )
        for name, value in vars(columns[0]).items()
        if isinstance(value, Tensor)
    }
    return dataclasses.replace(columns[0], **tensors)


@pytest.mark.parametrize("kind", [TransitionReplay, SequenceReplay])
@pytest.mark.parametrize("rollouts", [0, 3, 30])
def test_a_restored_replay_goes_on_as_the_saved_one(kind: Any, rollouts: int) -> None:
    settings = TRANSITIONS if kind is TransitionReplay else SEQUENCES
    saved, restored = filled(kind(settings), rollouts), kind(settings)
    if rollouts:
        keys = saved.sample(50, rng()).keys
        saved.update_priorities(keys, torch.rand(50) * 5)
    restored.restore({name: array.copy() for name, array in saved.state().items()})
    for turn in range(rollouts, rollouts + 20):
        assert restored.size_agent_steps == saved.size_agent_steps
        assert restored.items == saved.items
        for replay in (saved, restored):
            replay.add(rollout(tapes(), turn * 15, 15)[0])
        left, right = (replay.sample(20, rng()) for replay in (saved, restored))
        for x, y in zip(left[:-1], right[:-1], strict=True):
            assert torch.equal(x, y)
        assert pairs(left.keys) == pairs(right.keys)


def test_only_what_is_filled_is_saved_in_parts_without_a_copy() -> None:
    replay = filled(TransitionReplay(TRANSITIONS), rollouts=2)
    state = replay.state()
    used = int(replay._ring.cursor.heads.max())
    assert used < TRANSITIONS.slots
    assert [state[f"images.{b}"].shape for b in range(SIMULATORS)] == [(used, 3)] * SIMULATORS
    images = replay._ring._slots.images
    assert all(np.shares_memory(state[f"images.{b}"], images) for b in range(SIMULATORS))
    assert all(torch.from_numpy(array).numel() == array.size for array in state.values())


def test_a_replay_of_another_size_is_not_restored() -> None:
    state = filled(TransitionReplay(TRANSITIONS)).state()
    other = TransitionReplay(dataclasses.replace(TRANSITIONS, size=600))
    with pytest.raises(ValueError, match=r"the saved replay has no slots\.actions of shape"):
        other.restore(state)
    del state["items.highest"]
    with pytest.raises(ValueError, match=r"no items\.highest"):
        TransitionReplay(TRANSITIONS).restore(state)


def test_a_restarted_actor_that_sees_the_same_as_before_begins_another_episode() -> None:
    replay = TransitionReplay(dataclasses.replace(TRANSITIONS, simulators=1))
    trajectory, _ = rollout([Tape([Episode(30)]).steps], 0, 5)
    trajectory.observations.fill_(1.0)
    for _ in range(2):
        replay.add(trajectory)
    batch = replay.sample(replay.items, rng())
    # The first episode is cut after 5 steps, and bootstraps from what was seen last.
    discounts = dict(zip(batch.keys.position.tolist(), batch.discounts.tolist(), strict=True))
    assert [discounts[p] for p in (2, 3, 4)] == pytest.approx([0.99**3, 0.99**2, 0.99])
    assert sorted(discounts) == [0, 1, 2, 3, 4, 6, 7]


@pytest.mark.parametrize("burn_in", [0, 2, 5, 7])
@pytest.mark.parametrize("slots", [18, 19, 22])
def test_no_state_takes_the_place_of_another_that_is_needed(slots: int, burn_in: int) -> None:
    settings = dataclasses.replace(
        SEQUENCES, size=slots, simulators=1, burn_in=burn_in, learned_steps=5, n_steps=1
    )
    for length in range(2, 21, 3):
        tape = Tape([Episode(length), Episode(60)], seed=length).steps
        replay, by_position = SequenceReplay(settings), dict(enumerate(tape))
        for t in range(50):
            replay.add(rollout([tape], t, 1)[0])
            if replay.items == 0:
                continue
            batch = replay.sample(2 * replay.items, rng())
            for i, position in enumerate(batch.keys.position.tolist()):
                begin = 0 if position < length else length
                first = by_position[max(begin, position - burn_in)]
                np.testing.assert_array_equal(batch.state[i].numpy(), first.state)


@pytest.mark.parametrize("settings", [TRANSITIONS, SEQUENCES])
def test_memory_is_known_before_it_is_allocated(settings: ReplaySettings) -> None:
    replay = SequenceReplay(settings)
    ring = replay._ring
    arrays = [*ring._slots, ring._states, *replay._items.tree._levels]
    assert SequenceReplay.memory_bytes(settings) == sum(array.nbytes for array in arrays)
    assert replay.bytes_per_step == SequenceReplay.memory_bytes(settings) / settings.size


def test_a_step_of_atari_takes_little_more_than_its_image() -> None:
    assert SequenceReplay.memory_bytes(ATARI) / ATARI.size <= 1.05 * 84 * 84
    assert TransitionReplay.memory_bytes(ATARI) > ATARI.size // 32 * 32 * 84 * 84


def test_a_replay_that_is_too_small_is_refused_with_the_size_that_is_needed() -> None:
    least = SEQUENCES.smallest_size
    SequenceReplay(dataclasses.replace(SEQUENCES, size=least))
    with pytest.raises(UserError, match=rf"items of 3 simulators: use at least {least}"):
        dataclasses.replace(SEQUENCES, size=least - 1)


def test_a_rollout_that_is_longer_than_the_replay_is_refused() -> None:
    replay = TransitionReplay(dataclasses.replace(TRANSITIONS, size=60))
    with pytest.raises(UserError, match="no room for a rollout of 25 steps of 3 simulators"):
        replay.add(rollout(tapes(), 0, 25)[0])


def test_nothing_can_be_sampled_from_an_empty_replay() -> None:
    with pytest.raises(ValueError, match="nothing to sample"):
        SequenceReplay(SEQUENCES).sample(1, rng())

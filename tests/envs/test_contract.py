"""The contract of simulators that every backend keeps: forms, seeds, ends, returns, states."""

import itertools
import sys
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray

from gala_rl.envs import Simulators, read_environment
from gala_rl.envs.simulators import random_actions
from gala_rl.spaces import ActionSpec, ObservationSpec
from tests.envs.contract import (
    ANY,
    CARTPOLE,
    COUNTING,
    Case,
    case,
    counting,
    experience,
    numbered,
    of,
    play,
)

POLE_FALLS = 12 * np.pi / 180
"""Angle of CartPole at which an episode ends."""
STEP_S = 0.02


@pytest.mark.parametrize("case", ANY)
def test_arrays_have_the_forms_that_the_specs_say(case: Case) -> None:
    simulators = case.build(3)
    spec = read_environment(case.source)
    assert (spec.observation, spec.action) == (simulators.observation, simulators.action)
    assert spec.frames_per_step == simulators.frames_per_step
    assert spec.kind == ("atari" if "Freeway" in case.env else simulators.action.kind)
    assert (simulators.count, simulators.groups) == (3, (slice(0, 3),))
    form = np.dtype(np.uint8 if spec.observation.is_image else np.float32)
    observations = [simulators.reset(0)]
    for t in play(simulators, 40):
        observations.append(t.observations)
        observations += [] if t.final_observations is None else [t.final_observations]
        assert t.rewards.shape == t.terminated.shape == t.truncated.shape == (3,)
        assert [x.dtype for x in (t.rewards, t.terminated, t.truncated)] == [np.float32, bool, bool]
    assert len(observations) > 41, "an episode was cut"
    for array in observations:
        assert array.shape == (3, *spec.observation.shape)
        assert array.dtype == form
        assert np.isfinite(array).all()
        torch.from_numpy(array)  # Warns of read-only arrays, and a warning is an error here.
    assert simulators.failures == 0
    simulators.close()


def stream(simulators: Simulators, seed: int, steps: int = 25) -> list[NDArray[Any]]:
    """Return all that a seed gives, first observations first."""
    found = [simulators.reset(seed).copy()]
    for t in play(simulators, steps):
        finals = t.observations if t.final_observations is None else t.final_observations
        games = np.array([(e.simulator, e.score, e.agent_steps) for e in t.episodes])
        found += [t.observations, t.rewards, t.terminated, t.truncated, finals[t.truncated], games]
    return [array.copy() for array in found]


@pytest.mark.parametrize("case", ANY)
def test_the_seed_fixes_everything_however_often_one_begins(case: Case) -> None:
    one, two = case.build(4), case.build(4)
    first = stream(one, 1)
    for again in (stream(two, 1), stream(one, 1)):
        for left, right in zip(first, again, strict=True):
            np.testing.assert_array_equal(left, right)
    other = stream(two, 2)
    assert any(not np.array_equal(left, right) for left, right in zip(first, other, strict=True))
    assert len({row.tobytes() for row in first[0]}) > 1, "simulators begin differently"
    one.close()
    two.close()


@pytest.mark.parametrize("case", ANY)
def test_simulators_that_get_the_same_actions_differ(case: Case) -> None:
    simulators = case.build(4)
    simulators.reset(0)
    rng = np.random.default_rng(0)
    actions = [random_actions(simulators.action, 1, rng).repeat(4, axis=0) for _ in range(25)]
    seen = np.stack([simulators.step(action).observations for action in actions], axis=1)
    assert len({row.tobytes() for row in seen}) == 4
    simulators.close()


@pytest.mark.parametrize("case", ANY)
def test_a_transition_keeps_its_values_when_the_simulators_go_on(case: Case) -> None:
    simulators = case.build(2)
    first = simulators.reset(0)
    kept = [first, *(t.observations for t in play(simulators, 12))]
    before = [array.copy() for array in kept]
    play(simulators, 12)
    simulators.reset(1)
    np.testing.assert_array_equal(kept, before)
    simulators.close()


def check_counting(
    case: Case,
    simulators: Simulators,
    first: NDArray[Any],
    length: int,
    limit: int | None,
    ended: NDArray[np.bool_] | None = None,
) -> None:
    """Play and compare with the reference; vector simulator i's episodes are i steps longer."""
    for i, steps in enumerate(experience(simulators, first, 39, ended)):
        longer = i * (case.backend == "gym-vec")
        found = numbered(steps) if case.backend == "jax" else steps
        expected = counting(found[0].seen, length + longer, limit)
        assert found == list(itertools.islice(expected, len(found)))


@pytest.mark.parametrize(
    ("length", "limit"),
    [(1, None), (3, None), (9, 4), (9, 1), (4, 4)],
    ids=["ends-at-once", "ends", "is-cut", "is-cut-at-once", "is-both"],
)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("case", COUNTING)
def test_every_number_of_a_counting_environment_is_right(
    case: Case, count: int, length: int, limit: int | None
) -> None:
    args = {"length": length} | ({} if limit is None else {"max_episode_steps": limit})
    simulators = case.build(count, **args)
    for seed in (0, 1):
        first = simulators.reset(seed)
        assert first[:, 1:].tolist() == [[0.0, -1.0]] * count
        check_counting(case, simulators, first, length, limit)
    simulators.close()


@pytest.mark.parametrize("case", COUNTING)
def test_a_staggered_start_plays_up_to_n_steps_and_games_count_from_there(case: Case) -> None:
    simulators = case.build(40, length=99)
    steps = simulators.reset(0, stagger=8)[:, 1]
    # A vector environment of Gymnasium cannot reset one simulator alone.
    assert set(steps) == ({8} if (case.backend == "gym-vec") else set(range(9)))
    assert set(simulators.reset(0)[:, 1]) == {0}
    simulators.close()
    simulators = case.build(8, length=12)
    first = simulators.reset(0, stagger=19)
    ended = (first[:, 1] == 12 + np.arange(8)) & simulators.resets_on_next_step
    assert ended.any() == simulators.resets_on_next_step
    check_counting(case, simulators, first, 12, None, ended)
    simulators.close()


@pytest.mark.parametrize("limit", [20, 500])
@pytest.mark.parametrize("case", CARTPOLE)
def test_observations_of_cartpole_follow_from_the_ones_before(case: Case, limit: int) -> None:
    simulators = case.build(3, max_episode_steps=limit)
    assert simulators.observation == ObservationSpec((4,), False)
    assert simulators.action == ActionSpec(2, True)
    for steps in experience(simulators, simulators.reset(0), 150):
        length, ends = 0, 0
        for step in steps:
            position, velocity, angle, turning = step.seen
            assert length or max(map(abs, step.seen)) <= 0.05, "a first observation"
            length += 1
            assert step.reward == 1.0
            assert step.terminated == (abs(angle + STEP_S * turning) > POLE_FALLS)
            assert step.truncated == (length == limit and not step.terminated)
            if step.following:
                assert step.following[0] == pytest.approx(position + STEP_S * velocity, abs=1e-5)
                assert step.following[2] == pytest.approx(angle + STEP_S * turning, abs=1e-5)
                assert (step.following[1] > velocity) == (step.action == 1)
            if step.terminated or step.truncated:
                length, ends = 0, ends + 1
        assert ends >= 2
    simulators.close()


@pytest.mark.parametrize("case", CARTPOLE)
def test_a_game_that_is_lost_in_its_last_step_is_terminated_except_by_envpool(case: Case) -> None:
    simulators = case.build(1)
    (steps,) = experience(simulators, simulators.reset(0), 100)
    simulators.close()
    length = 1 + [step.terminated for step in steps].index(True)
    simulators = case.build(1, max_episode_steps=length)
    (steps,) = experience(simulators, simulators.reset(0), length)
    # EnvPool's own flags say that this step is cut, and not that the game is lost.
    assert steps[-1].truncated == (case.backend == "envpool")
    assert steps[-1].terminated != steps[-1].truncated
    simulators.close()


@pytest.mark.parametrize(
    "case",
    [
        case("tests.environments:Drifting-v0"),
        case("pgx:minatar-breakout", max_episode_steps=30),
        case("jax:tests.environments.functional:Counting", length=5),
    ],
)
def test_a_saved_state_continues_bit_for_bit(case: Case) -> None:
    simulators, other = case.build(3), case.build(3)
    simulators.reset(1)
    play(simulators, 40)
    state = simulators.get_state()
    assert state is not None
    frozen = {name: array.copy() for name, array in state.items()}
    assert all(torch.isfinite(torch.from_numpy(array)).all() for array in frozen.values())
    expected = play(simulators, 60)
    other.reset(99)
    play(other, 5)
    other.set_state(state)
    for left, right in zip(expected, play(other, 60), strict=True):
        for name in ("observations", "rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name), name)
        assert left.episodes == right.episodes
    assert sum(len(t.episodes) for t in expected) >= 6
    # A state is a snapshot: neither of the two has written into it.
    assert all((state[name] == frozen[name]).all() for name in frozen)


@pytest.mark.parametrize("case", of(ANY, "ale", "gym-vec", "envpool", "processes"))
def test_simulators_that_save_no_state_restore_none(case: Case) -> None:
    simulators = case.build(1)
    simulators.reset(0)
    assert simulators.get_state() is None
    with pytest.raises(ValueError, match="no saved state"):
        simulators.set_state({})
    simulators.close()


@pytest.mark.parametrize(
    "case", of([*COUNTING, *CARTPOLE], "gymnasium", "gym-vec", "envpool", "jax")
)
def test_random_steps_before_the_start_are_signs_of_life(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulators = case.build(2)
    beats: list[None] = []
    module = sys.modules[type(simulators).__module__]
    monkeypatch.setattr(module, "beat", lambda: beats.append(None), raising=False)
    simulators.reset(0)
    without = len(beats)
    simulators.reset(0, stagger=40)
    assert len(beats) > without
    simulators.close()


@pytest.mark.parametrize("case", of(ANY, "ale", "gym-vec", "envpool", "processes"))
def test_closing_releases_threads_and_processes(case: Case) -> None:
    process = psutil.Process()

    def alive() -> list[int]:
        return [process.num_threads(), len(process.children())]

    case.build(2).close()  # Threads and processes of libraries start once and stay.
    before = alive()
    simulators = case.build(2)
    simulators.reset(0)
    play(simulators, 3)
    during = alive()
    simulators.close()
    assert alive() == before
    assert during != before or case.backend == "gym-vec"

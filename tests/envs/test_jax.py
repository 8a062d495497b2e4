"""Functional environments on JAX: resets, truncation, saved states, the games of pgx."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gala_rl
from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.train import TrainConfig
from gala_rl.envs import Episode, Simulators, Transition, make_simulators, read_environment
from gala_rl.envs.functional import PGX_GAMES
from gala_rl.errors import SimulatorFailure, UserError
from gala_rl.spaces import ObservationSpec

pytestmark = pytest.mark.backends

COUNTING = "jax:tests.environments.functional:Counting"
BREAKOUT = "pgx:minatar-breakout"


def returning(function: str, value: str) -> EnvironmentSource:
    args = {"function": function, "value": value}
    return EnvironmentSource("jax:tests.environments.functional:returning", args)


def counting(count: int, **args: Any) -> Simulators:
    return make_simulators(EnvironmentSource(COUNTING, args), count, 1)


def play(simulators: Simulators, steps: int) -> list[Transition]:
    return [simulators.step(np.full(simulators.count, k % 5)) for k in range(steps)]


def test_an_episodes_end_shows_the_first_observation_of_the_next() -> None:
    simulators = counting(2, length=3)
    first = simulators.reset(0)
    assert first[:, 1:].tolist() == [[0.0, -1.0]] * 2
    steps = play(simulators, 7)
    assert [t.observations[0, 1:].tolist() for t in steps] == [
        *([1.0, 0.0], [2.0, 1.0], [0.0, -1.0]),
        *([1.0, 3.0], [2.0, 4.0], [0.0, -1.0], [1.0, 1.0]),
    ]
    assert [t.rewards[1] for t in steps] == [1, 2, 3, 1, 2, 3, 1]
    assert [t.terminated.tolist() for t in steps] == [[k % 3 == 2] * 2 for k in range(7)]
    assert not any(t.truncated.any() or t.final_observations is not None for t in steps)
    assert [e for t in steps for e in t.episodes] == [Episode(i, 6.0, 3) for i in (0, 1)] * 2
    episodes = {t.observations[i, 0] for t in steps for i in (0, 1)}
    assert len(episodes) == 6


def test_a_truncated_episode_hands_over_its_final_observation() -> None:
    simulators = counting(2, length=9, max_episode_steps=4)
    first = simulators.reset(0)
    steps = play(simulators, 5)
    assert [t.truncated.tolist() for t in steps] == [[k == 3] * 2 for k in range(5)]
    final = steps[3].final_observations
    assert final is not None
    np.testing.assert_array_equal(final[:, 0], first[:, 0])
    assert final[:, 1:].tolist() == [[4.0, 3.0]] * 2
    assert steps[3].observations[:, 1:].tolist() == [[0.0, -1.0]] * 2


def test_an_end_that_is_both_counts_as_terminated() -> None:
    simulators = counting(1, length=4, max_episode_steps=4)
    simulators.reset(0)
    last = play(simulators, 4)[-1]
    assert (last.terminated[0], last.truncated[0]) == (True, False)


def test_the_seed_fixes_everything_and_simulators_differ() -> None:
    simulators = counting(3)
    first, again, other = (simulators.reset(seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first[:, 0] != other[:, 0]).all()
    assert len(set(first[:, 0])) == 3


def test_a_transition_keeps_its_values_when_the_simulators_go_on() -> None:
    simulators = counting(2)
    simulators.reset(0)
    first = play(simulators, 1)[0]
    before = first.observations.copy()
    play(simulators, 9)
    np.testing.assert_array_equal(first.observations, before)


def test_observations_can_be_written_and_are_not_copied() -> None:
    simulators = counting(2)
    simulators.reset(0)
    observations = play(simulators, 1)[0].observations
    assert observations.flags.writeable
    assert not observations.flags.owndata
    torch.from_numpy(observations)  # Warns of read-only arrays, and a warning is an error here.


def test_a_saved_state_continues_exactly() -> None:
    simulators, other = counting(3, length=5), counting(3, length=5)
    simulators.reset(0)
    play(simulators, 7)
    state = simulators.get_state()
    assert state is not None
    assert all(torch.isfinite(torch.from_numpy(array)).all() for array in state.values())
    expected = [t.observations.copy() for t in play(simulators, 11)]
    other.reset(9)
    other.set_state(state)
    np.testing.assert_array_equal([t.observations for t in play(other, 11)], expected)


def test_a_staggered_start_spreads_simulators_over_their_episodes() -> None:
    simulators = counting(50, length=1_000)
    steps = simulators.reset(0, stagger=20)[:, 1]
    assert (steps.min(), steps.max()) == (0.0, 20.0)
    assert len(set(steps)) > 10
    simulators.reset(0)
    assert simulators.reset(0)[:, 1].max() == 0.0


@pytest.mark.parametrize("game", PGX_GAMES)
def test_minatar_is_seen_as_planes_and_played(game: str) -> None:
    source = EnvironmentSource(f"pgx:{game}")
    spec, simulators = read_environment(source), make_simulators(source, 4, 1)
    assert spec.observation == simulators.observation
    channels = {"minatar-freeway": 7, "minatar-seaquest": 10, "minatar-space_invaders": 6}
    assert spec.observation == ObservationSpec((channels.get(game, 4), 10, 10), True)
    assert (spec.kind, spec.backend) == ("discrete", "jax")
    first = simulators.reset(0)
    assert set(np.unique(first)) == {0, 255}
    rng = np.random.default_rng(0)
    steps = [simulators.step(rng.integers(0, spec.action.size, 4)) for _ in range(300)]
    total = sum(float(t.rewards.sum()) for t in steps)
    assert sum(e.score for t in steps for e in t.episodes) <= total
    assert any(t.rewards.any() for t in steps) or game == "minatar-freeway"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (EnvironmentSource("jax:tests.environments.functional:number"), "returned int: it must"),
        (EnvironmentSource("jax:tests.environments.functional:absent"), "has no absent"),
        (EnvironmentSource(COUNTING, {"size": 3}), "no argument 'size': it takes length, max_ep"),
        (EnvironmentSource(COUNTING, {"max_episode_steps": 0}), "must be a whole number above 0"),
        (
            EnvironmentSource(COUNTING, {"max_episode_steps": 2**31}),
            "must be a whole number at most",
        ),
        (EnvironmentSource("pgx:minatar-breakout", {"colour": 1}), "it takes max_episode_steps, "),
        (EnvironmentSource(BREAKOUT, {"sticky_action_prob": 7}), "7 of env .* be from 0 to 1"),
        (EnvironmentSource(BREAKOUT, {"sticky_action_prob": "x"}), "'x' of env .* type float"),
        (EnvironmentSource(BREAKOUT, {"use_minimal_action_set": 1}), "1 of env .* type bool"),
        (returning("reward", "pair"), r"compiled: reward returns float32\[2\], not a number"),
        (returning("reward", "None"), "compiled: reward returns NoneType, not a number"),
        (returning("terminal", "pair"), r"terminal returns float32\[2\], not true or false"),
        (returning("terminal", "half"), r"terminal returns float32\[\], not true or false"),
        (returning("observation", "pair"), r"observations have shape \(2, 2\), not \(2, 3\)"),
        (returning("observation", "None"), "observations are NoneType, not an array"),
        (
            returning("transition", "reals"),
            r"part \.episode of the state as float32\[\], not i",
        ),
        (returning("transition", "two parts"), "compiled: transition returns PyTreeDef"),
        (
            EnvironmentSource("jax:tests.environments.functional:Branching"),
            r"cannot be compiled \(functional.py, line \d+\): TracerBoolConversionError: ",
        ),
    ],
)
def test_mistakes_are_named_in_one_line(source: EnvironmentSource, words: str) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        read_environment(source)
    assert "\n" not in str(refusal.value)


def test_numbers_in_arrays_of_one_are_numbers() -> None:
    simulators = make_simulators(returning("reward", "column"), 2, 1)
    simulators.reset(0)
    assert play(simulators, 1)[0].rewards.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("function", "value", "words"),
    [
        ("observation", "nan", r"reset\(\) of jax:.* failed: observations is nan at index 0, 0"),
        (
            "reward",
            "infinite",
            r"step\(\) of jax:.* the array of rewards is inf at index 0",
        ),
    ],
)
def test_numbers_that_are_not_finite_end_the_learner_in_one_line(
    function: str, value: str, words: str
) -> None:
    simulators = make_simulators(returning(function, value), 2, 1)

    def begin() -> None:
        simulators.reset(0)
        play(simulators, 1)

    with pytest.raises(SimulatorFailure, match=words) as failure:
        begin()
    assert "\n" not in str(failure.value)


def test_a_run_trains_in_processes_resumes_and_is_evaluated(tmp_path: Path) -> None:
    config = TrainConfig(
        method="gala-a2c",
        env="pgx:minatar-breakout",
        env_args={"sticky_action_prob": 0.0, "max_episode_steps": 50},
        steps=4_000,
        learners=2,
        simulators=4,
        out=str(tmp_path / "run"),
    )
    assert gala_rl.train(config)["episodes"] > 0
    more = gala_rl.resume(tmp_path / "run", steps=6_000)
    assert more["agent_steps"] >= 6_000
    assert len(gala_rl.evaluate(tmp_path / "run", episodes=3)["results"][0]["returns"]) == 3


def test_random_steps_before_the_start_are_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[None] = []
    simulators = counting(2)
    monkeypatch.setattr(
        sys.modules[type(simulators).__module__], "beat", lambda: beats.append(None)
    )
    simulators.reset(0, stagger=7)
    assert len(beats) == 7

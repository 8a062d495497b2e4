"""Vector environments of Gymnasium: each reset mode gives the experience of single simulators."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import Episode, Simulators, make_simulators, read_environment
from gala_rl.errors import SimulatorFailure, UserError
from tests.environments.vector import CountingVector

VECTOR = "gym-vec:tests.environments:CountingVector-v0"
MODES = [mode.name for mode in AutoresetMode]


def counting(count: int, **args: Any) -> Simulators:
    return make_simulators(EnvironmentSource(VECTOR, args), count, 1)


class Step(NamedTuple):
    """What an agent may learn from one step of one simulator."""

    seen: list[float]
    action: int
    reward: float
    terminated: bool
    truncated: bool
    following: list[float]


def experience(simulators: Simulators, vector_steps: int, simulator: int) -> list[Step]:
    """Steps of one simulator without those that only reset it; actions 0 … 4 in turn."""
    steps: list[Step] = []
    seen = simulators.reset(0)[simulator].tolist()
    for k in range(vector_steps):
        action = len(steps) % 5
        actions = np.full(simulators.count, action)
        t = simulators.step(actions)
        terminated, truncated = bool(t.terminated[simulator]), bool(t.truncated[simulator])
        following = t.observations[simulator].tolist()
        if terminated and truncated:
            assert (t.rewards[simulator], simulators.resets_on_next_step) == (0.0, True), k
        else:
            after = following
            if truncated:
                assert t.final_observations is not None
                after = t.final_observations[simulator].tolist()
            if terminated:
                after = []
            reward = float(t.rewards[simulator])
            steps.append(Step(seen, action, reward, terminated, truncated, after))
        seen = following
    return steps


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [1, 3])
def test_every_mode_gives_the_experience_of_single_simulators(
    mode: str, truncates: bool, count: int
) -> None:
    single = EnvironmentSource(
        "tests.environments:Counting-v0", {"length": 7, "truncates": truncates}
    )
    expected = experience(make_simulators(single, count, 1), 21, 0)
    simulators = counting(count, mode=mode, truncates=truncates, longer=0)
    assert experience(simulators, 24, 0)[:21] == expected
    assert simulators.resets_on_next_step == (mode == "NEXT_STEP")


@pytest.mark.parametrize("mode", MODES)
def test_simulators_end_each_at_its_own_time(mode: str) -> None:
    for simulator in range(3):
        steps = experience(counting(3, mode=mode, length=4), 30, simulator)
        ends = [k for k, step in enumerate(steps, start=1) if step.terminated]
        length = 4 + simulator
        assert ends == [length * n for n in range(1, len(ends) + 1)]
        assert len(steps) == 30 - (len(ends) if mode == "NEXT_STEP" else 0)


@pytest.mark.parametrize("mode", MODES)
def test_episodes_are_whole_games(mode: str) -> None:
    simulators = counting(2, mode=mode, length=3)
    simulators.reset(0)
    played = [e for _ in range(12) for e in simulators.step(np.zeros(2, dtype=np.int64)).episodes]
    assert played[:3] == [Episode(0, 6.0, 3), Episode(1, 10.0, 4), Episode(0, 6.0, 3)]


def test_a_second_reset_begins_anew() -> None:
    simulators = counting(2)
    first = experience(simulators, 10, 1)
    assert experience(simulators, 10, 1) == first


def test_a_staggered_start_reports_no_game_of_random_actions() -> None:
    simulators = counting(2, mode="DISABLED", length=3)
    simulators.reset(0, stagger=7)
    transition = simulators.step(np.zeros(2, dtype=np.int64))
    assert transition.observations[:, 1].tolist() == [2.0, 0.0]
    assert transition.episodes == [Episode(1, 4.0, 1)]


def test_cartpole_agrees_with_the_rules_of_single_simulators() -> None:
    source = EnvironmentSource("gym-vec:CartPole-v1")
    simulators = make_simulators(source, 5, 1)
    spec, single = read_environment(source), read_environment(EnvironmentSource("CartPole-v1"))
    assert (spec.observation, spec.action, spec.kind) == (
        single.observation,
        single.action,
        single.kind,
    )
    first, again = simulators.reset(3), simulators.reset(3)
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first, axis=0)) == 5
    assert (first != simulators.reset(4)).any()
    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset()
    env.state = tuple(first[0].astype(np.float64))  # type: ignore[attr-defined]
    simulators.reset(3)
    action: NDArray[np.int64] = np.ones(5, dtype=np.int64)
    following = env.step(1)[0]
    np.testing.assert_allclose(simulators.step(action).observations[0], following, atol=1e-5)


def test_an_episode_is_cut_at_the_given_length() -> None:
    source = EnvironmentSource("gym-vec:CartPole-v1", {"max_episode_steps": 4})
    simulators = make_simulators(source, 2, 1)
    simulators.reset(0)
    flags = [simulators.step(np.array([k % 2] * 2)).truncated.tolist() for k in range(10)]
    # The fourth step is cut, and the fifth resets.
    assert flags == [[k in (3, 4, 8, 9)] * 2 for k in range(10)]


def test_a_vector_environment_that_raises_ends_the_learner_in_one_line() -> None:
    simulators = counting(2, breaks_at=3)
    simulators.reset(0)
    actions = np.zeros(2, dtype=np.int64)
    for _ in range(2):
        simulators.step(actions)
    with pytest.raises(SimulatorFailure, match=r"step.* of gym-vec.* a screw is loose") as failure:
        simulators.step(actions)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (EnvironmentSource("gym-vec:Pendulum-v1"), "no vectorised implementation; use Pendulum-v1"),
        (
            EnvironmentSource("gym-vec:CartPole-v7"),
            "env 'gym-vec:CartPole-v7': 'CartPole-v7' is unknown: did you mean CartPole-v1",
        ),
        (
            EnvironmentSource("gym-vec:CartPole-v1", {"gravity": 1}),
            "takes no argument 'gravity': it takes max_episode_steps, render_mode, sutton",
        ),
        (
            EnvironmentSource("gym-vec:CartPole-v1", wrappers=("tests:f",)),
            "wrap 'tests:f' cannot be applied",
        ),
        (EnvironmentSource("gym-vec:ALE/Pong-v5"), "no vectorised implementation; use ALE/Pong-v5"),
        (
            EnvironmentSource("gym-vec:CartPole-v1", {"max_episode_steps": "x"}),
            "max_episode_steps 'x' of env 'gym-vec:CartPole-v1' must be a whole number above 0",
        ),
        (
            EnvironmentSource("gym-vec:CartPole-v1", {"max_episode_steps": None}),
            "max_episode_steps None of env .* must be a whole number above 0",
        ),
        (EnvironmentSource(VECTOR, {"mode": "NEVER"}), "cannot be built: KeyError: 'NEVER'"),
    ],
)
def test_mistakes_are_named_in_one_line(source: EnvironmentSource, words: str) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        read_environment(source)
    assert "\n" not in str(refusal.value)


def reshaped(monkeypatch: pytest.MonkeyPatch, index: int, change: Callable[[Any], Any]) -> None:
    """Change one of the values that the vector environment's step returns."""
    step = CountingVector.step

    def changed(self: CountingVector, actions: Any) -> Any:
        answer = list(step(self, actions))
        answer[index] = change(answer[index])
        return tuple(answer)

    monkeypatch.setattr(CountingVector, "step", changed)


@pytest.mark.parametrize(
    ("index", "change", "words"),
    [
        (1, lambda x: x[:1], r"the array of rewards has shape \(1,\), not \(2,\)"),
        (1, lambda x: x[:, None] + x, r"the array of rewards has shape \(2, 2\), not \(2,\)"),
        (1, lambda x: x * np.inf, "the array of rewards is inf at index 0"),
        (1, lambda _: None, "the array of rewards is None, which is no number"),
        (2, lambda x: x[0], r"the array terminated has shape \(\), not \(2,\)"),
        (3, lambda x: x + 0.5, "the array truncated has numbers that are neither True nor False"),
        (0, lambda x: x[:, :1], r"observations have shape \(2, 1\), not \(2, 3\)"),
    ],
)
def test_wrong_answers_of_step_are_found_before_a_run_starts(
    monkeypatch: pytest.MonkeyPatch, index: int, change: Callable[[Any], Any], words: str
) -> None:
    reshaped(monkeypatch, index, change)
    with pytest.raises(UserError, match=rf"step\(\) of gym-vec:.* failed: {words}") as refusal:
        read_environment(EnvironmentSource(VECTOR))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("step", lambda *_: (1, 2, 3, 4), r"it returned 4 values, not \(observation, reward, ter"),
        ("step", lambda *_: None, "it returned NoneType, not"),
        ("reset", lambda *_, **__: np.zeros((2, 3)), r"it returned ndarray, not \(observation, in"),
    ],
)
def test_answers_with_other_values_are_found_before_a_run_starts(
    monkeypatch: pytest.MonkeyPatch, name: str, changed: Callable[..., Any], words: str
) -> None:
    monkeypatch.setattr(CountingVector, name, changed)
    with pytest.raises(UserError, match=rf"{name}\(\) of gym-vec:.* failed: {words}"):
        read_environment(EnvironmentSource(VECTOR))


def test_a_reset_in_the_step_of_an_end_needs_the_final_observation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reshaped(monkeypatch, 4, lambda _: {"final_observation": 1})
    simulators = counting(2, mode="SAME_STEP", length=1, truncates=True)
    simulators.reset(0)
    with pytest.raises(SimulatorFailure, match="info has no 'final_obs'"):
        simulators.step(np.zeros(2, dtype=np.int64))


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("metadata", {}, "must be one of AutoresetMode.NEXT_STEP, "),
        ("metadata", {"autoreset_mode": "SAME_STEP"}, "must be one of AutoresetMode.NEXT_STEP, "),
        ("single_action_space", None, "has no single_action_space: set it in its constructor"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*AutoresetMode:UserWarning")
def test_what_a_vector_environment_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, attribute: str, value: Any, words: str
) -> None:
    build = CountingVector.__init__

    def lacking(self: CountingVector, num_envs: int) -> None:
        build(self, num_envs)
        delattr(self, attribute)
        if value is not None:
            setattr(self, attribute, value)

    monkeypatch.setattr(CountingVector, "__init__", lacking)
    with pytest.raises(UserError, match=words):
        read_environment(EnvironmentSource(VECTOR))


def test_a_close_that_raises_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("it is stuck")

    monkeypatch.setattr(CountingVector, "close", fail)
    assert read_environment(EnvironmentSource(VECTOR)).backend == "gym-vec"
    assert "close() of gym-vec:tests.environments:CountingVector-v0 raised" in caplog.text


@pytest.mark.parametrize("index", [1, 2, 3])
def test_columns_of_numbers_are_taken_as_rows(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    expected = experience(counting(3), 10, 1)
    reshaped(monkeypatch, index, lambda x: x[:, None])
    assert experience(counting(3), 10, 1) == expected


def test_random_steps_before_the_start_are_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[None] = []
    simulators = counting(2)
    monkeypatch.setattr(
        sys.modules[type(simulators).__module__], "beat", lambda: beats.append(None)
    )
    simulators.reset(0, stagger=7)
    assert len(beats) == 7

"""Vector environments of Gymnasium: failures, mistakes, answers of other forms."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import Simulators, make_simulators, read_environment
from gala_rl.errors import SimulatorFailure, UserError
from tests.environments.vector import CountingVector
from tests.envs.contract import experience

VECTOR = "gym-vec:tests.environments:CountingVector-v0"


def counting(count: int, **args: Any) -> Simulators:
    return make_simulators(EnvironmentSource(VECTOR, args), count, 1)


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
    simulators = counting(2, mode="SAME_STEP", max_episode_steps=1)
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
    simulators = counting(3)
    expected = experience(simulators, simulators.reset(0), 10)
    reshaped(monkeypatch, index, lambda x: x[:, None])
    assert experience(simulators, simulators.reset(0), 10) == expected

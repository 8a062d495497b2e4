"""Guarded environments: valid answers, and failures that are logged, truncated and rebuilt."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import Transition, read_environment
from gala_rl.envs.guard import MAX_FAILURES_IN_A_ROW
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.errors import SimulatorFailure, UserError
from tests.envs.returning import BOX, GOOD, Returning, showing, simulators


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))


def play(made: GymnasiumSimulators, steps: int) -> list[Transition]:
    made.reset(0)
    return [made.step(np.zeros(made.count, dtype=np.int64)) for _ in range(steps)]


def paying(reward: Any) -> Callable[[Any], Any]:
    return lambda answer: (answer[0], reward, *answer[2:])


PARTS = spaces.Dict({"a": spaces.Discrete(4), "b": spaces.Tuple([BOX])})
PARTS_GOOD = {"a": 1, "b": (GOOD,)}
IMAGE = spaces.Box(0, 255, (40, 36, 3), np.uint8)
IMAGE_GOOD = np.full((40, 36, 3), 7, dtype=np.uint8)
SEVERAL = spaces.MultiDiscrete([2, 3], start=[5, 0])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (paying(None), "the reward is None, which is no number"),
        (paying("1.0"), "the reward is '1.0', which is no number"),
        (paying(np.ones(2)), r"the reward has shape (2,): it must be one number"),
        (paying(float("nan")), "the reward is nan"),
        (paying(-np.inf), "the reward is -inf"),
        (paying(1e300), "the reward is 1e+300"),
        (showing(np.zeros(2)), "the observation has shape (2,), not (3,)"),
        (showing(np.zeros(1)), "the observation has shape (1,), not (3,)"),
        (showing(0.5), "the observation has shape (), not (3,)"),
        (showing(None), "the observation is None, which is no number"),
        (showing([[1.0], 2.0, 3.0]), "the observation is no array"),
        (showing(np.array([0, np.nan, 0])), "the observation is nan at index 1"),
        (showing(np.array([0, 0, 1e300])), "the observation is inf at index 2"),
        (lambda answer: answer[:4], "it returned 4 values, not (observation, reward"),
        (lambda answer: None, "it returned NoneType, not (observation, reward"),
        (lambda answer: (*answer[:2], None, *answer[3:]), "terminated is None, neither True nor"),
    ],
)
def test_an_invalid_answer_is_logged_with_its_step_and_truncates_the_episode(
    answer: Callable[[Any], Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    made, kind = simulators(answer)
    transitions = play(made, 7)
    assert [k for k, t in enumerate(transitions) if t.truncated.all()] == [2, 5]
    assert not any(t.terminated.any() for t in transitions)
    assert [float(t.rewards.sum()) for t in transitions[:4]] == [2, 2, 0, 2]
    final = transitions[2].final_observations
    assert final is not None
    np.testing.assert_array_equal(final, [GOOD, GOOD])
    assert np.isfinite([t.observations for t in transitions]).all()
    assert made.failures == 4
    assert "simulator 1 of Made-v0 failed in step() at its agent step 3: " + message in caplog.text
    assert (kind.built, kind.closed) == (6, 4)


@pytest.mark.parametrize(
    ("space", "good", "bad", "message"),
    [
        (PARTS, PARTS_GOOD, {"a": 1}, "the observation has no part 'b'"),
        (PARTS, PARTS_GOOD, {"a": 1, "b": ()}, "the observation has no part 'b.0'"),
        (PARTS, PARTS_GOOD, {"a": 4, "b": (GOOD,)}, "the observation's part 'a' is 4, not an"),
        (PARTS, PARTS_GOOD, {"a": 1, "b": (GOOD * np.inf,)}, "part 'b.0' is inf at index 0"),
        (spaces.Discrete(4), 1, 4, "the observation is 4, not an integer from 0 to 3"),
        (spaces.Discrete(4), 1, -1, "the observation is -1, not an integer from 0 to 3"),
        (spaces.Discrete(4), 1, 1.5, "the observation is 1.5, not an integer from 0 to 3"),
        (SEVERAL, np.array([6, 2]), np.array([4, 0]), "is [4, 0], not integers from [5, 0] to"),
        (IMAGE, IMAGE_GOOD, IMAGE_GOOD / 256, "has pixels that are no integers from 0 to 255"),
        (IMAGE, IMAGE_GOOD, IMAGE_GOOD[:39], "has shape (39, 36, 3), not (40, 36, 3)"),
    ],
)
def test_an_observation_outside_its_space_is_logged_with_its_part(
    space: spaces.Space[Any],
    good: Any,
    bad: Any,
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made, _ = simulators(showing(bad), space, good, count=1)
    assert [t.truncated[0] for t in play(made, 4)] == [False, False, True, False]
    assert message in caplog.text


@pytest.mark.parametrize(
    ("space", "good", "same"),
    [
        (BOX, GOOD, GOOD.tolist()),
        (BOX, GOOD, GOOD[:, None].astype(np.float64)),
        (spaces.Box(-1, 1, (1,)), GOOD[:1], float(GOOD[0])),
        (spaces.Discrete(4), 1, np.array([1])),
        (spaces.Discrete(4), 1, np.float32(1)),
        (IMAGE, IMAGE_GOOD, IMAGE_GOOD.astype(np.int64)),
    ],
)
def test_the_same_numbers_in_another_shape_or_type_are_accepted(
    space: spaces.Space[Any], good: Any, same: Any
) -> None:
    made, _ = simulators(showing(same), space, good, count=1)
    transitions = play(made, 4)
    assert made.failures == 0
    for transition in transitions[1:]:
        np.testing.assert_array_equal(transition.observations, transitions[0].observations)


@pytest.mark.parametrize("reward", [np.array([1.0]), np.array(1), [1.0], True, np.float32(1), 1])
def test_one_number_is_a_reward_however_it_comes(reward: Any) -> None:
    made, _ = simulators(paying(reward))
    assert [t.rewards.tolist() for t in play(made, 4)] == [[1.0, 1.0]] * 4
    assert made.failures == 0


def test_too_many_failures_in_a_row_raise_one_line_with_the_last_answer() -> None:
    made, kind = simulators(paying(None), count=1, bad_at=1)
    with pytest.raises(SimulatorFailure) as failure:
        play(made, MAX_FAILURES_IN_A_ROW)
    assert str(failure.value) == (
        "simulator 0 of Made-v0 failed 10 times without a good step, last in step() at its agent "
        "step 10: the reward is None, which is no number"
    )
    made.close()
    assert kind.built == kind.closed


def test_a_bad_first_observation_counts_as_well() -> None:
    made, kind = simulators(showing(GOOD), good=np.zeros(2), count=1)
    with pytest.raises(SimulatorFailure, match=r"in reset\(\) .* shape \(2,\), not \(3,\)"):
        made.reset(0)
    made.close()
    assert made.failures == kind.built == kind.closed == MAX_FAILURES_IN_A_ROW


class Owning(Returning):
    """Has a process of its own, which its `close` ends before it raises."""

    children: ClassVar[list[subprocess.Popen[bytes]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.child = subprocess.Popen(["sleep", "999"])
        self.children.append(self.child)

    def close(self) -> None:
        super().close()
        self.child.kill()
        self.child.wait()
        raise OSError("close has failed")


def test_a_simulator_is_closed_before_it_is_replaced_whatever_close_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(answer: Any) -> Any:
        raise RuntimeError("broken")

    made, kind = simulators(broken, base=Owning)
    play(made, 12)
    assert (kind.built, kind.closed) == (10, 8)
    assert sum(child.poll() is None for child in Owning.children) == 2
    made.close()
    made.close()
    assert kind.closed == 10
    assert all(child.poll() is not None for child in Owning.children)
    assert "OSError: close has failed" in caplog.text


def test_a_close_that_raises_or_exits_ends_no_check(caplog: pytest.LogCaptureFixture) -> None:
    def leave(env: Any) -> None:
        raise SystemExit(3)

    simulators(showing(GOOD), close=leave)[0].close()
    read_environment(EnvironmentSource("Made-v0"))
    assert caplog.text.count("close() of Made-v0 raised") == 3


def test_simulators_that_were_built_are_closed_when_the_next_cannot_be() -> None:
    def build(env: Any) -> None:
        if env.built == 3:
            raise RuntimeError("no more")
        Returning.__init__(env)

    _, kind = simulators(showing(GOOD), __init__=build, count=1)
    with pytest.raises((RuntimeError, UserError)):
        GymnasiumSimulators(EnvironmentSource("Made-v0"), 5)
    assert (kind.built, kind.closed) == (3, 2)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Panic(BaseException):
    """As extensions in Rust raise it."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SystemExit(0), "it called sys.exit(0)"),
        (Panic("out of range"), "Panic: out of range"),
        (Unspeakable(), "Unspeakable: its text cannot be shown (RuntimeError)"),
    ],
)
def test_any_exception_of_a_step_costs_only_its_episode(
    error: BaseException, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> Any:
        raise error

    made, _ = simulators(fail, count=1)
    assert [bool(t.truncated[0]) for t in play(made, 3)] == [False, False, True]
    assert f"simulator 0 of Made-v0 failed in step() at its agent step 3: {message}" in caplog.text


def test_ctrl_c_in_a_step_is_no_failure_of_the_simulator() -> None:
    def interrupt(_: Any) -> Any:
        raise KeyboardInterrupt

    made, _ = simulators(interrupt, count=1)
    with pytest.raises(KeyboardInterrupt):
        play(made, 3)
    assert made.failures == 0


def test_a_process_that_a_simulator_forks_does_not_go_on_in_its_place() -> None:
    """It ends with the sys.exit that the environment's author gave it."""

    def fork(answer: Any) -> Any:
        if (child := os.fork()) == 0:
            sys.exit(7)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return answer

    codes: list[int] = []
    made, _ = simulators(fork, count=1)
    process = os.getpid()
    try:
        transitions = play(made, 3)
    except SystemExit as ended:
        assert os.getpid() != process
        os._exit(ended.code)  # type: ignore[arg-type]
    if os.getpid() != process:
        os._exit(1)
    assert codes == [7]
    assert not transitions[2].truncated.any()

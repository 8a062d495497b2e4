"""Simulators of Gymnasium environments: seams of episodes, failures, seeds, saved states, ids."""

import logging
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from gala_rl.envs import (
    Episode,
    Transition,
    check_environment,
    make_simulators,
)
from gala_rl.envs.atari import AtariSimulators
from gala_rl.envs.gymnasium import MAX_FAILURES_IN_A_ROW, GymnasiumSimulators
from gala_rl.errors import UserError
from gala_rl.settings import AtariProtocol
from gala_rl.spaces import ActionSpec

COUNTING = "tests.environments:Counting-v0"
TRUNCATED = "tests.environments:CountingTruncated-v0"
DRIFTING = "tests.environments:Drifting-v0"
FAILING = "tests.environments:Failing-v0"
ALWAYS_FAILING = "tests.environments:AlwaysFailing-v0"


class Spaces(gymnasium.Env[Any, Any]):
    """Gives a fixed observation and remembers the actions it got."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        self.observation_space = observations
        self.action_space = actions
        self.actions: list[Any] = []

    def _observation(self) -> Any:
        shape = self.observation_space.shape
        assert shape is not None
        return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        return self._observation(), 1.0, False, False, {}


class NeverStarts(Spaces):
    """Its episodes end at once, and from the second on `reset` raises."""

    started = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        type(self).started += 1
        if type(self).started > 1:
            raise OSError("the simulator does not start")
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._observation(), 1.0, True, True, {}


def pixels(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
KINDS: dict[str, tuple[type[Spaces], spaces.Space[Any], spaces.Space[Any]]] = {
    "Colour": (Spaces, pixels(48, 40, 3), spaces.Discrete(2)),
    "Grey": (Spaces, pixels(48, 40), spaces.Discrete(2)),
    "Grid": (Spaces, pixels(7, 7, 3), spaces.Discrete(2)),
    "FromThree": (Spaces, VECTOR, spaces.Discrete(4, start=3)),
    "TextSeen": (Spaces, spaces.Text(9), spaces.Discrete(2)),
    "NoNumber": (Spaces, spaces.Box(-1, 1, (0,)), spaces.Discrete(2)),
    "Choices": (Spaces, VECTOR, spaces.MultiDiscrete([2, 3], start=[5, -1])),
    "ChoicesInRows": (Spaces, VECTOR, spaces.MultiDiscrete(np.array([[2, 3], [4, 2]]))),
    "Switches": (Spaces, VECTOR, spaces.MultiBinary((2, 2))),
    "NoActions": (Spaces, VECTOR, spaces.Box(-1, 1, (0,))),
    "TupleActions": (Spaces, VECTOR, spaces.Tuple((spaces.Discrete(2),))),
    "SquareActions": (Spaces, VECTOR, spaces.Box(-1, 1, (2, 2))),
    "Ends": (NeverStarts, VECTOR, spaces.Discrete(2)),
}


@pytest.fixture(scope="module", autouse=True)
def registered() -> Any:
    for name, (kind, observations, actions) in KINDS.items():
        gymnasium.register(
            f"{name}-v0",
            kind,  # type: ignore[arg-type]
            disable_env_checker=True,
            kwargs={"observations": observations, "actions": actions},
        )
    yield
    for name in KINDS:
        del gymnasium.registry[f"{name}-v0"]


def play(env: GymnasiumSimulators, steps: int, action: int = 1) -> list[Transition]:
    return [env.step(np.full(env.count, action)) for _ in range(steps)]


def inner(env: GymnasiumSimulators, index: int = 0) -> Any:
    return env.environments[index].unwrapped


def test_an_episodes_end_shows_the_first_observation_of_the_next() -> None:
    env = GymnasiumSimulators(COUNTING, 2)
    np.testing.assert_array_equal(env.reset(0), [[0, 0, -1]] * 2)
    transitions = play(env, 8)
    seen = [t.observations[0].tolist() for t in transitions]
    assert seen == [[0, k, 1] for k in range(1, 7)] + [[1, 0, -1], [1, 1, 1]]
    assert [t.rewards[1] for t in transitions] == [1, 2, 3, 4, 5, 6, 7, 1]
    assert [t.terminated.tolist() for t in transitions] == [[k == 6] * 2 for k in range(8)]
    assert not any(t.truncated.any() for t in transitions)
    assert all(t.final_observations is None for t in transitions)


def test_a_truncated_episode_hands_over_its_final_observation() -> None:
    env = GymnasiumSimulators(TRUNCATED, 2)
    env.reset(0)
    transitions = play(env, 8)
    assert [t.truncated.tolist() for t in transitions] == [[k == 6] * 2 for k in range(8)]
    assert not any(t.terminated.any() for t in transitions)
    final = transitions[6].final_observations
    assert final is not None
    np.testing.assert_array_equal(final, [[0, 7, 1]] * 2)
    np.testing.assert_array_equal(transitions[6].observations, [[1, 0, -1]] * 2)
    assert all(t.final_observations is None for k, t in enumerate(transitions) if k != 6)


def test_episodes_are_reported_with_score_and_length() -> None:
    env = GymnasiumSimulators(COUNTING, 2)
    env.reset(0)
    reported = [(k, e) for k, t in enumerate(play(env, 14)) for e in t.episodes]
    assert reported == [(k, Episode(i, 28.0, 7)) for k in (6, 13) for i in (0, 1)]


def test_an_end_that_is_both_counts_as_terminated() -> None:
    NeverStarts.started = -1
    env = GymnasiumSimulators("Ends-v0", 1)
    env.reset(0)
    transition = env.step(np.array([0]))
    assert (transition.terminated[0], transition.truncated[0]) == (True, False)
    assert transition.final_observations is None


def test_a_transition_keeps_its_values_when_the_simulators_go_on() -> None:
    env = GymnasiumSimulators(TRUNCATED, 1)
    first = env.reset(0)
    seventh = play(env, 7)[-1]
    play(env, 7)
    np.testing.assert_array_equal(first, [[0, 0, -1]])
    np.testing.assert_array_equal(seventh.observations, [[1, 0, -1]])
    np.testing.assert_array_equal(seventh.final_observations, [[0, 7, 1]])


def stream(env: GymnasiumSimulators, seed: int) -> NDArray[np.float32]:
    first = env.reset(seed)
    return np.stack([first, *(t.observations for t in play(env, 60))])


def test_the_seed_fixes_everything_and_simulators_differ() -> None:
    one, two = GymnasiumSimulators(DRIFTING, 3), GymnasiumSimulators(DRIFTING, 3)
    first = stream(one, 1)
    np.testing.assert_array_equal(first, stream(two, 1))
    np.testing.assert_array_equal(first, stream(one, 1))
    assert len({first[0, i].tobytes() for i in range(3)}) == 3
    assert (first[0] != stream(two, 2)[0]).all()


def test_starting_over_forgets_the_games_under_way() -> None:
    env = GymnasiumSimulators(COUNTING, 1)
    env.reset(0)
    play(env, 3)
    env.reset(0)
    assert [e for t in play(env, 7) for e in t.episodes] == [Episode(0, 28.0, 7)]


def test_a_simulator_that_raises_is_rebuilt_and_its_episode_is_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    env = GymnasiumSimulators(FAILING, 2)
    env.reset(0)
    with caplog.at_level(logging.CRITICAL):
        transitions = play(env, 35)
    # Broken at its 11th step, after a whole game of 7 and 3 steps of the next.
    broken = transitions[10]
    assert broken.truncated.tolist() == [True, True]
    assert broken.terminated.tolist() == [False, False]
    np.testing.assert_array_equal(broken.rewards, [0, 0])
    np.testing.assert_array_equal(broken.final_observations, [[1, 3, 1]] * 2)
    np.testing.assert_array_equal(broken.observations, [[0, 0, -1]] * 2)
    assert broken.episodes == [Episode(i, 1.0 + 2.0 + 3.0, 4) for i in (0, 1)]
    np.testing.assert_array_equal(transitions[11].observations, [[0, 1, 1]] * 2)
    assert [k for k, t in enumerate(transitions) if t.truncated.any()] == [10, 21, 32]
    assert env.failures == 6


def test_a_failure_leaves_its_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    env = GymnasiumSimulators(FAILING, 1)
    env.reset(0)
    play(env, 11)
    assert FAILING in caplog.text
    assert "RuntimeError: the simulator broke" in caplog.text


def test_a_simulator_that_always_raises_ends_with_its_own_exception() -> None:
    env = GymnasiumSimulators(ALWAYS_FAILING, 1)
    env.reset(0)
    for _ in range(MAX_FAILURES_IN_A_ROW - 1):
        assert env.step(np.array([0])).truncated.tolist() == [True]
    with pytest.raises(RuntimeError, match="the simulator broke"):
        env.step(np.array([0]))
    assert env.failures == MAX_FAILURES_IN_A_ROW


def test_a_simulator_that_never_starts_again_ends_with_its_own_exception() -> None:
    NeverStarts.started = 0
    env = GymnasiumSimulators("Ends-v0", 1)
    env.reset(0)
    with pytest.raises(OSError, match="does not start"):
        env.step(np.array([0]))
    assert env.failures == MAX_FAILURES_IN_A_ROW


def test_a_saved_state_continues_bit_for_bit() -> None:
    env = GymnasiumSimulators(DRIFTING, 3)
    env.reset(1)
    play(env, 40, action=2)
    state = env.get_state()
    assert state is not None
    frozen = {name: array.copy() for name, array in state.items()}
    expected = play(env, 60)

    other = GymnasiumSimulators(DRIFTING, 3)
    other.reset(99)
    play(other, 5)
    other.set_state(state)
    for left, right in zip(expected, play(other, 60), strict=True):
        for name in ("observations", "rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name), name)
        assert left.episodes == right.episodes
    assert sum(len(t.episodes) for t in expected) >= 6
    # A state is a snapshot: neither simulator has written into it.
    assert all((state[name] == frozen[name]).all() for name in frozen)


def test_a_restored_simulator_that_breaks_at_once_repeats_its_last_observation() -> None:
    env = GymnasiumSimulators(DRIFTING, 1)
    env.reset(1)
    play(env, 4)
    state = env.get_state()
    assert state is not None
    other = GymnasiumSimulators(DRIFTING, 1)
    other.reset(2)
    other.set_state(state)

    def broken(action: int) -> Any:
        raise RuntimeError("broken")

    inner(other).step = broken
    transition = other.step(np.array([0]))
    np.testing.assert_array_equal(transition.final_observations, state["observations"])


def test_an_environment_without_a_state_has_none_to_save() -> None:
    env = GymnasiumSimulators("CartPole-v1", 2)
    env.reset(0)
    assert env.get_state() is None
    env.close()


@pytest.mark.parametrize(("name", "channels"), [("Colour", 3), ("Grey", 1)])
def test_images_come_channels_first(name: str, channels: int) -> None:
    env = GymnasiumSimulators(f"{name}-v0", 2)
    first = env.reset(0)
    assert env.observation.shape == (channels, 48, 40)
    assert env.observation.is_image
    assert first.dtype == np.uint8
    pictured = inner(env)._observation().reshape(48, 40, channels)
    for observations in (first, env.step(np.array([0, 0])).observations):
        for channel in range(channels):
            np.testing.assert_array_equal(observations[1, channel], pictured[..., channel])


def test_a_small_grid_of_bytes_is_numbers_and_not_a_picture() -> None:
    env = GymnasiumSimulators("Grid-v0", 1)
    first = env.reset(0)
    assert env.observation.shape == (7, 7, 3)
    assert not env.observation.is_image
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first[0], inner(env)._observation())


def test_discrete_actions_are_counted_from_the_first_legal_one() -> None:
    env = GymnasiumSimulators("FromThree-v0", 1)
    env.reset(0)
    assert (env.action.size, env.action.is_discrete) == (4, True)
    for action in range(4):
        env.step(np.array([action]))
    assert inner(env).actions == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "sizes", "chosen", "expected"),
    [
        ("Choices", (2, 3), [1, 2], [6, 1]),
        ("ChoicesInRows", (2, 3, 4, 2), [1, 2, 3, 0], [[1, 2], [3, 0]]),
        ("Switches", (2, 2, 2, 2), [1, 0, 0, 1], [[1, 0], [0, 1]]),
    ],
)
def test_several_actions_come_as_the_environment_wants_them(
    name: str, sizes: tuple[int, ...], chosen: list[int], expected: list[Any]
) -> None:
    env = GymnasiumSimulators(f"{name}-v0", 2)
    env.reset(0)
    assert env.action == ActionSpec(len(sizes), True, sizes)
    env.step(np.array([[0] * len(sizes), chosen]))
    (given,) = inner(env, 1).actions
    assert given.tolist() == expected
    assert given in inner(env).action_space


def test_continuous_actions_are_clipped_to_what_is_legal(monkeypatch: pytest.MonkeyPatch) -> None:
    env = GymnasiumSimulators("Pendulum-v1", 3)
    env.reset(0)
    assert (env.action.size, env.action.is_discrete) == (1, False)
    given: list[NDArray[np.float32]] = []
    for wrapped in env.environments:
        step = wrapped.step

        def spy(action: Any, step: Any = step) -> Any:
            given.append(action)
            return step(action)

        monkeypatch.setattr(wrapped, "step", spy)
    env.step(np.array([[-7.0], [0.5], [7.0]], dtype=np.float32))
    np.testing.assert_array_equal(given, [[-2.0], [0.5], [2.0]])
    env.close()


def test_pendulum_is_truncated_by_its_time_limit_and_never_terminated() -> None:
    env = GymnasiumSimulators("Pendulum-v1", 1)
    env.reset(0)
    transitions = [env.step(np.zeros((1, 1), dtype=np.float32)) for _ in range(201)]
    assert [k for k, t in enumerate(transitions) if t.truncated[0]] == [199]
    assert transitions[199].episodes[0].agent_steps == 200
    env.close()


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("TextSeen-v0", "Text observations"),
        ("NoNumber-v0", "observations without a number"),
        ("NoActions-v0", "Box actions"),
        ("TupleActions-v0", "Tuple actions"),
        ("SquareActions-v0", "Box actions"),
    ],
)
def test_spaces_that_cannot_be_learned_are_refused_in_one_line(env_id: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        check_environment(env_id, AtariProtocol())
    assert env_id in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("env_id", "hint"),
    [
        ("CartPol-v1", "did you mean CartPole-v1?"),
        ("CartPole-v9", "did you mean CartPole-v1?"),
        ("CartPole", "has no version: did you mean CartPole-v1?"),
        ("tests.environments:Counting", "has no version: did you mean Counting-v0?"),
        ("qqqqqq", "give a Gymnasium id such as CartPole-v1"),
        ("", "give a Gymnasium id such as CartPole-v1"),
        ("no_such_module:Game-v0", "No module named 'no_such_module'"),
        ("tests.environments:Counting-v1", "is unknown"),
    ],
)
def test_an_unknown_id_is_refused_with_a_hint(env_id: str, hint: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_environment(env_id, AtariProtocol())
    assert repr(env_id) in str(refusal.value)
    assert hint in str(refusal.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(env_id: str) -> Any:
        raise gymnasium.error.DependencyNotInstalled("run `pip install snakes`")

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(UserError, match=r"needs a package that is missing.*pip install snakes"):
        check_environment("CartPole-v1", AtariProtocol())


def test_an_environment_that_cannot_be_imported_is_a_users_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(env_id: str) -> Any:
        raise ImportError("Old has moved to another project")

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(UserError, match="'Old-v2' cannot be imported: Old has moved"):
        check_environment("Old-v2", AtariProtocol())


@pytest.mark.parametrize("env_id", [COUNTING, "PongNoFrameskip-v4"])
@pytest.mark.parametrize("protocol", [AtariProtocol(), AtariProtocol(grayscale=False)])
def test_looking_at_an_environment_tells_what_its_simulators_show(
    env_id: str, protocol: AtariProtocol
) -> None:
    simulators = make_simulators(env_id, 1, 1, protocol)
    assert check_environment(env_id, protocol) == simulators.observation
    assert simulators.reset(0).shape == (1, *simulators.observation.shape)
    simulators.close()


def test_ids_choose_the_kind_of_simulators() -> None:
    assert isinstance(make_simulators(COUNTING, 1, 1, AtariProtocol()), GymnasiumSimulators)
    assert isinstance(make_simulators("PongNoFrameskip-v4", 1, 1, AtariProtocol()), AtariSimulators)


def test_gymnasium_environments_have_one_frame_a_step() -> None:
    env = GymnasiumSimulators(COUNTING, 5)
    assert (env.frames_per_step, env.count) == (1, 5)

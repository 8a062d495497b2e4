"""EnvPool: staggered starts, the games of ALE with their lives, mistakes, a run."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gala_rl
from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.settings import AtariProtocol
from gala_rl.config.train import TrainConfig
from gala_rl.envs import Simulators, Transition, make_simulators, read_environment, trial
from gala_rl.envs.envpool import EnvPoolSimulators
from gala_rl.envs.simulators import random_actions
from gala_rl.errors import UserError

pytestmark = pytest.mark.backends

CARTPOLE = "envpool:CartPole-v1"


def pool(env: str, count: int, training: bool = True, **args: Any) -> Simulators:
    return make_simulators(EnvironmentSource(env, args), count, 2, training=training)


def play(simulators: Simulators, steps: int, seed: int = 0) -> list[Transition]:
    rng = np.random.default_rng(seed)
    return [
        simulators.step(random_actions(simulators.action, simulators.count, rng))
        for _ in range(steps)
    ]


def test_a_staggered_start_spreads_simulators_over_their_episodes() -> None:
    simulators = pool("envpool:Pendulum-v1", 8, max_episode_steps=50)
    simulators.reset(0, stagger=40)
    ends = np.full(8, -1)
    for k, t in enumerate(play(simulators, 50)):
        ends[t.truncated & (ends < 0)] = k
    assert len(set(ends)) > 4
    simulators.reset(0)
    assert [t.truncated.all() for t in play(simulators, 50)] == [k == 49 for k in range(50)]


def test_parts_of_a_dict_are_one_vector() -> None:
    simulators = pool("envpool:MiniGrid-Empty-5x5-v0", 2)
    assert simulators.reset(0).shape == (2, simulators.observation.size)
    assert len(simulators.observation.parts) == 3


def scores(env: str, games: int, protocol: AtariProtocol) -> NDArray[np.float64]:
    """Raw returns of a random policy."""
    source = EnvironmentSource(env, atari=protocol)
    simulators = make_simulators(source, 8, 2, training=False)
    simulators.reset(3)
    rng, found = np.random.default_rng(0), list[float]()
    while len(found) < games:
        actions = random_actions(simulators.action, 8, rng)
        found += [episode.score for episode in simulators.step(actions).episodes]
    return np.array(found[:games])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("game", ["Breakout", "SpaceInvaders", "Qbert"])
def test_random_play_scores_as_in_ales_own_vector_environment(game: str) -> None:
    protocol = AtariProtocol(sticky_actions=0.25)
    here = scores(f"envpool:{game}-v5", 200, protocol)
    there = scores(f"{game}NoFrameskip-v4", 200, protocol)
    error = np.sqrt(here.var() / len(here) + there.var() / len(there))
    assert abs(here.mean() - there.mean()) < 4 * error + 1e-9


def test_atari_shows_the_newest_frame_last_as_ale_does() -> None:
    simulators = pool("envpool:Breakout-v5", 1)
    simulators.reset(0)
    before, after = (t.observations for t in play(simulators, 2))
    np.testing.assert_array_equal(after[:, :3], before[:, 1:])
    assert simulators.frames_per_step == 4


def test_a_lost_life_ends_the_return_but_not_the_game() -> None:
    simulators = pool("envpool:Breakout-v5", 4)
    simulators.reset(0)
    steps = play(simulators, 700)
    ends = sum(int(t.terminated.sum()) for t in steps)
    games = [e for t in steps for e in t.episodes]
    assert games
    assert ends >= 4 * len(games)
    whole = pool("envpool:Breakout-v5", 4, training=False)
    whole.reset(0)
    steps = play(whole, 700)
    assert sum(int(t.terminated.sum()) for t in steps) == sum(len(t.episodes) for t in steps)


def test_rewards_are_clipped_in_training_alone() -> None:
    for training in (True, False):
        simulators = pool("envpool:SpaceInvaders-v5", 4, training)
        simulators.reset(0)
        steps = play(simulators, 300)
        rewards = np.stack([t.rewards for t in steps])
        assert set(np.unique(np.abs(rewards))) <= {0.0, 1.0} or not training
        assert training or rewards.max() > 1.0


def test_the_protocol_reaches_the_emulator() -> None:
    protocol = AtariProtocol(image_size=64, frame_stack=2, frame_skip=2, max_episode_frames=80)
    source = EnvironmentSource("envpool:Breakout-v5", atari=protocol)
    spec, simulators = read_environment(source), make_simulators(source, 2, 1)
    assert (spec.observation.shape, spec.frames_per_step, spec.kind) == ((2, 64, 64), 2, "atari")
    simulators.reset(0)
    cut = [t.truncated.any() for t in play(simulators, 45)]
    assert any(cut)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (EnvironmentSource("envpool:CartPole-v9"), "did you mean envpool:CartPole-v1"),
        (EnvironmentSource("envpool:PongNoFrameskip-v4"), "did you mean envpool:Pong-v5"),
        (EnvironmentSource(CARTPOLE, {"gravity": 1}), "no argument 'gravity': it takes"),
        (EnvironmentSource(CARTPOLE, {"num_envs": 9}), "no argument 'num_envs'"),
        (EnvironmentSource("envpool:Pong-v5", {"frame_skip": 1}), "no argument 'frame_skip'"),
        (EnvironmentSource(CARTPOLE, wrappers=("tests:f",)), "wrap 'tests:f' cannot be applied"),
        (EnvironmentSource(CARTPOLE, {"max_episode_steps": 0}), "must be a whole number above 0"),
        (EnvironmentSource(CARTPOLE, {"max_episode_steps": None}), "None of env .* whole number"),
        (EnvironmentSource(CARTPOLE, {"reward_threshold": "x"}), "'x' of env .* type float, such"),
        (
            EnvironmentSource("envpool:FrozenLake-v1", {"size": True}),
            "size True of env .* type int",
        ),
        (EnvironmentSource("envpool:Pong-v5", {"task": "x"}), "no argument 'task'"),
        (EnvironmentSource("envpool:KuhnPoker-v1"), "is for 2 players at once"),
    ],
)
def test_mistakes_are_named_in_one_line(source: EnvironmentSource, words: str) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        read_environment(source)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("env", "args", "words"),
    [
        ("FrozenLake-v1", {"size": 7}, r"with size=7 crashes its process \(SIGSEGV\): change an"),
        ("MiniGrid-Empty-5x5-v0", {"size": 0}, r"with size=0 crashes its .* Check failed: InBound"),
        ("HalfCheetah-v4", {"frame_skip": 0}, "array of rewards is nan at index 0, with frame_sk"),
        ("HalfCheetah-v4", {"frame_stack": 0}, "frame_stack must be .* 0, with frame_stack=0"),
    ],
)
def test_arguments_that_crash_envpool_are_found_before_a_run_starts(
    env: str, args: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        read_environment(EnvironmentSource(f"envpool:{env}", args))
    assert "\n" not in str(refusal.value)


def test_arguments_with_which_envpool_hangs_are_found_before_a_run_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial, "_DEADLINE_S", 0.01)
    with pytest.raises(UserError, match=r"with reward_threshold=1\.5 hangs: it did not play in 0"):
        read_environment(EnvironmentSource(CARTPOLE, {"reward_threshold": 1.5}))


def test_random_steps_are_drawn_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    module, simulators = sys.modules[EnvPoolSimulators.__module__], pool(CARTPOLE, 2)

    def draw(*given: Any) -> Any:
        events.append("draw")
        return random_actions(*given)

    monkeypatch.setattr(module, "random_actions", draw)
    monkeypatch.setattr(module, "beat", lambda: events.append("beat"))
    simulators.reset(0, stagger=7)
    assert events
    assert events == ["draw", "beat"] * (len(events) // 2)


def test_a_missing_library_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    envpool = pytest.importorskip("envpool")

    def fail(*_: Any, **__: Any) -> None:
        raise ImportError("needs Qt")

    monkeypatch.setattr(envpool, "make_spec", fail)
    with pytest.raises(UserError, match="package that is missing: needs Qt"):
        read_environment(EnvironmentSource("envpool:MazeHard-v0"))


def test_a_run_trains_in_processes_and_is_evaluated(tmp_path: Path) -> None:
    config = TrainConfig(
        method="gala-a2c",
        env=CARTPOLE,
        env_args={"max_episode_steps": 50},
        steps=4_000,
        learners=2,
        simulators=4,
        out=str(tmp_path / "run"),
    )
    assert gala_rl.train(config)["episodes"] > 0
    assert len(gala_rl.evaluate(tmp_path / "run", episodes=3)["results"][0]["returns"]) == 3

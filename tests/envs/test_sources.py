"""Environments by function, with arguments and wrappers; what is wrong is named in one line."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gala_rl
from gala_rl.config.environment import EnvironmentSource, name_of, parse_argument
from gala_rl.config.train import TrainConfig, from_dict, to_dict
from gala_rl.envs import make_simulators, read_environment
from gala_rl.errors import UserError
from gala_rl.methods import ALGORITHMS
from tests.environments import makers

MAKERS = "tests.environments.makers"


def scores(source: EnvironmentSource, steps: int = 20) -> list[tuple[float, int]]:
    simulators = make_simulators(source, 1, 1)
    simulators.reset(0)
    played = [simulators.step(np.zeros(1, dtype=np.int64)) for _ in range(steps)]
    simulators.close()
    return [(episode.score, episode.agent_steps) for t in played for episode in t.episodes]


@pytest.mark.parametrize(
    ("env", "args", "score", "length"),
    [
        (f"make:{MAKERS}:counting", {}, 28.0, 7),
        (f"make:{MAKERS}:counting", {"length": 3}, 6.0, 3),
        (f"make:{MAKERS}:needy", {"length": 4}, 10.0, 4),
        (f"make:{MAKERS}:anything", {"length": 2}, 3.0, 2),
        (f"make:{MAKERS}:Makers.inner", {}, 6.0, 3),
        (f"make:{MAKERS}:counting", {"max_episode_steps": 5}, 15.0, 5),
        (f"make:{MAKERS}:counting", {"max_episode_steps": None}, 28.0, 7),
        ("tests.environments:Counting-v0", {"length": 3}, 6.0, 3),
        ("tests.environments:Counting-v0", {"max_episode_steps": 2}, 3.0, 2),
    ],
)
def test_arguments_reach_what_builds_the_environment(
    env: str, args: dict[str, Any], score: float, length: int
) -> None:
    assert scores(EnvironmentSource(env, args))[0] == (score, length)


def test_a_reset_without_a_readable_signature_is_accepted() -> None:
    assert read_environment(EnvironmentSource(f"make:{MAKERS}:compiled_reset")).action.size == 2


def test_wrappers_are_applied_in_order() -> None:
    makers.APPLIED.clear()
    wrappers = (f"{MAKERS}:limit", f"{MAKERS}:negate")
    source = EnvironmentSource("tests.environments:Counting-v0", wrappers=wrappers)
    assert scores(source)[0] == (-10.0, 4)
    assert makers.APPLIED == ["limit", "negate"]


@pytest.mark.parametrize(
    ("env", "args", "wrappers", "words"),
    [
        ("make:nowhere:make", {}, (), "No module named 'nowhere'; is it installed"),
        (f"make:{MAKERS}", {}, (), r"did you mean make:tests.environments:makers\?"),
        (f"make:{MAKERS}.needy", {}, (), rf"no function: did you mean make:{MAKERS}:needy\?"),
        ("make:make:makers:needy", {}, (), r"a prefix too many: did you mean make:makers:needy\?"),
        ("CartPole-v1", {}, ("make:makers:f",), r"prefix too many: did you mean makers:f\?"),
        ("make:./makers.py:needy", {}, (), "give the module: make:makers:needy"),
        ("make:lake/makers.py:needy", {}, (), "give the module: make:lake.makers:needy"),
        ("lake/makers:Lake-v0", {}, (), "give the module: lake.makers:Lake-v0"),
        ("make:/lake/m.py:needy", {}, (), "run in /lake and give the module: make:m:needy"),
        (f"make:{MAKERS}:old_reset", {}, (), r"takes no seed: define reset\(self, \*, seed=None"),
        ("CartPole-v1", {}, (f"{MAKERS}:OldWrapper",), "reset\\(\\) of env .* takes no seed"),
        (f"make:{MAKERS}:raising_space", {}, (), "its observation_space raised RuntimeError: late"),
        (f"make:{MAKERS}:no_action", {}, (), "has Box actions without a number"),
        ("make:makers", {}, (), "env 'make:makers' has no function: give module:function"),
        ("CartPole-v1", {}, (f"{MAKERS}.negate",), rf"did you mean {MAKERS}:negate\?"),
        ("gym_vec:CartPole-v1", {}, (), r"unknown: did you mean gym-vec:CartPole-v1\?"),
        ("EnvPool:Ant-v5", {}, (), r"env 'EnvPool:Ant-v5' .* did you mean envpool:Ant-v5\?"),
        ("envpol:Ant-v5", {}, (), r"env 'envpol:Ant-v5' is unknown: did you mean envpool:Ant-v5\?"),
        (f"Make:{MAKERS}:needy", {}, (), rf"unknown: did you mean make:{MAKERS}:needy\?"),
        ("nowhere:Ant-v5", {}, (), "No module named 'nowhere'; is it installed"),
        (f"{MAKERS}:needy", {}, (), f"to call this function of .*, give make:{MAKERS}:needy"),
        (f"make:{MAKERS}:absent", {}, (), f"module {MAKERS} has no absent"),
        (f"make:{MAKERS}:NUMBER", {}, (), "is int, which cannot be called"),
        (f"make:{MAKERS}:nothing", {}, (), "returned NoneType: it must return a gymnasium.Env"),
        (f"make:{MAKERS}:needy", {}, (), "needs the argument length: --env-arg length=VALUE"),
        (f"make:{MAKERS}:counting", {"size": 1}, (), "no argument 'size': it takes length, max_e"),
        ("CartPole-v1", {"size": 1}, (), "no argument 'size': it takes disable_env_checker, max"),
        ("PongNoFrameskip-v4", {"mode": 1}, (), "no argument 'mode': Atari games have options"),
        ("PongNoFrameskip-v4", {}, (f"{MAKERS}:negate",), "give --env make:module:function"),
        ("CartPole-v1", {}, (f"{MAKERS}:forgets",), "wrap .*forgets' returned NoneType"),
        ("CartPole-v1", {}, (f"{MAKERS}:raises",), "wrap .*raises' raised: RuntimeError: no such"),
        ("CartPole-v1", {}, (f"{MAKERS}:absent",), "wrap .* has no absent"),
        ("CartPole-v1", {}, ("negate",), "wrap 'negate' has no function: give module:function"),
        ("CartPole-v1", {}, (f"{MAKERS}:lazy",), "cannot be imported: .* No module named 'screws'"),
        (f"make:{MAKERS}:spaceless", {}, (), "has no observation_space: set it in its constructor"),
        ("CartPole-v1", {"max_episode_steps": True}, (), "True of env 'CartPole-v1' must be a wh"),
        (
            f"make:{MAKERS}:counting",
            {"max_episode_steps": -1},
            (),
            "must be a whole number above 0",
        ),
        ("pgx:chess", {}, (), "no game for one player: choose minatar-asterix, "),
        ("pgx:minatar-freewey", {}, (), "did you mean pgx:minatar-freeway"),
    ],
)
def test_mistakes_are_named_in_one_line(
    env: str, args: dict[str, Any], wrappers: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        read_environment(EnvironmentSource(env, args, wrappers))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("size=8", ("size", 8)),
        ("slippery=false", ("slippery", False)),
        ("map_name=8x8", ("map_name", "8x8")),
        ('desc=["SF","FG"]', ("desc", ["SF", "FG"])),
        ("rate=1e-3", ("rate", 1e-3)),
        ("rate=NaN", ("rate", "NaN")),
        ("note=a=b", ("note", "a=b")),
        ("note=", ("note", "")),
        (f"note={'[' * 100_000}", ("note", "[" * 100_000)),
    ],
)
def test_an_argument_is_json_or_else_text(text: str, parsed: tuple[str, Any]) -> None:
    assert parse_argument(text) == parsed


@pytest.mark.parametrize("text", ["size", "=3", "a b=1", "1a=2", ""])
def test_an_argument_needs_a_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not KEY=VALUE"):
        parse_argument(text)


def local() -> None:
    """Not importable under the name of a test's inner function."""


def test_a_function_is_named_if_other_processes_can_import_it() -> None:
    assert name_of(makers.counting) == f"make:{MAKERS}:counting"
    assert TrainConfig(env=makers.counting).env == f"make:{MAKERS}:counting"
    assert name_of(makers.Makers.inner) == f"make:{MAKERS}:Makers.inner"

    def inner() -> None:
        pass

    for wrong in (inner, lambda: None, functools.partial(makers.counting, 3)):
        with pytest.raises(UserError, match=r"define it at the top of a module|env_args"):
            TrainConfig(env=wrong)
    makers.counting.__module__, before = "__main__", makers.counting.__module__
    try:
        with pytest.raises(UserError, match="counting is defined in the main program"):
            TrainConfig(env=makers.counting)
    finally:
        makers.counting.__module__ = before


def test_the_config_keeps_arguments_and_wrappers() -> None:
    config = TrainConfig(
        env=makers.counting, env_args={"length": 3}, wrappers=(f"{MAKERS}:negate",), stagger=5
    )
    again = from_dict(json.loads(json.dumps(to_dict(config))), ALGORITHMS)
    assert again == config
    assert again.source == EnvironmentSource(
        f"make:{MAKERS}:counting", {"length": 3}, (f"{MAKERS}:negate",)
    )


def test_a_run_trains_resumes_and_is_evaluated_with_them(tmp_path: Path) -> None:
    config = TrainConfig(
        method="a2c",
        env=makers.counting,
        env_args={"length": 3},
        wrappers=(f"{MAKERS}:negate",),
        steps=400,
        simulators=2,
        serial=True,
        out=str(tmp_path / "run"),
    )
    assert gala_rl.train(config)["mean_return"] == -6.0
    assert gala_rl.evaluate(tmp_path / "run", episodes=3)["results"][0]["mean_return"] == -6.0

"""Functional environments on JAX: arrays, the games of pgx, mistakes, a run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gala_rl
from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.train import TrainConfig
from gala_rl.envs import Simulators, Transition, make_simulators, read_environment
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


def test_observations_can_be_written_and_are_not_copied() -> None:
    simulators = counting(2)
    simulators.reset(0)
    observations = play(simulators, 1)[0].observations
    assert observations.flags.writeable
    assert not observations.flags.owndata
    torch.from_numpy(observations)  # Warns of read-only arrays, and a warning is an error here.


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

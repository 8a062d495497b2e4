"""Presets fit their environment, and what the user gave: they make no run fail by themselves."""

import dataclasses
from typing import Any

import gymnasium
import pytest

from gala_rl.checks.config import check_config
from gala_rl.config.train import TrainConfig
from gala_rl.envs import WorkerTimeouts, worker_timeouts
from gala_rl.errors import UserError
from gala_rl.methods import METHODS, resolving
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.ppo import PPOSettings
from tests.support.made_up_simulators import Spaces, pixels

PIXELS, NUMBERS = pixels(48, 40, 3), gymnasium.spaces.Box(-1, 1, (3,))
OBSERVATIONS = {
    "Numbers": NUMBERS,
    "Images": PIXELS,
    "ImageInDict": gymnasium.spaces.Dict({"seen": PIXELS, "felt": NUMBERS}),
    "ImageInTuple": gymnasium.spaces.Tuple([NUMBERS, gymnasium.spaces.Tuple([PIXELS])]),
}
ACTIONS = {"Discrete": gymnasium.spaces.Discrete(2), "Continuous": NUMBERS}
NAMES = [f"{seen}{acts}" for seen in OBSERVATIONS for acts in ACTIONS]


@pytest.fixture(autouse=True)
def environments() -> Any:
    """An environment for each kind of observation and of action."""
    for seen, observations in OBSERVATIONS.items():
        for acts, actions in ACTIONS.items():
            arguments = {"observations": observations, "actions": actions}
            point: Any = Spaces
            gymnasium.register(f"{seen}{acts}-v0", point, kwargs=arguments)
    yield
    for name in NAMES:
        del gymnasium.registry[f"{name}-v0"]


@pytest.mark.parametrize("lstm_size", [None, 8])
@pytest.mark.parametrize("name", NAMES)
def test_every_preset_passes_all_checks_in_every_environment(
    name: str, lstm_size: int | None
) -> None:
    for method in METHODS:
        if method.learns_action_values and (lstm_size or name.endswith("Continuous")):
            continue
        config = TrainConfig(method=method.name, env=f"{name}-v0", lstm_size=lstm_size)
        check_config(config)
        check_config(resolving.with_settings(config, {"learning_rate": 1e-4}))


@pytest.mark.parametrize("method", ["ppo", "gala-ppo", "ppo-allreduce", "ppo-async"])
def test_only_vectors_without_pixels_are_normalized(method: str) -> None:
    for seen in OBSERVATIONS:
        config = resolving.resolve(TrainConfig(method=method, env=f"{seen}Continuous-v0"))
        algorithm = config.algorithm
        assert algorithm.normalizes_observations is (seen == "Numbers")
        assert algorithm.normalizes_rewards
        assert algorithm.rollout_steps == 2048


@pytest.mark.parametrize("seen", ["Images", "ImageInDict"])
def test_normalized_pixels_are_refused_where_they_are_asked_for(seen: str) -> None:
    config = TrainConfig(method="ppo", env=f"{seen}Continuous-v0")
    with pytest.raises(UserError, match="--no-normalize-observations"):
        check_config(resolving.with_settings(config, {"normalize_observations": True}))


@pytest.mark.parametrize(
    ("changes", "given", "minibatches"),
    [
        ({}, {}, 32),
        ({"lstm_size": 8}, {}, 1),
        ({"lstm_size": 8, "simulators": 4}, {}, 4),
        ({"lstm_size": 8, "simulators": 64}, {}, 32),
        ({"lstm_size": 8, "simulators": 4}, {"epochs": 3}, 4),
        ({}, {"rollout_steps": 16}, 8),
        ({}, {"rollout_steps": 16, "normalize_advantages": False}, 16),
        ({"simulators": 2}, {"minibatches": 5}, 5),
    ],
)
def test_minibatches_that_were_not_given_are_no_more_than_an_update_has_parts(
    changes: dict[str, Any], given: dict[str, Any], minibatches: int
) -> None:
    config = TrainConfig(method="ppo", env="NumbersContinuous-v0", **changes)
    algorithm = check_config(resolving.with_settings(config, given)).algorithm
    assert isinstance(algorithm, PPOSettings)
    assert algorithm.minibatches == minibatches
    if not given:
        assert resolving.resolve(config).algorithm == algorithm


@pytest.mark.parametrize("changes", [{"lstm_size": 8, "simulators": 4}, {"simulators": 1}])
def test_minibatches_that_were_given_are_refused_where_they_are_too_many(
    changes: dict[str, Any],
) -> None:
    config = TrainConfig(method="ppo", env="NumbersContinuous-v0", **changes)
    given = {"minibatches": 5, "rollout_steps": 8}
    with pytest.raises(UserError, match="minibatches 5 is too many"):
        check_config(resolving.with_settings(config, given))


def test_processes_of_simulators_have_enough_that_were_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolving, "usable_cores", lambda: 8)
    config = TrainConfig(method="ppo", env="NumbersContinuous-v0", simulator_processes=3)
    assert check_config(config).simulators == 3
    config = TrainConfig(method="impala", env="NumbersDiscrete-v0", simulator_processes=6)
    checked = check_config(config)
    assert isinstance(checked.algorithm, ImpalaSettings)
    assert (checked.simulators, checked.algorithm.actors) == (32, 2)


def test_a_deadline_that_was_not_given_has_room_beside_hang_after() -> None:
    config = TrainConfig(method="a2c", env="NumbersDiscrete-v0", simulator_processes=2)
    assert worker_timeouts(check_config(config)) == WorkerTimeouts(20.0, 120.0)
    config = dataclasses.replace(config, hang_after=60.0)
    assert worker_timeouts(check_config(config)) == WorkerTimeouts(15.0, 60.0)


@pytest.mark.parametrize(("actors", "simulators"), [(3, 33), (5, 35), (31, 62), (32, 32)])
def test_simulators_that_were_not_given_can_be_shared_by_the_actors(
    actors: int, simulators: int
) -> None:
    config = resolving.with_settings(TrainConfig(method="impala"), {"actors": actors})
    assert resolving.resolve(config).simulators == simulators
    with pytest.raises(UserError, match="cannot be shared equally"):
        resolving.resolve(dataclasses.replace(config, simulators=actors + 1))

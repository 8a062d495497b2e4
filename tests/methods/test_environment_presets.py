"""Presets of known environments: what they set, what replaces them, and where they end."""

import dataclasses
from typing import Any

import pytest

from gala_rl.checks.config import check_new_config
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods import ALGORITHMS, METHODS, presets
from gala_rl.methods.presets import DEFAULT_STEPS, environment_preset
from gala_rl.methods.resolving import resolve, with_settings


def resolved(**settings: Any) -> Any:
    return resolve(TrainConfig(**settings))


@pytest.mark.parametrize(("algorithm", "name"), presets._PRESETS)
def test_a_preset_has_settings_of_its_algorithm_and_passes_all_checks(
    algorithm: str, name: str
) -> None:
    preset = presets._PRESETS[algorithm, name]
    assert set(preset.settings) <= set(ALGORITHMS[algorithm].__dataclass_fields__)
    # The simulator of LunarLander is in a package of its own.
    env = {"LunarLander": "envpool:LunarLander-v3"}.get(name, f"{name}-v1")
    if ":" in env:
        pytest.importorskip("envpool")
    for method in METHODS:
        if method.settings("discrete").name == algorithm:
            config = check_new_config(TrainConfig(method=method.name, env=env))
            for setting, value in preset.settings.items():
                assert getattr(config.algorithm, setting) == value
            assert config.steps == preset.steps
            assert config.steps >= 20 * config.learners * config.update_agent_steps


def test_a_known_environment_needs_no_number_of_steps() -> None:
    assert resolved(method="gala-a2c", env="CartPole-v1").steps == 500_000
    assert resolved(method="gala-a2c", env="gym-vec:CartPole-v1").steps == 500_000
    assert resolved(method="gala-a2c", env="MountainCar-v0").steps == DEFAULT_STEPS
    assert resolved(method="impala", env="CartPole-v1").steps == DEFAULT_STEPS
    assert resolved(method="gala-a2c").steps == DEFAULT_STEPS


def test_given_settings_count_more() -> None:
    config = TrainConfig(method="ppo", env="Pendulum-v1", steps=1_000, simulators=2)
    own = resolve(with_settings(config, {"discount": 0.5}))
    assert (own.steps, own.simulators) == (1_000, 2)
    assert own.algorithm.discount == 0.5
    assert own.algorithm.learning_rate == 1e-3, "the preset's"
    assert resolve(config, {"learning_rate": 0.5}).algorithm.learning_rate == 0.5


@pytest.mark.parametrize(("learners", "simulators"), [(1, 8), (2, 4), (3, 2), (16, 1)])
def test_learners_share_the_simulators_of_a_preset(learners: int, simulators: int) -> None:
    config = resolved(method="gala-ppo", env="Pendulum-v1", learners=learners)
    assert config.simulators == simulators


@pytest.mark.parametrize(
    "settings",
    [
        {"preset": "paper"},
        {"env_args": {"g": 5.0}},
        {"wrappers": ("gymnasium.wrappers:RescaleAction",)},
        {"env": "make:module:Pendulum-v1"},
        {"env": "Pendulum-v1-hard"},
    ],
)
def test_another_environment_has_the_settings_of_the_method(settings: dict[str, Any]) -> None:
    config = TrainConfig(method="ppo", **{"env": "Pendulum-v1", **settings})
    assert environment_preset(config, "ppo") == presets.EnvironmentPreset()
    known = TrainConfig(method="ppo", env="Pendulum-v1")
    assert environment_preset(known, "ppo").settings


def test_what_contradicts_a_preset_is_refused_as_without_one() -> None:
    config = TrainConfig(method="ppo", env="Pendulum-v1", simulators=1)
    with pytest.raises(UserError, match="minibatches 300 is too many"):
        resolve(config, {"minibatches": 300})
    fitted: Any = resolve(config, {"rollout_steps": 8}).algorithm
    assert fitted.minibatches == 4, "the preset's, as far as an update can be divided"


def test_a_resolved_config_stays_as_it_is() -> None:
    first = resolved(method="ppo", env="Pendulum-v1")
    own = {e.name: getattr(first, e.name) for e in dataclasses.fields(TrainConfig)}
    assert resolve(TrainConfig(**own)) == first

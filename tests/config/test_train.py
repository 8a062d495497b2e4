"""Every setting has a type, a bound and a way to disk and back."""

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gala_rl.config.fields import check
from gala_rl.config.settings import AtariProtocol, GossipSettings
from gala_rl.config.train import TrainConfig, from_dict, to_dict
from gala_rl.errors import UserError
from gala_rl.methods import ALGORITHMS
from gala_rl.methods.a2c import A2CSettings
from gala_rl.records.run_folder import default_run_folder
from gala_rl.spaces import ObservationSpec
from tests.environments import networks

GROUPS: dict[str, Any] = {
    "": TrainConfig,
    "atari": AtariProtocol,
    "algorithm": A2CSettings,
    "gossip": GossipSettings,
}


def settings(*kinds: type) -> list[tuple[str, str]]:
    """(group, field) of every setting that takes one of these types, None not counted."""
    return [
        (group, entry.name)
        for group, kind in GROUPS.items()
        for entry in dataclasses.fields(kind)
        if get_origin(hint := get_type_hints(kind)[entry.name]) not in (tuple, Mapping)
        and set(get_args(hint) or (hint,)) & set(kinds)
    ]


def bounded(bound: str) -> list[tuple[str, str, float]]:
    return [
        (group, entry.name, entry.metadata[bound])
        for group, kind in GROUPS.items()
        for entry in dataclasses.fields(kind)
        if bound in entry.metadata
    ]


def choices() -> list[tuple[str, str]]:
    return [
        (group, entry.name)
        for group, kind in GROUPS.items()
        for entry in dataclasses.fields(kind)
        if get_origin(get_type_hints(kind)[entry.name]) is Literal
    ]


def with_setting(group: str, name: str, value: Any) -> TrainConfig:
    """A config with one setting changed, unchecked."""
    if not group:
        value = (value,) if name == "hidden" and isinstance(value, int) else value
        return dataclasses.replace(TrainConfig(), **{name: value})
    inner = dataclasses.replace(GROUPS[group](), **{name: value})
    outer: dict[str, Any] = {group: inner}
    return dataclasses.replace(TrainConfig(), **outer)


def refusal(group: str, name: str, value: Any) -> str:
    with pytest.raises(UserError) as refused:
        check(with_setting(group, name, value))
    return str(refused.value)


def just_beyond(group: str, name: str, bound: float, direction: int) -> float:
    """The nearest value outside an inclusive bound, of the setting's own type."""
    if (group, name) in settings(float):
        return math.nextafter(bound, direction * math.inf)
    return bound + direction


def test_the_defaults_are_within_their_own_bounds() -> None:
    check(TrainConfig())


def test_the_defaults_are_those_of_the_papers() -> None:
    a2c, atari, gossip = A2CSettings(), AtariProtocol(), GossipSettings()
    assert (a2c.rollout_steps, a2c.discount, a2c.value_cost, a2c.entropy_cost) == (
        5,
        0.99,
        0.5,
        0.01,
    )
    assert (a2c.max_grad_norm, a2c.learning_rate, a2c.rmsprop_decay) == (0.5, 7e-4, 0.99)
    assert (atari.frame_skip, atari.frame_stack, atari.image_size, atari.noop_max) == (4, 4, 84, 30)
    assert (gossip.topology, gossip.when) == ("directed-ring", "auto")
    assert TrainConfig().simulators is None


@pytest.mark.parametrize(("group", "name", "bound"), bounded("minimum"))
def test_no_setting_may_be_below_its_minimum(group: str, name: str, bound: float) -> None:
    check(with_setting(group, name, bound))
    assert f"{name} " in refusal(group, name, just_beyond(group, name, bound, -1))
    assert f"at least {bound}" in refusal(group, name, just_beyond(group, name, bound, -1))


@pytest.mark.parametrize(("group", "name", "bound"), bounded("maximum"))
def test_no_setting_may_be_above_its_maximum(group: str, name: str, bound: float) -> None:
    check(with_setting(group, name, bound))
    assert f"at most {bound}" in refusal(group, name, just_beyond(group, name, bound, 1))


@pytest.mark.parametrize(("group", "name", "bound"), bounded("above"))
def test_settings_that_must_be_positive_may_not_be_zero(
    group: str, name: str, bound: float
) -> None:
    check(with_setting(group, name, math.nextafter(bound, math.inf)))
    assert f"above {bound}" in refusal(group, name, bound)


def test_every_number_has_a_lower_bound() -> None:
    unbounded = set(settings(int, float)) - {
        (group, name) for group, name, _ in bounded("minimum") + bounded("above")
    }
    assert unbounded == set()


@pytest.mark.parametrize(("group", "name"), settings(float))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_must_be_finite(group: str, name: str, value: float) -> None:
    assert f"{name} {value} is not finite" in refusal(group, name, value)


@pytest.mark.parametrize(("group", "name"), settings(float))
def test_numbers_must_fit_into_float32(group: str, name: str) -> None:
    assert f"{name} 1e+38 is too large: it must be at most" in refusal(group, name, 1e38)


@pytest.mark.parametrize(("group", "name"), settings(int, float))
@pytest.mark.parametrize("value", [True, "1", [1]])
def test_numbers_must_be_numbers_and_truth_is_none(group: str, name: str, value: Any) -> None:
    assert f"{name} {value!r} has the wrong type" in refusal(group, name, value)


@pytest.mark.parametrize(("group", "name"), settings(int))
def test_whole_numbers_may_not_be_fractions(group: str, name: str) -> None:
    assert "it must be int" in refusal(group, name, 40.5)


@pytest.mark.parametrize(("group", "name"), settings(float))
def test_a_whole_number_is_a_number_too(group: str, name: str) -> None:
    check(with_setting(group, name, 1))


MAY_BE_UNSET = {"clip_rewards", "life_loss_terminal", "shared_torso"}
"""Switches whose default depends on the method or the environment."""


@pytest.mark.parametrize(("group", "name"), settings(bool))
@pytest.mark.parametrize("value", [1, 0, "yes", None])
def test_switches_must_be_true_or_false(group: str, name: str, value: Any) -> None:
    if value is None and name in MAY_BE_UNSET:
        check(with_setting(group, name, value))
        return
    assert "it must be bool" in refusal(group, name, value)


def test_arguments_must_be_json_by_name() -> None:
    for wrong in (None, 5, [("a", 1)], {"a": {1}}, {"a b": 1}, {"a": float("nan")}, {1: 2}):
        assert "env_args" in refusal("", "env_args", wrong)
    check(TrainConfig(env_args={"size": 8, "map": ["SF", "FG"], "slippery": False, "seed": None}))


@pytest.mark.parametrize(("group", "name"), settings(str))
def test_texts_must_be_texts(group: str, name: str) -> None:
    assert f"{name} 5 has the wrong type" in refusal(group, name, 5)


@pytest.mark.parametrize(("group", "name"), choices())
def test_a_choice_must_be_one_of_those_that_are_listed(group: str, name: str) -> None:
    kind = GROUPS[group]
    for choice in get_args(get_type_hints(kind)[name]):
        check(with_setting(group, name, choice))
        assert choice in refusal(group, name, "neither")


def test_the_choices_are_found() -> None:
    names = {name for _, name in choices()}
    assert names == {
        *("device", "activation", "precision", "message_precision", "optimizer", "when"),
        *("learning_rate_rule", "learning_rate_schedule", "preset"),
    }


def test_only_settings_that_default_to_none_may_be_none() -> None:
    for group, kind in GROUPS.items():
        for entry in dataclasses.fields(kind):
            if dataclasses.is_dataclass(get_type_hints(kind)[entry.name]):
                continue
            if entry.default is None:
                check(with_setting(group, entry.name, None))
            else:
                assert entry.name in refusal(group, entry.name, None)


def test_a_network_has_a_known_name_or_that_of_a_function() -> None:
    for name in ("auto", "small", "shallow", "deep", "my_module:make", "my_module.make"):
        check(TrainConfig(network=name))
    assert refusal("", "network", "huge") == (
        "network 'huge' is unknown: choose one of auto, small, shallow, deep, or give "
        "module:function"
    )


def test_a_function_for_the_network_is_named_if_other_processes_can_import_it() -> None:
    name = "tests.environments.networks"
    assert TrainConfig(network=networks.mlp).network == f"{name}:mlp"
    assert TrainConfig(network=networks.Maker.inner).network == f"{name}:Maker.inner"

    def inner(observation: ObservationSpec) -> None:
        pass

    for wrong in (inner, lambda observation: None, functools.partial(networks.mlp)):
        with pytest.raises(UserError, match=r"^network .*: define it at the top of a module$"):
            TrainConfig(network=wrong)


def test_layers_may_be_given_in_a_list() -> None:
    assert TrainConfig(hidden=[8, 4]) == TrainConfig(hidden=(8, 4))  # type: ignore[arg-type]


def test_a_setting_of_a_group_is_named_with_its_group() -> None:
    assert refusal("algorithm", "discount", 1.5).startswith("algorithm.discount 1.5")


positive = st.floats(1e-6, 1e6)
train_configs = st.builds(
    TrainConfig,
    method=st.text(max_size=20),
    env=st.text(max_size=20),
    steps=st.integers(1, 10**12),
    learners=st.none() | st.integers(1, 64),
    seed=st.integers(0, 2**31 - 1),
    serial=st.booleans(),
    checkpoint_every=positive,
    atari=st.builds(
        AtariProtocol,
        sticky_actions=st.none() | st.floats(0, 1),
        frame_skip=st.integers(1, 8),
        grayscale=st.booleans(),
    ),
    algorithm=st.builds(
        A2CSettings,
        discount=st.floats(0, 1),
        learning_rate=positive,
        optimizer=st.sampled_from(["rmsprop", "rmsprop-tf"]),
    ),
    gossip=st.builds(
        GossipSettings, topology=st.text(max_size=20), max_staleness=st.none() | st.integers(0, 99)
    ),
)


@hypothesis_settings(max_examples=30, deadline=None)
@given(train_configs)
def test_a_config_survives_json(config: TrainConfig) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(config))), ALGORITHMS) == config


def test_what_is_not_written_keeps_its_default() -> None:
    assert from_dict({}, ALGORITHMS) == TrainConfig()
    assert from_dict(
        {"seed": 3, "algorithm": {"name": "a2c", "discount": 0.5}}, ALGORITHMS
    ) == TrainConfig(seed=3, algorithm=A2CSettings(discount=0.5))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sneed": 1}, "unknown setting 'sneed'"),
        ({"gossip": {"sneed": 1}}, "unknown setting gossip.'sneed'"),
        ({"atari": 3}, "must be an object of settings, not 3"),
        ({"atari": []}, "must be an object of settings, not []"),
        ({"steps": 0}, "steps 0 is too small"),
        ({"steps": 1.0}, "steps 1.0 has the wrong type"),
        (
            {"algorithm": {"name": "a2c", "entropy_cost": "0.01"}},
            "algorithm.entropy_cost '0.01' has the wrong type",
        ),
        ({"algorithm": {"discount": 0.9}}, "algorithm.name None is unknown: choose a2c"),
        ({"algorithm": {"name": "a3d"}}, "algorithm.name 'a3d' is unknown: choose a2c"),
        ({"algorithm": "a2c"}, "must be an object of settings, not 'a2c'"),
        ({"device": "tpu"}, "device 'tpu' is unknown: choose one of auto, cpu, cuda"),
    ],
)
def test_a_config_from_elsewhere_is_checked(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as refused:
        from_dict(values, ALGORITHMS)
    assert words in str(refused.value)


def test_a_run_folder_is_named_after_method_environment_and_date() -> None:
    config = TrainConfig(method="a2c", env="ALE/Pong-v5")
    assert default_run_folder(config, "STAMP") == Path("runs/a2c-ALE_Pong-v5-STAMP")


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 1  # type: ignore[misc]

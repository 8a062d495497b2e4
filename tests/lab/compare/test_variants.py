"""Methods with settings of their own: how they are read, and what they change."""

from dataclasses import replace
from typing import Any

import pytest

from gala_lab.compare.compare_options import CompareOptions
from gala_lab.compare.comparison_plan import Plan, configs_of
from gala_lab.compare.variants import read_variant
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError

BASE = TrainConfig(env="CartPole-v1", steps=4_000, learners=2)
NAMES = ("a2c", "a2c:learning_rate=1e-3", "gala-a2c:topology=complete,learners=4,discount=0.5")


def test_settings_follow_the_method() -> None:
    variant = read_variant(NAMES[2])
    assert (variant.name, variant.method) == (NAMES[2], "gala-a2c")
    assert variant.values == {"gossip.topology": "complete", "learners": 4}
    assert variant.algorithm == {"discount": 0.5}
    assert read_variant("a2c").algorithm == {}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("hidden=32,16", {"hidden": (32, 16)}),
        ("hidden=8", {"hidden": (8,)}),
        ("checkpoint_every=60,log_every=1k", {"checkpoint_every": 60, "log_every": 1_000}),
        ("topology=my_module:edges", {"gossip.topology": "my_module:edges"}),
        (
            "mix_optimizer=true,max_staleness=5",
            {"gossip.mix_optimizer": True, "gossip.max_staleness": 5},
        ),
    ],
)
def test_values_are_as_on_the_command_line(text: str, values: dict[str, Any]) -> None:
    assert read_variant(f"gala-a2c:{text}").values == values


def test_a_comparison_trains_one_method_under_two_settings(tmp_path: Any) -> None:
    configs = configs_of(BASE, NAMES, simulators_total=16, algorithm={"value_cost": 0.25})
    plain, faster, several = configs
    assert plain.algorithm.learning_rate == 7e-4
    assert faster.algorithm.learning_rate == 1e-3
    assert (several.learners, several.simulators) == (4, 4)
    assert (several.gossip.topology, several.algorithm.discount) == ("complete", 0.5)
    assert {vars(config.algorithm)["value_cost"] for config in configs} == {0.25}
    plan = Plan(folder=tmp_path, configs=configs, options=CompareOptions(seeds=2), names=NAMES)
    assert list(plan.methods) == list(NAMES)
    folders = [str(run.out) for run in plan.runs]
    assert len(set(folders)) == 6
    assert folders[1] == str(tmp_path / "runs" / "a2c_learning_rate=1e-3-seed-0")


def test_equal_settings_leave_a_method_its_own() -> None:
    _, other = configs_of(
        replace(BASE, learners=None),
        ["a2c:discount=0.5,value_cost=0.1", "ppo:discount=0.9"],
        simulators_total=16,
        settings="equal",
    )
    assert other.algorithm.discount == 0.9
    assert vars(other.algorithm)["value_cost"] == 0.1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a3d:discount=1", "method 'a3d' is unknown"),
        ("a2c:lerning_rate=1", "method 'a2c:lerning_rate=1': setting lerning_rate is unknown"),
        ("a2c:discount=x", "discount 'x' has the wrong type"),
        ("a2c:discount=2", "discount 2 is too large"),
        ("a2c:steps=5", "steps is equal for all methods"),
        ("a2c:simulators=5", "simulators is equal for all methods"),
        ("a2c:method=5", "method is equal for all methods"),
        ("a2c:epochs=5", "epochs is not a setting of a2c"),
        ("gala-a2c:when=now", "choose one of auto, all, any"),
    ],
)
def test_mistakes_name_the_method_and_the_setting(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        configs_of(replace(BASE, learners=None), [name, "a2c"], simulators_total=16)
    assert message in str(error.value)

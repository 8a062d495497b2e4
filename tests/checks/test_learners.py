"""What several learners cannot do together is rejected."""

import dataclasses
from typing import Any

import pytest

from gala_rl import methods
from gala_rl.checks.config import check_config
from gala_rl.config.settings import GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods import resolving
from gala_rl.methods.ppo import PPOSettings


def test_learners_that_step_together_cannot_take_turns() -> None:
    config = TrainConfig(method="a2c-allreduce", learners=2, serial=True)
    with pytest.raises(UserError, match="serial is impossible with a2c-allreduce"):
        check_config(config)
    assert check_config(dataclasses.replace(config, learners=1)).learners == 1
    assert check_config(dataclasses.replace(config, method="a3c")).learners == 2


def test_learners_that_step_together_cannot_stop_after_different_epochs() -> None:
    settings = PPOSettings(target_kl=0.1)
    config = TrainConfig(method="ppo-allreduce", learners=2, algorithm=settings)
    with pytest.raises(UserError, match="target_kl is impossible with ppo-allreduce"):
        check_config(config)
    assert check_config(dataclasses.replace(config, learners=1)).learners == 1
    assert check_config(dataclasses.replace(config, method="ppo-async")).learners == 2


@pytest.mark.parametrize("name", [m.name for m in methods.METHODS])
def test_learners_that_gossip_can_join_and_leave_and_no_others(name: str) -> None:
    config = resolving.resolve(TrainConfig(method=name, env="CartPole-v1"))
    reason = resolving.why_not_scaled(config)
    learners = config.learners
    if methods.find(name).gossips:
        assert reason is None
        assert resolving.capacity(config) == 2 * learners
        return
    assert reason is not None
    assert reason.startswith(name)
    assert reason.endswith(f"these can be scaled: {methods.gossiping()}")
    assert resolving.capacity(config) == learners
    with pytest.raises(UserError, match=rf"max_learners 9 is of no use: {name} .*; leave it out"):
        check_config(dataclasses.replace(config, max_learners=9))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"serial": True}, "take turns in one process; without --serial"),
        ({"gossip": GossipSettings(topology="mine.json")}, "directed-ring, undirected-ring, exp"),
    ],
)
def test_what_else_keeps_learners_from_joining_and_leaving(
    changes: dict[str, Any], words: str
) -> None:
    config = resolving.resolve(TrainConfig(env="CartPole-v1", learners=2, **changes))
    assert words in str(resolving.why_not_scaled(config))
    assert resolving.capacity(config) == 2
    with pytest.raises(UserError, match="max_learners 4 is of no use"):
        check_config(dataclasses.replace(config, max_learners=4))


def test_there_is_room_for_as_many_learners_as_are_asked_for() -> None:
    config = resolving.resolve(TrainConfig(env="CartPole-v1", learners=2, max_learners=7))
    assert resolving.capacity(config) == 7
    assert (
        resolving.capacity(dataclasses.replace(config, max_learners=None, learners=9_000)) == 10_000
    )
    with pytest.raises(UserError, match="max_learners 1 is less than learners 2: use at least"):
        check_config(dataclasses.replace(config, max_learners=1))

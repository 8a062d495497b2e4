"""Options without effect are rejected in a new run, and do not stop an older one."""

import dataclasses
from typing import Any

import pytest

from gala_rl.checks.config import check_config, check_new_config
from gala_rl.config.settings import AtariProtocol, GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError

SHARING = ["a2c-allreduce", "a2c-async", "a3c", "ppo-allreduce", "ppo-async"]
"""Methods whose learners share gradients or parameters."""


@pytest.mark.parametrize("method", SHARING)
@pytest.mark.parametrize(
    ("gossip", "text"),
    [
        (GossipSettings(topology="complete"), "topology complete is of no use"),
        (GossipSettings(mix_optimizer=True), "mix_optimizer True is of no use"),
        (GossipSettings(max_staleness=3), "max_staleness 3 is of no use"),
    ],
)
def test_settings_of_gossip_are_refused_where_learners_do_not_gossip(
    method: str, gossip: GossipSettings, text: str
) -> None:
    with pytest.raises(UserError, match=rf"{text}: learners of {method} .*: gala-a2c"):
        check_new_config(TrainConfig(method=method, gossip=gossip))


@pytest.mark.parametrize("method", ["a2c", "ppo", "impala"])
def test_settings_of_gossip_are_refused_where_there_is_one_learner(method: str) -> None:
    config = TrainConfig(method=method, env="CartPole-v1", gossip=GossipSettings(when="any"))
    line = rf"when any is of no use: {method} has one learner.*; leave it out, .*: gala-a2c, "
    with pytest.raises(UserError, match=line):
        check_new_config(config)
    check_config(config)  # A run that was started with it goes on.


def test_learners_that_gossip_have_settings_of_gossip_even_if_there_is_one_so_far() -> None:
    gossip = GossipSettings(topology="complete", when="any")
    config = TrainConfig(env="CartPole-v1", learners=1, gossip=gossip)
    assert check_new_config(config).gossip == gossip


@pytest.mark.parametrize(
    ("name", "value"), [("frame_stack", 2), ("grayscale", False), ("sticky_actions", 0.25)]
)
def test_options_for_atari_games_are_refused_for_other_environments(name: str, value: Any) -> None:
    protocol = dataclasses.replace(AtariProtocol(), **{name: value})
    config = TrainConfig(method="a2c", env="CartPole-v1", atari=protocol)
    line = rf"{name} {value} is for Atari games, and env 'CartPole-v1' is not one: leave it out"
    with pytest.raises(UserError, match=line):
        check_new_config(config)
    check_config(config)  # A run that was started with it goes on.
    game = dataclasses.replace(config, env="PongNoFrameskip-v4")
    filled_in = dataclasses.replace(protocol, clip_rewards=True, life_loss_terminal=True)
    assert check_new_config(game).atari == filled_in


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("simulator_threads", 2, "simulator_threads 2 is for C"),
        ("simulator_deadline", 1.0, "simulator_deadline 1.0 is of no use without"),
    ],
)
def test_options_of_simulators_are_refused_where_they_have_no_effect(
    name: str, value: Any, line: str
) -> None:
    config = dataclasses.replace(TrainConfig(method="a2c", env="CartPole-v1"), **{name: value})
    with pytest.raises(UserError, match=line):
        check_new_config(config)
    check_config(config)

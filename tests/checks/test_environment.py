"""Options that the environment leaves without effect are rejected."""

import dataclasses
from typing import Any

import pytest

from gala_rl.checks.config import check_config, check_new_config
from gala_rl.config.run import TrainConfig
from gala_rl.config.settings import AtariProtocol
from gala_rl.errors import UserError


@pytest.mark.parametrize(
    ("name", "value"), [("frame_stack", 2), ("grayscale", False), ("sticky_actions", 0.25)]
)
def test_options_for_atari_games_are_refused_for_other_environments(name: str, value: Any) -> None:
    protocol = dataclasses.replace(AtariProtocol(), **{name: value})
    config = TrainConfig(method="a2c", env="CartPole-v1", atari=protocol)
    line = rf"{name} {value} is for Atari games, and env 'CartPole-v1' is none: leave it out"
    with pytest.raises(UserError, match=line):
        check_new_config(config)
    check_config(config)  # A run that was started with it goes on.
    game = dataclasses.replace(config, env="PongNoFrameskip-v4")
    assert check_new_config(game).atari == protocol

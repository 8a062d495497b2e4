"""Settings of Q-learning: presets, what is filled in, and what is refused with a remedy."""

from typing import Any

import pytest

from gala_rl.checks.config import check_new_config
from gala_rl.config.settings import AtariProtocol
from gala_rl.config.train import TrainConfig, from_dict, to_dict
from gala_rl.errors import UserError
from gala_rl.methods import ALGORITHMS, METHODS
from gala_rl.methods.resolving import resolve

GAME, VECTOR = "PongNoFrameskip-v4", "CartPole-v1"
NAMES = [method.name for method in METHODS if method.learns_action_values]


def test_there_is_a_gossiping_form_of_each_algorithm() -> None:
    assert sorted(NAMES) == ["dqn", "gala-dqn", "gala-r2d2", "r2d2"]


@pytest.mark.parametrize("env", [GAME, VECTOR])
@pytest.mark.parametrize("name", NAMES)
def test_presets_pass_all_checks_and_are_read_again(name: str, env: str) -> None:
    config = check_new_config(TrainConfig(method=name, env=env))
    again = from_dict(to_dict(config), ALGORITHMS)
    assert resolve(again) == config


def test_r2d2_has_a_memory_and_sees_whole_games_and_raw_rewards() -> None:
    for name in NAMES:
        config = resolve(TrainConfig(method=name, env=GAME))
        is_recurrent = name.endswith("r2d2")
        assert config.lstm_size == (512 if is_recurrent else 0)
        assert config.atari.clip_rewards is not is_recurrent
        assert config.atari.life_loss_terminal is not is_recurrent
    assert resolve(TrainConfig(method="r2d2", env=VECTOR)).lstm_size == 64
    without = resolve(TrainConfig(method="r2d2", env=VECTOR, lstm_size=0))
    assert without.lstm_size == 0
    assert resolve(from_dict(to_dict(without), ALGORITHMS)) == without
    clipped = TrainConfig(method="r2d2", env=GAME, atari=AtariProtocol(clip_rewards=True))
    assert resolve(clipped).atari == AtariProtocol(clip_rewards=True, life_loss_terminal=False)


@pytest.mark.parametrize(
    ("method", "settings", "line"),
    [
        ("dqn", {"min_replay": 63}, "min_replay 63 is too small: a batch learns from 64"),
        ("r2d2", {"batch_size": 500}, "batch learns from 5,000 agent steps (batch_size 500 x 10)"),
        ("dqn", {"replay_size": 1999}, "min_replay 1,000 is too large for replay_size 1,999"),
        ("dqn", {"rollout_steps": 2000}, "replay_size 50,000 is too small for rollouts of 2,000"),
        ("dqn", {"replay_size": 10**10}, "replay_size 10,000,000,000 x learners 1 needs"),
        ("r2d2", {"burn_in": 20}, "burn_in 20 is too long for sequence_length 20"),
        ("dqn", {"replay_ratio": 0}, "replay_ratio 0 is too small"),
        ("dqn", {"replay_ratio": 1e6}, "replay_ratio 1e+06 cannot be held"),
        ("dqn", {"replay_ratio": 1e-300}, "steps 40,000,000 is too few: dqn makes no gradient"),
        ("r2d2", {"sequence_length": 10**5, "burn_in": 99_999}, "use at least 1,600,112"),
        ("dqn", {"n_step": 0}, "n_step 0 is too small"),
        (
            "dqn",
            {"categorical": True, "lowest_value": 3.0, "highest_value": 3.0},
            "lowest_value 3 is not below highest_value 3",
        ),
        ("dqn", {"atoms": 11}, "atoms has no effect on a network that predicts no distribution"),
        ("r2d2", {"final_epsilon": 0.1}, "final_epsilon has no effect on exploration ladder"),
    ],
)
def test_settings_that_cannot_work_get_one_line(
    method: str, settings: dict[str, Any], line: str
) -> None:
    config = TrainConfig(method=method, env=VECTOR)
    with pytest.raises(UserError) as refusal:
        check_new_config(config, settings)
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        ("dqn", {"env": "Pendulum-v1"}, ("continuous actions", "gala-a2c, a2c")),
        ("r2d2", {"env": "tests.environments:Parts-v0"}, ("discrete actions at once", "a2c")),
        ("dqn", {"lstm_size": 8}, ("lstm_size is impossible with dqn", "r2d2")),
        ("dqn", {"env": GAME, "simulator_groups": 2}, ("simulator_groups 2", "leave it out")),
        ("gala-dqn", {"cluster": "auto"}, ("needs --learners",)),
        ("r2d2", {"cluster": "auto"}, ("needs --actors",)),
        ("dqn", {"steps": 1_007}, ("steps 1,007 is too few", "before 1,008", "min_replay")),
        ("gala-dqn", {"steps": 2_015, "learners": 2}, ("steps 2,015", "before 2,016")),
    ],
)
def test_what_action_values_cannot_do_is_refused(
    method: str, changes: dict[str, Any], words: tuple[str, str]
) -> None:
    config = TrainConfig(**({"method": method, "env": VECTOR} | changes))
    with pytest.raises(UserError) as refusal:
        check_new_config(config)
    for word in words:
        assert word in str(refusal.value)

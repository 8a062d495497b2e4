"""A network of the user is built twice and tried before a run starts."""

from typing import Any

import pytest

from gala_rl.checks.config import check_config
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from tests.environments import networks


def refusal(method: str = "a2c", **settings: Any) -> str:
    config = TrainConfig(method=method, env="CartPole-v1", **settings)
    with pytest.raises(UserError) as refused:
        check_config(config)
    return str(refused.value)


@pytest.mark.parametrize("function", [networks.mlp, networks.lazy, networks.Torso])
@pytest.mark.parametrize("options", [{}, {"lstm_size": 8}, {"shared_torso": True}])
def test_a_network_that_can_be_used_passes(function: Any, options: dict[str, Any]) -> None:
    for method in ("a2c", "r2d2"):
        if method == "r2d2" and "shared_torso" in options:
            continue
        config = TrainConfig(method=method, env="CartPole-v1", network=function, **options)
        assert check_config(config).network == f"{networks.__name__}:{function.__name__}"


def test_what_its_module_does_wrong_is_said() -> None:
    words = refusal(network=networks.with_batch_norm)
    assert words.startswith(f"network '{networks.__name__}:with_batch_norm' has the buffer")


def test_a_module_may_not_be_returned_twice() -> None:
    for is_shared in (True, False):
        words = refusal(network=networks.the_same, shared_torso=is_shared)
        assert "returns the same parameters at each call" in words


def test_initial_parameters_must_be_the_same_at_each_call() -> None:
    assert "builds other initial parameters at each call" in refusal(network=networks.unseeded)


def test_what_is_no_function_is_refused() -> None:
    assert "is int, which cannot be called" in refusal(network=f"{networks.__name__}:NO_FUNCTION")


def test_no_layers_are_too_few() -> None:
    assert refusal(hidden=()) == "hidden has no layers: give the units of one at least"


def test_a_q_network_has_no_second_torso() -> None:
    assert "shared_torso is of no use with dqn" in refusal("dqn", shared_torso=True)

"""Environments of the calling program: entries sent to its processes, and refused ones."""

import threading
from collections.abc import Iterator
from typing import Any

import gymnasium
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from gala_rl.app.caller import check_may_train
from gala_rl.config.train import TrainConfig
from gala_rl.envs.registration import check_sendable, is_defined_in_main, registry_entries
from gala_rl.errors import UserError

OWN = "Own-v0"
CART_POLE: Any = CartPoleEnv


class _OfMain(CartPoleEnv):
    """Stands for one that the main program defines."""


_OfMain.__module__ = "__main__"
OfMain: Any = _OfMain


class OfAModuleThatIsGone(CartPoleEnv):
    """Stands for one of a module that only this process has."""


OfAModuleThatIsGone.__module__ = "made_up_at_run_time"


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    before = dict(gymnasium.registry)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def sent(env_id: str) -> list[str]:
    return [wrapper.fn.id for wrapper in registry_entries(env_id).specs]  # type: ignore[attr-defined]


def test_the_environment_is_sent_and_what_else_the_program_defines() -> None:
    gymnasium.register("Inner-v0", OfMain)
    gymnasium.register("Misspelt-v0", "__main__:Iner")
    gymnasium.register(OWN, CART_POLE)
    assert sorted(sent(OWN)) == ["Inner-v0", OWN]
    assert sent("some_module:Other-v0") == ["Inner-v0"]
    assert (is_defined_in_main("Inner-v0"), is_defined_in_main(OWN)) == (True, False)


def test_what_a_process_knows_already_is_left_as_it_is() -> None:
    gymnasium.register(OWN, OfMain)
    entries = registry_entries(OWN)
    gymnasium.registry[OWN] = known = gymnasium.registry["CartPole-v1"]
    entries.register()
    assert gymnasium.registry[OWN] is known
    del gymnasium.registry[OWN]
    entries.register()
    gymnasium.make(OWN).close()


def with_a_lock() -> Any:
    lock = threading.Lock()
    return lambda: CartPoleEnv() if lock else None


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (with_a_lock(), "TypeError: cannot pickle '_thread.lock' object"),
        (OfAModuleThatIsGone, "there is no module made_up_at_run_time"),
    ],
)
def test_one_that_cannot_be_sent_is_refused_and_does_not_hinder_others(
    entry: Any, why: str
) -> None:
    gymnasium.register(OWN, entry)
    config = TrainConfig(env=OWN, learners=1)
    with pytest.raises(UserError, match=rf"'{OWN}' .*{why}.*env='module:{OWN}'.*serial=True"):
        check_may_train(config)
    assert sent(OWN) == []
    check_sendable("CartPole-v1")
    assert sent("CartPole-v1") == ["CartPole-v1"]
    check_may_train(TrainConfig(env=OWN, serial=True))


def test_other_machines_cannot_have_what_the_main_program_defines() -> None:
    gymnasium.register(OWN, OfMain)
    with pytest.raises(UserError, match=r"other machines do not have.*env='module:Own-v0'"):
        check_may_train(TrainConfig(env=OWN, cluster="auto"))
    check_may_train(TrainConfig(env="CartPole-v1", cluster="auto"))

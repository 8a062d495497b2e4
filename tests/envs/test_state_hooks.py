"""Hooks by which environments save their state: what does not fit them saves nothing."""

import logging
from typing import Any

import gymnasium
import pytest

from tests.envs.returning import GOOD, Returning, showing, simulators


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))


class Foreign(Returning):
    """Has hooks of other packages' names."""

    def get_state(self, agent_id: int) -> None:
        raise AssertionError("not for us")

    def set_state(self) -> None:
        raise AssertionError("not for us")


def _takes_more(env: Any, agent_id: int) -> dict[str, Any]:
    return {}


def _takes_one(env: Any, state: Any) -> None:
    """As it should be."""


@pytest.mark.parametrize(
    ("hooks", "why"),
    [
        ({}, ""),
        ({"gala_get_state": lambda env: {}}, "gala_set_state"),
        ({"gala_get_state": _takes_more, "gala_set_state": _takes_one}, "agent_id"),
        ({"gala_get_state": lambda env: {}, "gala_set_state": lambda env: None}, "too many"),
        ({"gala_get_state": lambda env: [1], "gala_set_state": _takes_one}, "not a dict"),
        ({"gala_get_state": lambda env: {"a": "b"}, "gala_set_state": _takes_one}, "as 'a'"),
        ({"gala_get_state": lambda env: {1: 2}, "gala_set_state": _takes_one}, "as 1"),
    ],
)
def test_invalid_hooks_save_nothing_and_break_nothing(
    hooks: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    made, _ = simulators(showing(GOOD), base=Foreign, **hooks)
    made.reset(0)
    assert made.get_state() is None
    assert (why in caplog.text) if why else not caplog.text

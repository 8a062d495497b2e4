"""Environments of these tests are known to Gymnasium."""

from typing import Any

import gymnasium
import pytest

from tests.support.made_up_simulators import KINDS


@pytest.fixture(scope="module", autouse=True)
def registered() -> Any:
    for name, (kind, observations, actions) in KINDS.items():
        gymnasium.register(
            f"{name}-v0",
            kind,  # type: ignore[arg-type]
            disable_env_checker=True,
            kwargs={"observations": observations, "actions": actions},
        )
    yield
    for name in KINDS:
        del gymnasium.registry[f"{name}-v0"]

"""For all tests: their order, one torch thread, and machines of a cluster for those that ask."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.cluster.machines import Machines


LONGEST = ("test_docs.py", "test_security.py")

# How long an example takes says nothing where tests share cores with processes of others.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run beside one another, one process has the machines of a cluster.

    Long tests come first, so that no worker waits for the last of another.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:
        if "machines" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("machines"))


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """A second only gets in the way of tiny networks."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def machines() -> "Iterator[Machines]":
    """Two machines with two CPUs each, started once: processes and ports of their own."""
    from tests.cluster.machines import ROOT, Machines

    with pytest.MonkeyPatch.context() as patch:
        # Learners import environments of the tests; by default Ray's workers give way to others.
        # Not with an empty part, which would be the current folder.
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.delenv("RAY_ADDRESS", raising=False)
        running = Machines(2)
        yield running
        running.close()

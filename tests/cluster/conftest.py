"""Machines of a Ray cluster, all of them on this one: processes and ports of their own."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.machines import ROOT, Machines


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """Two machines with two CPUs each."""
    with pytest.MonkeyPatch.context() as patch:
        # Learners import environments of the tests; by default Ray's workers are nice to others.
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        # A head that is started on each machine by its own command knows nothing of this process.
        patch.delenv("RAY_ADDRESS", raising=False)
        running = Machines(2)
        yield running
        running.close()

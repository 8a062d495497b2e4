"""Learners of these tests use one thread."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny networks are no work for two threads, and with one their sums have one order."""
    monkeypatch.setattr("gala_rl.config.resolved.usable_cores", lambda: 1)

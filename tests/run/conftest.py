"""Runs of these tests use one thread in turn, and are looked at often by those who supervise."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks this small are no work for two threads, least of all on a busy machine."""
    monkeypatch.setattr("gala_rl.config.resolved.usable_cores", lambda: 1)


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a script waits for, it should not miss by a fifth of a second or more each time."""
    monkeypatch.setattr("gala_rl.run.supervision._POLL_EVERY_S", 0.05)
    monkeypatch.setattr("gala_rl.run.consensus_monitor._SAMPLE_EVERY_S", 0.1)
    monkeypatch.setattr("gala_rl.run.consensus_monitor._CPU_SHARE", 0.1)

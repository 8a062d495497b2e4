"""Serial runs of these tests use one thread."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks this small are no work for two threads, least of all on a busy machine."""
    monkeypatch.setattr("gala_rl.config.resolved.usable_cores", lambda: 1)

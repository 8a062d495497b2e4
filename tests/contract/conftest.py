"""Shared memory with the checksums that some processors need, and without."""

import pytest

from gala_rl.gossip.transports import shared


@pytest.fixture(params=[False, True], ids=["ordered", "checksums"])
def checksums(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(shared, "_USES_CHECKSUMS", request.param)
    return bool(request.param)

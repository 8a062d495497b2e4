"""Simulators of these tests misbehave on demand, and say so in the log alone."""

import logging
from pathlib import Path

import pytest


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TROUBLE", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

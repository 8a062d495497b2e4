"""Signals that ask a run to stop: whenever they come, what was learned is saved."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gala_rl.app.train import train
from gala_rl.records import checkpoint
from gala_rl.records.files import read_json
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.interrupts import Interrupts
from gala_rl.run.learner_spec import FINAL
from tests.support.run_processes import CONFIG, GIVE_UP_S, start_command, wait_until
from tests.support.run_records import newest

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class UncaughtError(Exception):
    """A signal without a handler."""


@pytest.fixture(autouse=True)
def _signals_are_errors() -> Iterator[None]:
    """Instead of ending the tests."""

    def refuse(number: int, frame: object) -> None:
        raise UncaughtError(number)

    before = {number: signal.signal(number, refuse) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_is_counted_and_a_second_stops_at_once(number: signal.Signals) -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), number)
        assert interrupts.count == 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(UncaughtError):
        os.kill(os.getpid(), number)


def test_a_terminal_that_says_twice_that_it_is_closed_stops_nothing_at_once() -> None:
    with Interrupts() as interrupts:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
    assert interrupts.count == 1


def test_who_was_started_to_ignore_a_closed_terminal_does_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGHUP)
    assert interrupts.count == 0
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(n, marks=pytest.mark.slow) for n in SIGNALS[1:])],
)
@pytest.mark.parametrize("serial", [False, True])
def test_a_signal_while_the_last_checkpoint_is_written_costs_nothing(
    number: signal.Signals, serial: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = checkpoint.complete

    def complete_disturbed(folder: Path, agent_steps: int, *others: Any) -> Path:
        # The first is made after the first update.
        if folder.name.endswith(FINAL) or (serial and agent_steps >= 100):
            os.kill(os.getpid(), number)
        return complete(folder, agent_steps, *others)

    monkeypatch.setattr(checkpoint, "complete", complete_disturbed)
    config = replace(CONFIG, learners=1, steps=100, serial=serial, out=str(tmp_path / "run"))
    summary = train(config)
    assert newest(RunFolder(tmp_path / "run")).agent_steps == summary["agent_steps"] >= 100
    assert not summary["interrupted"], "all had been done"


def test_closing_the_terminal_leaves_a_checkpoint(tmp_path: Path) -> None:
    process = start_command(tmp_path / "run")
    for _ in range(2):
        os.killpg(process.pid, signal.SIGHUP)  # as a shell tells all of a job
    assert process.wait(GIVE_UP_S) == 130
    assert read_json(tmp_path / "run" / "summary.json")["restarts"] == 0
    saved = newest(RunFolder(tmp_path / "run"))
    assert saved.learners() == [0, 1]
    assert all(saved.load(rank).counters["updates"] > 0 for rank in range(2))


def test_a_run_that_was_started_with_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as it is handed down to what is started
    process = start_command(tmp_path / "run")
    rows = RunFolder(tmp_path / "run").metrics_file(0)
    os.killpg(process.pid, signal.SIGHUP)
    size = rows.stat().st_size
    wait_until(lambda: rows.stat().st_size > size)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(GIVE_UP_S) == 130

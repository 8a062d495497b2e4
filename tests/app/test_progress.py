"""Progress is plain lines in a file and a table in a terminal, and its numbers are right."""

import contextlib
import io
import os
import pty
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from gala_rl.app import progress
from gala_rl.app.progress import Progress, quiet_on_errors
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.run.status import RunStatus

CONFIG = resolve(TrainConfig(env="CartPole-v1", steps=10_000, learners=2))


@dataclass
class Clock:
    """A clock that a test advances."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def status(*agent_steps: int, **changes: Any) -> RunStatus:
    count = len(agent_steps)
    values: dict[str, Any] = {
        "agent_steps": list(agent_steps),
        "updates": [0] * count,
        "alive": [True] * count,
        "restarts": [0] * count,
    }
    return RunStatus(**(values | changes))


def row(mixes: int, updates: int, staleness: int, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"mixes": mixes, "updates": updates, "staleness_updates": staleness}
    return values | {"rejected": {}, "overdue": 0, "simulator_failures": 0} | changes


def plain(done_before: int = 0, frames_per_step: int = 1) -> tuple[Progress, io.StringIO]:
    file = io.StringIO()
    return Progress(CONFIG, frames_per_step, done_before, Console(file=file, width=60)), file


def test_a_line_tells_how_far_how_fast_and_how_long(clock: Clock) -> None:
    shown, file = plain(frames_per_step=4)
    clock.now += 10
    latest = {0: row(8, 10, 2), 1: row(10, 10, 0)}
    shown.show(status(600, 400), 21.46, latest)
    assert file.getvalue() == (
        "agent steps 1,000 of 10,000 (10%) | steps/s 100 | left 1m30s | mean return 21.5 | "
        "mixed 90%\n"
    )


def test_before_anything_happened_nothing_is_divided_by_zero(clock: Clock) -> None:
    shown, file = plain()
    shown.show(status(0, 0), None, {})
    assert file.getvalue() == (
        "agent steps 0 of 10,000 (0%) | steps/s 0 | mean return none yet | mixed -\n"
    )


def panel(*args: Any, config: ResolvedConfig = CONFIG, **options: Any) -> dict[str, str]:
    """Items that a terminal shows, by name."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, legacy_windows=False)
    with Progress(config, 4, 0, console) as shown:
        shown.show(*args, **options)
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue()).rpartition("gala-a2c on")[2]
    cells = [line.split("│")[1:3] for line in last.splitlines() if line.count("│") == 3]
    return {name.strip(): value.strip() for name, value in cells}


def test_how_far_learners_are_apart_is_told_once_it_is_known() -> None:
    assert "apart" not in panel(status(10, 10), None, {})
    known = {"consensus_rms": 0.12345, "consensus_rms_bound": 1.5}
    assert panel(status(10, 10, consensus=known), None, {})["apart"] == "0.123 rms, at most 1.5"
    known["consensus_rms_bound"] = None  # type: ignore[assignment]
    assert panel(status(20, 20, consensus=known), None, {})["apart"] == "0.123 rms"


def test_a_panel_has_the_staleness_of_each_learner_or_the_most_of_many() -> None:
    latest = {0: row(8, 10, 2), 1: row(10, 10, 0)}
    assert panel(status(6, 4), None, latest)["staleness"] == "2, 0"
    assert panel(status(6, 4), None, {1: row(1, 1, 7)})["staleness"] == "-, 7"
    many = {rank: row(1, 1, rank) for rank in range(20)}
    assert panel(status(*[6] * 32), None, many)["staleness"] == "at most 19"


def test_learners_that_ended_as_the_run_did_are_not_missing(clock: Clock) -> None:
    ended = [False, False]
    assert panel(status(5, 5, alive=[True, True]), None, {})["learners"] == "2"
    assert panel(status(5, 5, alive=[True, False]), None, {})["learners"] == "1 of 2"
    # All steps are made: learners end one after the other.
    assert panel(status(5_000, 5_000, alive=[True, False]), None, {})["learners"] == "2"
    assert panel(status(5_000, 5_000, alive=ended), None, {})["learners"] == "2"
    # It was stopped before.
    assert panel(status(5, 5, alive=ended), None, {}, has_ended=True)["learners"] == "2"
    shown, file = plain()
    shown.show(status(5_000, 5_000, alive=ended), None, {})
    assert "learners" not in file.getvalue()


def test_an_ordinary_line_is_short(clock: Clock) -> None:
    file = io.StringIO()
    config = resolve(TrainConfig(env="CartPole-v1", steps=40_000_000, learners=64))
    shown = Progress(config, 4, 12_000_000, Console(file=file))
    clock.now += 10
    known = {"consensus_rms": 0.12345, "consensus_rms_bound": 1.5}
    steps = status(*[200_000] * 64, consensus=known)
    shown.show(steps, -20.1, {rank: row(97, 100, 3) for rank in range(64)})
    assert len(file.getvalue()) <= 110


def test_a_single_learner_has_nobody_to_mix_with(clock: Clock) -> None:
    shown, file = plain()
    shown.show(status(5), 0.0, {0: row(0, 1, 0)})
    assert "mean return 0.00\n" in file.getvalue()
    assert "mixed" not in file.getvalue()


def test_restarts_and_dead_learners_are_told(clock: Clock) -> None:
    shown, file = plain()
    shown.show(status(5, 5, alive=[True, False], restarts=[0, 3]), None, {})
    assert "learners 1 of 2" in file.getvalue()
    assert file.getvalue().endswith("restarts 3\n")
    assert panel(status(5, 5, restarts=[0, 3]), None, {})["restarts"] == "3"


def test_rejected_messages_and_waits_in_vain_are_told(clock: Clock) -> None:
    shown, file = plain()
    latest = {
        0: row(1, 2, 0, rejected={"not finite": 3, "not newer": 1}),
        1: row(1, 2, 0, rejected={"not finite": 1}, overdue=2),
    }
    shown.show(status(5, 5), None, latest)
    assert file.getvalue().endswith("mixed 50% | rejected messages 5 | waits given up 2\n")


def test_failures_of_simulators_are_told(clock: Clock) -> None:
    shown, file = plain()
    latest = {0: row(1, 2, 0, simulator_failures=3), 1: row(1, 2, 0, simulator_failures=1)}
    shown.show(status(5, 5), None, latest)
    assert file.getvalue().endswith("mixed 50% | simulator failures 4\n")


def test_what_was_done_before_does_not_count_for_speed(clock: Clock) -> None:
    shown, file = plain(done_before=5_000)
    clock.now += 10
    shown.show(status(2_600, 2_500), None, {})
    assert "agent steps 5,100 of 10,000 (51%) | steps/s 10 | left 8m10s" in file.getvalue()


def test_the_speed_is_that_of_the_last_half_minute(clock: Clock) -> None:
    shown, file = plain()
    for seconds in range(0, 100, 10):
        clock.now += 10
        # A hundred a second for a minute, then ten.
        done = 100 * min(seconds + 10, 60) + 10 * max(0, seconds - 50)
        shown.show(status(done, 0), None, {})
    assert "| steps/s 10 |" in file.getvalue().splitlines()[-1]


def test_more_than_all_is_all_and_takes_no_time(clock: Clock) -> None:
    shown, file = plain()
    clock.now += 100
    shown.show(status(10_040, 0), None, {})
    assert "(100%)" in file.getvalue()
    assert "left 0m00s" in file.getvalue()


def test_hours_are_told_as_hours(clock: Clock) -> None:
    shown, file = plain()
    clock.now += 10
    shown.show(status(10, 0), None, {})
    assert "left 2h46m" in file.getvalue()


def test_lines_come_every_ten_seconds_and_no_more_often(clock: Clock) -> None:
    shown, file = plain()
    for _ in range(50):
        shown.show(status(0, 0), None, {})
        clock.now += 0.5
    assert file.getvalue().count("\n") == 3


def test_notices_come_at_once_and_as_they_are(clock: Clock) -> None:
    shown, file = plain()
    shown.show(status(0, 0), None, {})
    before = file.getvalue()
    shown.show(status(0, 0, notices=["learner 1 [red]died[/red]"]), None, {})
    assert file.getvalue() == before + "learner 1 [red]died[/red]\n"


def test_a_line_is_never_broken_and_has_no_colour(clock: Clock) -> None:
    shown, file = plain(frames_per_step=4)
    with shown:
        shown.show(status(1, 1), 5.0, {0: row(1, 1, 0), 1: row(1, 1, 0)})
    assert file.getvalue().count("\n") == 1
    assert "\x1b" not in file.getvalue()


def test_a_terminal_shows_a_table_that_is_redrawn(clock: Clock) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, legacy_windows=False)
    with Progress(CONFIG, 4, 0, console) as shown:
        clock.now += 10
        shown.show(status(600, 400), 21.46, {0: row(8, 10, 2), 1: row(10, 10, 0)})
        clock.now += 1
        shown.show(status(700, 500, notices=["learner 1 died"]), 22.0, {})
    text = file.getvalue()
    assert "gala-a2c on CartPole-v1" in text
    for word in ("agent steps", "1,200 of 10,000", "frames/s", "22.0", "learner 1 died"):
        assert word in text
    assert "│" in text
    assert " | " not in text
    # The cursor was hidden for the table and is there again.
    assert text.index("\x1b[?25l") < text.rindex("\x1b[?25h")


def test_the_cursor_comes_back_after_an_error() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    with pytest.raises(KeyboardInterrupt), Progress(CONFIG, 1, 0, console):
        raise KeyboardInterrupt
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().index("\x1b[?25l")


def full_disk() -> io.TextIOWrapper:
    return Path("/dev/full").open("w", encoding="utf-8")


def pipe_to_nobody() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="utf-8")


def closed_terminal() -> io.TextIOWrapper:
    master, terminal = pty.openpty()
    os.close(master)
    return os.fdopen(terminal, "w", encoding="utf-8")


def ascii_only() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


@pytest.mark.parametrize("make", [full_disk, pipe_to_nobody, closed_terminal, ascii_only])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_console_that_cannot_be_written_is_silent_from_then_on(
    make: Callable[[], io.TextIOWrapper],
    is_terminal: bool,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Rich leads standard output to nowhere when a pipe breaks; that of the tests is needed.
    file = make()
    monkeypatch.setattr("sys.stdout", file)
    console = Console(file=file, force_terminal=is_terminal, legacy_windows=False)
    with Progress(CONFIG, 1, 0, console) as shown:
        for _ in range(3):
            shown.show(status(5, 5, notices=["learner 1 died…"]), 0.0, {})
            clock.now += 11
    assert console.quiet
    # What could not be written would be tried once more by closing it.
    with contextlib.suppress(OSError):
        file.close()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), KeyError("mistake")])
def test_what_is_no_trouble_of_the_console_is_not_hidden(error: BaseException) -> None:
    console = Console(file=io.StringIO())
    with pytest.raises(type(error)), quiet_on_errors(console):
        raise error
    assert not console.quiet

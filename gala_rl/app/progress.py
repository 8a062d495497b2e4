"""Shows the progress of a run: a panel in a terminal, plain lines in other output."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import printable
from gala_rl.methods import find
from gala_rl.records.metrics import score_text
from gala_rl.run.status import RunStatus

_PLAIN_LINE_EVERY_S = 10.0
_REDRAW_EVERY_S = 0.25
_ONLY_IN_PANEL = ("frames/s", "staleness", "apart")
"""Items that plain lines leave out, for want of room."""
_MAX_LISTED = 8
"""With more learners, only the largest staleness is shown."""


@contextmanager
def quiet_on_errors(console: Console) -> Iterator[None]:
    """Silence a console after its first error.

    A run must not end because the reader of its output has exited, or because the disk is full.
    """
    try:
        yield
    except (OSError, UnicodeError, SystemExit) as error:
        # Rich exits on a broken pipe.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        console.quiet = True


class Progress:
    """Shows a run's progress; use as a context manager.

    Args:
        config: resolved config of the run.
        frames_per_step: emulator frames per agent step.
        done_before: agent steps made before this process started.
        console: console to write to.

    Attributes:
        evaluated: mean return of the newest evaluation; None before the first.
    """

    def __init__(
        self, config: ResolvedConfig, frames_per_step: int, done_before: int, console: Console
    ) -> None:
        self._config = config
        self._frames_per_step = frames_per_step
        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._samples = [(time.monotonic(), done_before)]
        self._next_line = time.monotonic()
        self.evaluated: float | None = None

    def __enter__(self) -> "Progress":
        if self._live is not None:
            with quiet_on_errors(self._console):
                self._live.start()
            if self._console.quiet:
                self._live = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            with quiet_on_errors(self._console):
                self._live.stop()

    def print_line(self, line: str) -> None:
        """Print a line at once."""
        with quiet_on_errors(self._console):
            self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def show(
        self,
        status: RunStatus,
        mean_return: float | None,
        latest: dict[int, dict[str, Any]],
        *,
        has_ended: bool = False,
    ) -> None:
        """Print notices, and update the panel or print a plain line if one is due.

        Args:
            status: status of the run.
            mean_return: mean raw return of the last full games of all learners.
            latest: newest metrics row per learner.
            has_ended: whether the run has ended, so that no learner counts as missing.
        """
        for notice in status.notices:
            self.print_line(notice)
        now = time.monotonic()
        self._samples.append((now, status.total_agent_steps))
        # The rate is measured over the last half minute.
        while len(self._samples) > 2 and now - self._samples[0][0] > 30:
            self._samples.pop(0)
        count, alive = len(status.alive), sum(status.alive)
        is_whole = alive == count or has_ended or status.total_agent_steps >= self._config.steps
        learners = str(count) if is_whole else f"{alive} of {count}"
        items = self._items(status, mean_return, latest, learners)
        if self._live is not None:
            self._live.update(self._table(items))
        elif now >= self._next_line:
            self._next_line = now + _PLAIN_LINE_EVERY_S
            left_out = _ONLY_IN_PANEL if not is_whole else (*_ONLY_IN_PANEL, "learners")
            shown = [f"{name} {value}" for name, value in items.items() if name not in left_out]
            self.print_line(" | ".join(shown))

    def _items(
        self,
        status: RunStatus,
        mean_return: float | None,
        latest: dict[int, dict[str, Any]],
        learners: str,
    ) -> dict[str, str]:
        total, goal = status.total_agent_steps, self._config.steps
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        rate = (after - before) / (end - start) if end > start else 0.0
        items = {
            "agent steps": f"{total:,} of {goal:,} ({min(1.0, total / goal):.0%})",
            "steps/s": f"{rate:,.0f}",
        }
        if self._frames_per_step > 1:
            items["frames/s"] = f"{rate * self._frames_per_step:,.0f}"
        if rate > 0:
            items["left"] = _duration((goal - total) / rate)
        items["mean return"] = self._scores(mean_return)
        if len(status.alive) > 1:
            items["learners"] = learners
        if len(status.alive) > 1 and find(self._config.method).gossips:
            mixes = sum(row["mixes"] for row in latest.values())
            updates = sum(row["updates"] for row in latest.values())
            items["mixed"] = f"{mixes / updates:.0%}" if updates else "-"
            items["staleness"] = _staleness(latest, len(status.alive))
        if status.consensus is not None:
            items["apart"] = _apart(status.consensus)
        # Rare events are shown only if they have happened.
        if rejected := sum(sum(row["rejected"].values()) for row in latest.values()):
            items["rejected messages"] = f"{rejected:,}"
        if overdue := sum(row["overdue"] for row in latest.values()):
            items["waits given up"] = f"{overdue:,}"
        if failures := sum(row["simulator_failures"] for row in latest.values()):
            items["simulator failures"] = f"{failures:,}"
        if any(status.restarts):
            items["restarts"] = str(sum(status.restarts))
        return items

    def _scores(self, mean_return: float | None) -> str:
        """Return the mean return in training, and that of the newest evaluation if there is one."""
        shown = "none yet" if mean_return is None else score_text(mean_return)
        return (
            shown if self.evaluated is None else f"{shown}, evaluated {score_text(self.evaluated)}"
        )

    def _table(self, items: dict[str, str]) -> Table:
        table = Table(
            title=f"{self._config.method} on {self._config.env}",
            show_header=False,
            title_justify="left",
        )
        table.add_column(style="bold")
        table.add_column()
        for name, value in items.items():
            table.add_row(name, value)
        return table


def _staleness(latest: dict[int, dict[str, Any]], learners: int) -> str:
    """Return updates since the last mix per learner, or only the largest with many learners."""
    known = [latest[r]["staleness_updates"] if r in latest else None for r in range(learners)]
    if learners > _MAX_LISTED:
        return f"at most {max((n for n in known if n is not None), default=0)}"
    return ", ".join("-" if n is None else str(n) for n in known)


def _apart(row: dict[str, Any]) -> str:
    """Return the distance between the learners, and its bound if it is known."""
    bound = row["consensus_rms_bound"]
    at_most = "" if bound is None else f", at most {bound:.3g}"
    return f"{row['consensus_rms']:.3g} rms{at_most}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"


class GamesProgress:
    """Shows how many evaluation games have ended; use as a context manager, once per policy.

    Args:
        wanted: number of games to play, of all policies.
        console: where to write.
    """

    def __init__(self, wanted: int, console: Console) -> None:
        self._wanted, self._console = wanted, console
        self._over_before, self._over, self._steps = 0, 0, 0
        self._began = time.monotonic()
        self._next = self._began + (0 if console.is_terminal else _PLAIN_LINE_EVERY_S)
        self._status = console.status("playing") if console.is_terminal else None

    def __enter__(self) -> "GamesProgress":
        self._over_before += self._over
        self._over = 0
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, agent_steps: int, over: int) -> None:
        """Count a step of the simulators, and show the progress if due.

        Args:
            agent_steps: agent steps made in this call.
            over: number of this policy's games that have ended so far.
        """
        self._steps += agent_steps
        self._over = over
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_REDRAW_EVERY_S if self._status else _PLAIN_LINE_EVERY_S)
        rate = self._steps / max(now - self._began, 1e-9)
        line = (
            f"{self._over_before + over} of {self._wanted} games over | "
            f"agent steps {self._steps:,} | steps/s {rate:,.0f}"
        )
        with quiet_on_errors(self._console):
            if self._status is not None:
                self._status.update(line)
            else:
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)

"""Hooks: the caller's functions, which a run calls in the supervisor's process."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any

from gala_rl.errors import UserError
from gala_rl.sinks.sink import Sink
from gala_rl.sinks.threads import sink_faults

OnRow = Callable[[Mapping[str, Any]], str | None]
"""Called with each metrics row; returns "stop" to end the run."""

OnCheckpoint = Callable[[Path, int], str | None]
"""Called with folder and agent steps of each complete checkpoint; returns "stop" to end the run."""

STOP = "stop"


@dataclass(frozen=True)
class Hooks:
    """The caller's functions and sinks.

    Attributes:
        on_row: see `OnRow`.
        on_checkpoint: see `OnCheckpoint`.
        sinks: see `Sink`.
    """

    on_row: OnRow | None = None
    on_checkpoint: OnCheckpoint | None = None
    sinks: Sequence[Sink] = ()

    def check(self) -> None:
        """Raise a UserError if a hook cannot be called with what it is given, or a sink is none."""
        for fault in map(sink_faults, self.sinks):
            if fault is not None:
                raise UserError(fault)
        for name, parameters in (("on_row", ("row",)), ("on_checkpoint", ("folder", "steps"))):
            hook = getattr(self, name)
            if hook is None:
                continue
            call = f"{name}({', '.join(parameters)})"
            if not callable(hook):
                raise UserError(f"{name} {short(hook)} is not a function: it is called as {call}")
            try:
                signature = inspect.signature(hook)
            except ValueError:
                continue  # Functions written in C may have none.
            try:
                signature.bind(*parameters)
            except TypeError as error:
                raise UserError(
                    f"{name} {short(hook)} cannot be called as {call}: {error}"
                ) from error


class HookCaller:
    """Calls a run's hooks, and records why they end it.

    After a hook has raised, no hook is called again.

    Args:
        hooks: the hooks.

    Attributes:
        stopped_because: why the run has to end; None as long as it can continue.
        error: what a hook raised; None if none did.
    """

    def __init__(self, hooks: Hooks) -> None:
        self.stopped_because: str | None = None
        self.error: Exception | SystemExit | None = None
        self._hooks = hooks

    def stop(self, because: str) -> None:
        """End the run, unless something else has ended it before."""
        self.stopped_because = self.stopped_because or because

    def on_row(self, row: Mapping[str, Any]) -> None:
        """Call the hook for a metrics row, if there is one."""
        self._call("on_row", self._hooks.on_row, row)

    def on_checkpoint(self, folder: Path, agent_steps: int) -> None:
        """Call the hook for a checkpoint, if there is one."""
        self._call("on_checkpoint", self._hooks.on_checkpoint, folder, agent_steps)

    def _call(self, name: str, hook: Callable[..., Any] | None, *arguments: Any) -> None:
        if hook is None or self.error is not None:
            return
        try:
            answer = hook(*arguments)
            if answer not in (None, STOP):
                raise UserError(
                    f"{name} returned {short(answer)}: return {STOP!r} to end the run, or None"
                )
        except (Exception, SystemExit) as error:
            self.error = error
            self.stopped_because = f"{name} raised {short(error)}"
        else:
            if answer == STOP:
                self.stop(f"{name} returned {STOP!r}")

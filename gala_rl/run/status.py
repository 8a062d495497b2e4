"""Status that a run reports to its observer, and the outcome of a run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gala_rl.errors import LearnerFailure, StorageError, SupervisorFailure, UserError


@dataclass
class RunStatus:
    """Progress of a run at one moment.

    Attributes:
        agent_steps: agent steps per present or former member.
        updates: updates per present or former member.
        alive: whether the learner's process is alive, per member.
        restarts: restarts per present or former member.
        notices: what has happened since the last status, one line each.
        consensus: the newest row of the consensus monitor, if there is one.
        checkpoints: folders of the checkpoints completed since the last status.
    """

    agent_steps: list[int]
    updates: list[int]
    alive: list[bool]
    restarts: list[int]
    notices: list[str] = field(default_factory=list)
    consensus: dict[str, Any] | None = None
    checkpoints: list[Path] = field(default_factory=list)

    @property
    def total_agent_steps(self) -> int:
        """Agent steps of all learners together."""
        return sum(self.agent_steps)


RunFailure = LearnerFailure | StorageError | SupervisorFailure | UserError
"""Why a run had to end."""

Request = Literal["stop", "checkpoint"]
"""What an observer may request of a run: to end with a checkpoint, or to save one now."""

Observer = Callable[[RunStatus], Request | None]
"""Called with the status a few times a second during a run; returns a request, if it has one."""


@dataclass(frozen=True)
class RunOutcome:
    """Outcome of a run.

    Attributes:
        status: status at the end.
        interrupted: whether a signal stopped it before its budget was spent.
        failure: why it had to end; None if it did not have to.
        killed: number of learners that were killed because they did not stop in time.
    """

    status: RunStatus
    interrupted: bool
    failure: RunFailure | None = None
    killed: int = 0

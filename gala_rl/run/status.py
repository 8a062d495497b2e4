"""What a running system tells whoever watches it, and how it ended."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gala_rl.errors import LearnerFailure, StorageError, SupervisorFailure, UserError


@dataclass
class RunStatus:
    """The state of a run between two looks.

    Attributes:
        agent_steps: made by each learner that is a member or has been.
        updates: made by each of them.
        alive: whether each member is.
        restarts: of each learner that is a member or has been.
        notices: what happened since the last look, a line each.
        consensus: the newest row of the consensus watch, if there is one.
    """

    agent_steps: list[int]
    updates: list[int]
    alive: list[bool]
    restarts: list[int]
    notices: list[str] = field(default_factory=list)
    consensus: dict[str, Any] | None = None

    @property
    def total_agent_steps(self) -> int:
        """Of all learners together."""
        return sum(self.agent_steps)


RunFailure = LearnerFailure | StorageError | SupervisorFailure | UserError
"""Why a system had to give up."""

Observer = Callable[[RunStatus], None]
"""Called a few times a second while a system runs."""


@dataclass(frozen=True)
class RunOutcome:
    """How a system ended.

    Attributes:
        status: at the end.
        interrupted: whether it was stopped before it was done.
        failure: why it had to give up; None if it did not.
        killed: number of learners that were killed since they did not stop in time.
    """

    status: RunStatus
    interrupted: bool
    failure: RunFailure | None = None
    killed: int = 0

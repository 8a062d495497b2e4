"""A node's part in a change of the number of learners: who joins is started, who leaves is told."""

import time
from collections.abc import Callable

from gala_rl.cluster.protocol import ScaleChange
from gala_rl.gossip import SharedMailboxes
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_supervisor import LearnerSupervisor, donors_of
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

_NEWS_S = 60.0
"""Who is to join and has heard nobody for so long tells that it cannot."""


class JoiningLearners:
    """Starts learners that are to join, once somebody has sent since they were told to.

    Args:
        share: ranks of this node's learners, as many as there can be.
        mailboxes: of all learners, on this machine.
        board: of all learners, on this machine; has the number of them.
        steps: the run's budget.
        assign: the assignment of a rank.
        number: of the change that the board goes by; 0 before the first.
        to_start: ranks that join.

    Attributes:
        number: of the newest change.
        rejected: why those who were to join cannot; None if they can.
    """

    def __init__(
        self,
        share: range,
        mailboxes: SharedMailboxes,
        board: SharedCounters,
        steps: int,
        assign: Callable[[int], LearnerSpec],
        number: int,
        to_start: range,
    ) -> None:
        self.number = number
        self.rejected: str | None = None
        self._to_start: tuple[int, ...] = ()
        self._share, self._mailboxes, self._board = share, mailboxes, board
        self._assign, self._steps = assign, steps
        self._begin(to_start)

    @property
    def is_waiting(self) -> bool:
        """Whether there is somebody to start, and something to do."""
        is_needed = self._board.total_agent_steps < self._steps and not self._board.stop
        return is_needed and bool(self._to_start)

    def go_by(self, change: ScaleChange, crew: LearnerSupervisor) -> None:
        """Tell the learners their new number; may be called from another thread than `look`."""
        self._board.set_learners(change.learners)
        members = range(self._share.start, min(self._share.stop, change.learners))
        self._begin([rank for rank in members if not crew.is_running(rank)])
        self.number, self.rejected = change.number, None

    def look(self, crew: LearnerSupervisor) -> None:
        """Start who can begin; called all the while by the thread that starts learners."""
        for rank in self._to_start if self.is_waiting else ():
            if not self._has_news(assignment := self._assign(rank)):
                break
            crew.add(assignment)
            self._to_start = tuple(r for r in self._to_start if r != rank)
        if (failure := crew.take_rejected()) is not None:
            self.rejected = str(failure)
        elif self.is_waiting and time.monotonic() > self._deadline:
            # It goes on waiting until it is told another number: news may come yet.
            ranks = ", ".join(map(str, self._to_start))
            self.rejected = f"nobody has sent learners {ranks} anything for {_NEWS_S:.0f} s"

    def _begin(self, to_start: range | list[int]) -> None:
        for rank in to_start:
            self._mailboxes.set_down(rank, True)
            # Nobody waits for it: the others have begun long ago.
            self._board.set(rank, LearnerCounter.READY, 1)
        self._versions = [self._mailboxes.version(r) for r in range(self._mailboxes.learners)]
        self._deadline = time.monotonic() + _NEWS_S
        self._to_start = tuple(to_start)

    def _has_news(self, assignment: LearnerSpec) -> bool:
        return any(
            self._mailboxes.version(donor) > self._versions[donor]
            for donor in donors_of(assignment)
        )

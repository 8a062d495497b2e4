"""Starts a node's learners in a run in progress: after the node's restart, or by scaling."""

import time
from collections.abc import Callable

from gala_rl.cluster.gossip_relay import GossipRelay
from gala_rl.cluster.protocol import ScaleChange
from gala_rl.cluster.rendezvous import ClusterRendezvous
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_supervisor import LearnerSupervisor, donors_of
from gala_rl.run.run_state import RunState
from gala_rl.run.shared_counters import LearnerCounter

_MESSAGE_S = 60.0
"""A joining learner that receives no message within this time is rejected."""
_CATCH_UP_S = 5.0
_POLL_EVERY_S = 0.002


def catch_up(
    relay: GossipRelay, rendezvous: ClusterRendezvous | None, state: RunState, ranks: range
) -> None:
    """Wait until the other nodes have sent the progress of this restarted node's learners.

    Args:
        relay: relay of this node, already running.
        rendezvous: rendezvous of replicas; None for learners that gossip.
        state: state of this node; its counters are raised.
        ranks: ranks of this node's learners.
    """
    for rank in range(state.mailboxes.learners):
        # Neither the restarted learners nor the others wait for each other to be ready.
        state.counters.set(rank, LearnerCounter.READY, 1)
    for rank in ranks:
        state.mailboxes.set_down(rank, True)
    deadline = time.monotonic() + min(state.config.gossip.deadline, _CATCH_UP_S)
    while not relay.has_received_all() and time.monotonic() < deadline:
        time.sleep(_POLL_EVERY_S)
    for rank, progress in relay.known_progress.items():
        state.counters.raise_progress(rank, progress.agent_steps, progress.updates)
    if rendezvous is not None:
        rendezvous.restore_rounds()


class JoiningLearners:
    """Starts each joining learner once a possible donor has sent a new message.

    Args:
        state: state of this node.
        share: ranks of the learners that this node may run.
        learner_spec: returns the arguments of a rank's process.
        number: number of the change that this node has adopted; 0 before the first.
        ranks: ranks of the learners that join.

    Attributes:
        number: number of the newest change.
        rejected: why joining learners cannot start; None if they can.
    """

    def __init__(
        self,
        state: RunState,
        share: range,
        learner_spec: Callable[[int], LearnerSpec],
        number: int,
        ranks: range,
    ) -> None:
        self.number = number
        self.rejected: str | None = None
        self._state, self._share, self._learner_spec = state, share, learner_spec
        self._waiting: tuple[int, ...] = ()
        self._begin(ranks)

    @property
    def is_waiting(self) -> bool:
        """Whether a learner has yet to be started, and the run has not finished or stopped."""
        counters = self._state.counters
        has_budget = counters.total_agent_steps < self._state.config.steps
        return bool(self._waiting) and has_budget and not counters.stop

    def scale(self, change: ScaleChange, supervisor: LearnerSupervisor) -> None:
        """Change the number of learners; another thread than that of `poll` may call this."""
        self._state.counters.set_learners(change.learners)
        members = range(self._share.start, min(self._share.stop, change.learners))
        self._begin([rank for rank in members if not supervisor.is_running(rank)])
        self.number, self.rejected = change.number, None

    def poll(self, supervisor: LearnerSupervisor) -> None:
        """Start learners that can start; only the thread that starts processes may call this."""
        for rank in self._waiting if self.is_waiting else ():
            if not self._has_new_message(spec := self._learner_spec(rank)):
                break
            supervisor.add(spec)
            self._waiting = tuple(r for r in self._waiting if r != rank)
        if (failure := supervisor.take_rejected()) is not None:
            self.rejected = str(failure)
        elif self.is_waiting and time.monotonic() > self._deadline:
            # They still start if a message arrives before the driver has reverted the change.
            ranks = ", ".join(map(str, self._waiting))
            self.rejected = f"learners {ranks} have received no message for {_MESSAGE_S:.0f} s"

    def _begin(self, ranks: range | list[int]) -> None:
        mailboxes = self._state.mailboxes
        for rank in ranks:
            mailboxes.set_down(rank, True)
            # All others have been training and do not wait for it.
            self._state.counters.set(rank, LearnerCounter.READY, 1)
        self._versions = [mailboxes.version(rank) for rank in range(mailboxes.learners)]
        self._deadline = time.monotonic() + _MESSAGE_S
        self._waiting = tuple(ranks)

    def _has_new_message(self, spec: LearnerSpec) -> bool:
        version = self._state.mailboxes.version
        return any(version(donor) > self._versions[donor] for donor in donors_of(spec))

"""How far a node's learners were before it was started again, as the other nodes tell."""

import time

from gala_rl.cluster.gossip_relay import GossipRelay
from gala_rl.cluster.rendezvous import ClusterRendezvous
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.gossip import SharedMailboxes
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

_CATCH_UP_S = 5.0
_LOOK_EVERY_S = 0.002


def catch_up(
    courier: GossipRelay,
    introductions: ClusterRendezvous | None,
    mailboxes: SharedMailboxes,
    board: SharedCounters,
    ranks: range,
    config: ResolvedConfig,
) -> None:
    """Wait until the others have said how far this node's learners were, but not for ever.

    Args:
        courier: that carries already.
        introductions: of learners that are replicas; None if they gossip.
        mailboxes: of all learners, on this machine.
        board: of all learners, on this machine; its counters follow.
        ranks: of this node's learners.
        config: of the run, resolved.
    """
    for rank in range(mailboxes.learners):
        # Nobody who is back waits for all to be ready, nor do the others wait for these.
        board.set(rank, LearnerCounter.READY, 1)
    for rank in ranks:
        mailboxes.set_down(rank, True)
    deadline = time.monotonic() + min(config.gossip.deadline, _CATCH_UP_S)
    while not courier.has_heard_all() and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    for rank, counters in courier.known.items():
        for cell, value in zip(
            (LearnerCounter.AGENT_STEPS, LearnerCounter.UPDATES), counters[:2], strict=True
        ):
            board.set(rank, cell, max(value, board.get(rank, cell)))
    if introductions is not None:
        introductions.catch_up()

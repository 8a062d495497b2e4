"""How replicas of several machines find one another: rounds and addresses, carried by couriers."""

from collections.abc import Sequence
from dataclasses import dataclass

from gala_rl.coupling import Rendezvous
from gala_rl.coupling.rendezvous import publish_address, published_addresses


@dataclass(frozen=True)
class ReplicaAddresses:
    """What a node tells another of its replicas; a few hundred bytes for each.

    Attributes:
        rounds: that each replica of the run needs a group for, as the sender knows it.
        number: of the newest round of the sender's own replicas.
        cards: which they have left for it, by name.
    """

    rounds: tuple[int, ...]
    number: int
    cards: dict[str, bytes]


class ClusterRendezvous:
    """One node's part in them.

    Args:
        meeting: of all replicas, on this machine; rows of other nodes' replicas are written here.
        node: index of this one.
        ranks: of the replicas of each node.
    """

    def __init__(self, meeting: Rendezvous, node: int, ranks: Sequence[range]) -> None:
        self._meeting, self._node, self._ranks = meeting, node, ranks
        self._known = [0] * meeting.replicas
        self._from_elsewhere: dict[tuple[int, str], bytes] = {}

    def make(self) -> ReplicaAddresses:
        """What there is to tell any other node at present."""
        rounds = self._meeting.rounds.tolist()
        number = max(rounds[rank] for rank in self._ranks[self._node])
        there = published_addresses(self._meeting.round_folder(number))
        own = {n: card for n, card in there.items() if (number, n) not in self._from_elsewhere}
        return ReplicaAddresses(tuple(rounds), number, own)

    def take(self, sender: int, introduction: ReplicaAddresses) -> None:
        """Take in what another node has told."""
        number = introduction.number
        for name, card in introduction.cards.items():
            if self._from_elsewhere.get((number, name)) != card:
                self._from_elsewhere[number, name] = card
                publish_address(self._meeting.round_folder(number), name, card)
        # Only now: whoever sees that all are there looks for their cards.
        for rank in self._ranks[sender]:
            self._meeting.rounds[rank] = introduction.rounds[rank]
        self._known = list(map(max, self._known, introduction.rounds))

    def catch_up(self) -> None:
        """Before replicas start here again: they must not go back to rounds that were."""
        for rank in self._ranks[self._node]:
            self._meeting.rounds[rank] = self._known[rank]

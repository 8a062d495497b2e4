"""How replicas of several machines find one another: rounds and addresses, carried by couriers."""

from collections.abc import Sequence
from dataclasses import dataclass

from gala_rl.sharing import Meeting
from gala_rl.sharing.cards import add_card, cards


@dataclass(frozen=True)
class Introduction:
    """What a node tells another of its replicas; a few hundred bytes for each.

    Attributes:
        rounds: that each replica of the run needs a group for, as the sender knows it.
        number: of the newest round of the sender's own replicas.
        cards: which they have left for it, by name.
    """

    rounds: tuple[int, ...]
    number: int
    cards: dict[str, bytes]


class Introductions:
    """One node's part in them.

    Args:
        meeting: of all replicas, on this machine; rows of other nodes' replicas are written here.
        node: index of this one.
        ranks: of the replicas of each node.
    """

    def __init__(self, meeting: Meeting, node: int, ranks: Sequence[range]) -> None:
        self._meeting, self._node, self._ranks = meeting, node, ranks
        self._known = [0] * meeting.replicas
        self._from_elsewhere: dict[tuple[int, str], bytes] = {}

    def make(self) -> Introduction:
        """What there is to tell any other node at present."""
        rounds = self._meeting.rounds.tolist()
        number = max(rounds[rank] for rank in self._ranks[self._node])
        there = cards(self._meeting.round_folder(number))
        own = {n: card for n, card in there.items() if (number, n) not in self._from_elsewhere}
        return Introduction(tuple(rounds), number, own)

    def take(self, sender: int, introduction: Introduction) -> None:
        """Take in what another node has told."""
        number = introduction.number
        for name, card in introduction.cards.items():
            if self._from_elsewhere.get((number, name)) != card:
                self._from_elsewhere[number, name] = card
                add_card(self._meeting.round_folder(number), name, card)
        # Only now: whoever sees that all are there looks for their cards.
        for rank in self._ranks[sender]:
            self._meeting.rounds[rank] = introduction.rounds[rank]
        self._known = list(map(max, self._known, introduction.rounds))

    def catch_up(self) -> None:
        """Before replicas start here again: they must not go back to rounds that were."""
        for rank in self._ranks[self._node]:
            self._meeting.rounds[rank] = self._known[rank]

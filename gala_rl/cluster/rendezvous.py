"""Rendezvous of replicas across machines, by rounds and addresses that relays exchange."""

from collections.abc import Sequence
from dataclasses import dataclass

from gala_rl.coupling import Rendezvous
from gala_rl.coupling.rendezvous import publish_address, published_addresses


@dataclass(frozen=True)
class ReplicaAddresses:
    """Rounds and addresses of a node's replicas; a few hundred bytes per replica.

    Attributes:
        rounds: round for which each replica of the run needs a group, as known to the sender.
        newest_round: newest round of the sender's own replicas.
        addresses: addresses published for that round, by name.
    """

    rounds: tuple[int, ...]
    newest_round: int
    addresses: dict[str, bytes]


class ClusterRendezvous:
    """Synchronises a node's rendezvous with those of the other nodes.

    Args:
        rendezvous: of all replicas, on this machine; `receive` writes the others' rounds to it.
        node: index of this node.
        ranks: ranks of the replicas of each node.
    """

    def __init__(self, rendezvous: Rendezvous, node: int, ranks: Sequence[range]) -> None:
        self._rendezvous, self._node, self._ranks = rendezvous, node, ranks
        self._known_rounds = [0] * rendezvous.replicas
        self._received: dict[tuple[int, str], bytes] = {}

    def local_addresses(self) -> ReplicaAddresses:
        """Return this node's current rounds and addresses, for the other nodes."""
        rounds = self._rendezvous.rounds.tolist()
        newest = max(rounds[rank] for rank in self._ranks[self._node])
        published = published_addresses(self._rendezvous.round_folder(newest))
        own = {name: a for name, a in published.items() if (newest, name) not in self._received}
        return ReplicaAddresses(tuple(rounds), newest, own)

    def receive(self, sender: int, remote: ReplicaAddresses) -> None:
        """Publish another node's rounds and addresses on this machine."""
        newest = remote.newest_round
        for name, address in remote.addresses.items():
            if self._received.get((newest, name)) != address:
                self._received[newest, name] = address
                publish_address(self._rendezvous.round_folder(newest), name, address)
        # Rounds after addresses: a replica reads addresses once it sees that all rounds are equal.
        for rank in self._ranks[sender]:
            self._rendezvous.rounds[rank] = remote.rounds[rank]
        self._known_rounds = list(map(max, self._known_rounds, remote.rounds))

    def restore_rounds(self) -> None:
        """Set the rounds of this node's replicas before their restart: rounds never go back."""
        for rank in self._ranks[self._node]:
            self._rendezvous.rounds[rank] = self._known_rounds[rank]

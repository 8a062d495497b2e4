"""Protocol nodes and messages for the tests of the protocol."""

from typing import Any

import torch

from gala_rl.gossip.message import Message
from gala_rl.gossip.node import GossipNode, Mix
from gala_rl.gossip.topology import (
    undirected_ring,
)

SIZE = 3


def message(sender: int, version: int, value: float = 1.0, size: int = SIZE) -> Message:
    return Message(sender, version, torch.full((size,), value, dtype=torch.float32))


def listener(**settings: Any) -> GossipNode:
    """Learner 0 of four on an undirected ring: hears 1 and 3."""
    return GossipNode(0, undirected_ring(4), size=SIZE, **settings)


def updated(node: GossipNode, updates: int = 1) -> GossipNode:
    """The node after so many updates of its own."""
    for _ in range(updates):
        node.on_update(node.version + 1)
    return node


def mixed(node: GossipNode) -> list[tuple[int, int]]:
    """Sender and version of each message that the node decides to mix and that was then mixed."""
    decision = node.decide()
    assert isinstance(decision, Mix), decision
    node.on_mixed(decision)
    return [(m.sender, m.version) for m in decision.messages]

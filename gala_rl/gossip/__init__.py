"""Gossip averaging of model parameters, usable alone in any PyTorch training loop.

Start with `gossip.py`: `Gossip.exchange()` after each optimizer step sends the parameters and mixes
those received. `node.py` holds the protocol without I/O, `topology.py` the communication graphs,
`transports/` the networks. Names are imported on first use, so that topologies do not load torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gala_rl.gossip.gossip import Gossip
    from gala_rl.gossip.message import Message, PeerDown
    from gala_rl.gossip.node import GossipNode
    from gala_rl.gossip.processes import LearnerProcesses
    from gala_rl.gossip.topology import (
        Topology,
        complete,
        directed_ring,
        exponential,
        from_edges,
        hierarchical,
        rotating_exponential,
        undirected_ring,
    )
    from gala_rl.gossip.transports import Transport
    from gala_rl.gossip.transports.memory import MemoryNetwork
    from gala_rl.gossip.transports.shared import SharedMailboxes

__all__ = [
    "Gossip",
    "GossipNode",
    "LearnerProcesses",
    "MemoryNetwork",
    "Message",
    "PeerDown",
    "SharedMailboxes",
    "Topology",
    "Transport",
    "complete",
    "directed_ring",
    "exponential",
    "from_edges",
    "hierarchical",
    "rotating_exponential",
    "undirected_ring",
]

_HOMES = {
    "gala_rl.gossip.gossip": ("Gossip",),
    "gala_rl.gossip.message": ("Message", "PeerDown"),
    "gala_rl.gossip.node": ("GossipNode",),
    "gala_rl.gossip.processes": ("LearnerProcesses",),
    "gala_rl.gossip.topology": (
        "Topology",
        "complete",
        "directed_ring",
        "exponential",
        "from_edges",
        "hierarchical",
        "rotating_exponential",
        "undirected_ring",
    ),
    "gala_rl.gossip.transports": ("Transport",),
    "gala_rl.gossip.transports.memory": ("MemoryNetwork",),
    "gala_rl.gossip.transports.shared": ("SharedMailboxes",),
}


if not TYPE_CHECKING:  # A type checker would accept every name.

    def __getattr__(name: str) -> Any:
        import importlib

        for home, names in _HOMES.items():
            if name in names:
                return getattr(importlib.import_module(home), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

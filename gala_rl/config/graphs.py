"""Graphs of networkx as settings have them: as text, the JSON list of their edges."""

import json
import sys
from collections.abc import Collection
from reprlib import repr as short
from typing import Any, Protocol

from gala_rl.errors import UserError


class Graph(Protocol):
    """What a graph of networkx has, as far as it is used; networkx itself is never imported."""

    @property
    def nodes(self) -> Collection[Any]:
        """Its nodes."""

    @property
    def edges(self) -> Collection[Any]:
        """Its edges, pairs of nodes."""


def is_graph(value: object) -> bool:
    """Return whether a value is a graph of networkx."""
    networkx = sys.modules.get("networkx")
    return networkx is not None and isinstance(value, networkx.Graph)


def edges_of(graph: Any, what: str) -> list[tuple[int, int]]:
    """Return the edges of a graph of networkx; one without directions has each in both.

    Args:
        graph: its nodes are learners 0 … n - 1.
        what: begins messages.

    Raises:
        UserError: when nodes are others, or when one of several nodes has no edge.
    """
    nodes = list(graph.nodes)
    if set(nodes) != set(range(len(nodes))):
        raise UserError(
            f"{what} has the nodes {short(nodes)}: they must be the learners, from 0 to "
            f"{max(0, len(nodes) - 1)}; networkx.convert_node_labels_to_integers numbers them"
        )
    lone = [int(node) for node in nodes if len(nodes) > 1 and graph.degree(node) == 0]
    if lone:
        raise UserError(f"{what} has the node {lone[0]} without an edge: add some, or leave it out")
    directed = graph if graph.is_directed() else graph.to_directed()
    return [(int(sender), int(receiver)) for sender, receiver in directed.edges()]


def graph_text(graph: Any) -> str:
    """Return the edges of a graph of networkx as JSON.

    Raises:
        UserError: as `edges_of`.
    """
    return json.dumps(edges_of(graph, "topology"))

"""Communication topologies: each learner's in-neighbours in each round, and mixing matrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gala_rl.errors import UserError
from gala_rl.gossip import own_graph

NAMES = ("directed-ring", "undirected-ring", "exponential", "rotating-exponential", "complete")
"""Topologies that the number of learners determines; in each, all learners are equivalent."""

HIERARCHICAL = "hierarchical"
"""Name of the topology that depends on the number of learners per node, too."""

Neighbours = tuple[int, ...]


@dataclass(frozen=True)
class Topology:
    """A periodic sequence of directed graphs whose nodes are learners 0 … n - 1.

    A learner gives itself and each in-neighbour the same weight, 1 / (1 + in-degree), so mixing
    matrices are row-stochastic. In a regular graph, where all in-degrees and out-degrees are equal,
    they are doubly stochastic: a round in which all learners mix preserves the mean of their
    parameters. All `NAMES` are regular, and so is a hierarchy of nodes of equal size; for other
    graphs see `is_doubly_stochastic`.

    Attributes:
        name: name in configs and messages.
        rounds: in-neighbours as `rounds[round % period][learner]`.
    """

    name: str
    rounds: tuple[tuple[Neighbours, ...], ...]

    @property
    def learners(self) -> int:
        """Number of learners n."""
        return len(self.rounds[0])

    @property
    def period(self) -> int:
        """Number of rounds after which the sequence of graphs repeats."""
        return len(self.rounds)

    @property
    def max_in_degree(self) -> int:
        """Largest number of in-neighbours that a learner has in a round."""
        return max(len(in_neighbours) for graph in self.rounds for in_neighbours in graph)

    def in_neighbours(self, learner: int, round: int) -> Neighbours:
        """Return the learners from which `learner` receives in `round`."""
        return self.rounds[round % self.period][learner]

    def out_neighbours(self, learner: int, round: int) -> Neighbours:
        """Return the learners to which `learner` sends in `round`."""
        graph = self.rounds[round % self.period]
        return tuple(j for j, in_neighbours in enumerate(graph) if learner in in_neighbours)

    def all_in_neighbours(self, learner: int) -> Neighbours:
        """Return the learners from which `learner` receives in any round."""
        return tuple(sorted({j for graph in self.rounds for j in graph[learner]}))

    def mixing_matrix(self, round: int) -> NDArray[np.float64]:
        """Return W [n, n] of a round in which all learners mix: X ← W X; its rows sum to 1."""
        matrix = np.zeros((self.learners, self.learners))
        for i, in_neighbours in enumerate(self.rounds[round % self.period]):
            matrix[i, [i, *in_neighbours]] = 1.0 / (1 + len(in_neighbours))
        return matrix

    def is_doubly_stochastic(self) -> bool:
        """Return whether columns of all mixing matrices sum to 1, so that the mean is preserved."""
        return all(np.allclose(self.mixing_matrix(k).sum(axis=0), 1.0) for k in range(self.period))

    def unreachable_pair(self) -> tuple[int, int] | None:
        """Return (i, j) if parameters of i never reach j, over all rounds; None if connected."""
        senders = [self.all_in_neighbours(i) for i in range(self.learners)]
        receivers: list[list[int]] = [[] for _ in senders]
        for receiver, in_neighbours in enumerate(senders):
            for sender in in_neighbours:
                receivers[sender].append(receiver)
        # Strongly connected means that all learners reach learner 0 and that it reaches them all.
        learners = set(range(self.learners))
        if missing := learners - _reachable(senders):
            return min(missing), 0
        if missing := learners - _reachable(receivers):
            return 0, min(missing)
        return None


def check_connected(topology: Topology, subject: str | None = None) -> None:
    """Raise a UserError that names two learners if the graph is not strongly connected.

    Args:
        topology: topology to check.
        subject: begins the message; default: the topology's name.
    """
    if pair := topology.unreachable_pair():
        raise UserError(
            f"{subject or f'topology {topology.name}'}: nothing that learner {pair[0]} learns ever "
            f"reaches learner {pair[1]}: add an edge"
        )


def _reachable(edges: Sequence[Sequence[int]]) -> set[int]:
    """Return the nodes that can be reached from node 0; `edges` lists the successors per node."""
    reached, frontier = {0}, [0]
    while frontier:
        new = set(edges[frontier.pop()]) - reached
        reached |= new
        frontier.extend(new)
    return reached


def directed_ring(learners: int) -> Topology:
    """Return the ring of the GALA paper: the in-neighbour of learner i is i - 1."""
    return _named("directed-ring", learners)


def undirected_ring(learners: int) -> Topology:
    """Return the ring in both directions: in-neighbours of learner i are i - 1 and i + 1."""
    return _named("undirected-ring", learners)


def exponential(learners: int) -> Topology:
    """Return the exponential graph: in-neighbours of learner i are i - 1, i - 2, i - 4 and so on.

    It reaches consensus fast with log₂ n edges per learner (Stochastic Gradient Push, Assran et
    al. 2019, https://arxiv.org/abs/1811.10792).
    """
    return _named("exponential", learners)


def rotating_exponential(learners: int) -> Topology:
    """Return the one-peer exponential graph: one in-neighbour, at distance 1, 2, 4, … in turn.

    With 2^m learners that mix in every round, m rounds average exactly.
    """
    return _named("rotating-exponential", learners)


def complete(learners: int) -> Topology:
    """Return the complete graph: every learner receives from all others."""
    return _named("complete", learners)


def hierarchical(learners: int, learners_per_node: int) -> Topology:
    """Return a graph that is complete within each node, with nodes on a directed ring.

    In-neighbours of a learner are all others of its node, and one learner of the previous node: the
    one at the same position, modulo the size of that node. With nodes of equal size G the graph is
    regular, and a round in which all mix leaves at most the share
    √(1 - 2G (1 - cos(2π/N)) / (G + 1)²) of a disagreement between N ≥ 2 nodes, and 1 / (G + 1) of
    one within a node.

    Args:
        learners: n.
        learners_per_node: G; node a has the learners aG … aG + G - 1. The last node may have fewer,
            but then a round does not preserve the mean of all parameters.

    Raises:
        UserError: when G is not in 1 … n.
    """
    if not 1 <= learners_per_node <= learners:
        raise UserError(
            f"learners_per_node {learners_per_node} is impossible with {learners} learners: "
            f"choose 1 … {learners}"
        )
    nodes = split_into_nodes(learners, learners_per_node)
    graph = []
    for number, node in enumerate(nodes):
        previous = nodes[number - 1]
        for position, learner in enumerate(node):
            in_neighbours = {*node, previous[position % len(previous)]} - {learner}
            graph.append(tuple(sorted(in_neighbours)))
    return Topology(HIERARCHICAL, (tuple(graph),))


def split_into_nodes(learners: int, learners_per_node: int) -> tuple[range, ...]:
    """Return the ranks of the learners of each node; the last node may have fewer."""
    return tuple(
        range(first, min(first + learners_per_node, learners))
        for first in range(0, learners, learners_per_node)
    )


def isolated(learners: int) -> Topology:
    """Return the graph without edges."""
    return Topology("isolated", (((),) * learners,))


def named_offsets(name: str, learners: int) -> list[list[int]]:
    """Return the distances d per round at which learner i receives from i - d (modulo `learners`).

    In a named topology these are the same for all learners, so they describe it completely in far
    less memory than a `Topology`.
    """
    if learners < 1:
        raise ValueError(f"a topology needs at least 1 learner, not {learners}")
    powers = [2**k for k in range(learners.bit_length()) if 2**k < learners]
    rounds = {
        "directed-ring": [[1]],
        "undirected-ring": [[1, learners - 1]],
        "exponential": [powers],
        "rotating-exponential": [[power] for power in powers] or [[]],
        "complete": [list(range(1, learners))],
    }[name]
    return [sorted({offset % learners for offset in graph} - {0}) for graph in rounds]


def max_in_degree(name_or_file: str, learners: int, learners_per_node: int | None = None) -> int:
    """Return the largest in-degree of a topology; fast for any number of learners if it is named.

    Raises:
        UserError: as `make`.
    """
    if own_graph.is_function(name_or_file):
        # Of any graph: as learners join and leave, the function returns others.
        return learners - 1
    if name_or_file in NAMES:
        return max(len(graph) for graph in named_offsets(name_or_file, learners))
    return make(name_or_file, learners, learners_per_node).max_in_degree


def _named(name: str, learners: int) -> Topology:
    rounds = tuple(
        tuple(tuple(sorted((i - offset) % learners for offset in graph)) for i in range(learners))
        for graph in named_offsets(name, learners)
    )
    return Topology(name, rounds)


def from_edges(edges: list[tuple[int, int]], learners: int, name: str = "custom") -> Topology:
    """Return a fixed graph from (sender, receiver) pairs of ranks 0 … learners - 1.

    Raises:
        UserError: when an edge names a learner that does not exist, is a loop or is repeated, or
            when the graph is not strongly connected.
    """
    graph: list[list[int]] = [[] for _ in range(learners)]
    for sender, receiver in edges:
        for learner in (sender, receiver):
            if not 0 <= learner < learners:
                raise UserError(
                    f"topology {name}: edge [{sender}, {receiver}] names learner {learner}, "
                    f"but learners are 0 … {learners - 1}"
                )
        if sender == receiver:
            raise UserError(
                f"topology {name}: edge [{sender}, {receiver}] is a loop: remove it, "
                f"every learner counts itself anyway"
            )
        if sender in graph[receiver]:
            raise UserError(f"topology {name}: edge [{sender}, {receiver}] is there twice")
        graph[receiver].append(sender)
    topology = Topology(name, (tuple(tuple(sorted(senders)) for senders in graph),))
    check_connected(topology)
    return topology


def fits_any_number(name_or_file: str) -> bool:
    """Return whether a topology is a graph for any number of learners."""
    return name_or_file in (*NAMES, HIERARCHICAL) or own_graph.is_function(name_or_file)


def is_path(name_or_file: str) -> bool:
    """Return whether a topology is the path of a file."""
    return not fits_any_number(name_or_file) and not own_graph.is_text(name_or_file)


def make(name_or_file: str, learners: int, learners_per_node: int | None = None) -> Topology:
    """Return a topology by its name, or from edges [[sender, receiver], …] of the user.

    Args:
        name_or_file: one of `NAMES`, `HIERARCHICAL`, the path of a JSON file of edges, the name
            module:function of a function from n to edges, or edges as JSON text.
        learners: n.
        learners_per_node: learners per node of the hierarchical topology; the others ignore it.

    Raises:
        UserError: when there is no such name or file, the edges are no usable graph, or the
            hierarchical topology is given no `learners_per_node`.
    """
    if name_or_file in NAMES:
        return _named(name_or_file, learners)
    if name_or_file == HIERARCHICAL:
        if learners_per_node is None:
            raise UserError(
                f"topology {HIERARCHICAL} needs to know the nodes: give --learners-per-node"
            )
        return hierarchical(learners, learners_per_node)
    if is_path(name_or_file) and not own_graph.is_file(name_or_file):
        wrong = "is not there" if name_or_file.endswith(".json") else "is unknown"
        raise UserError(
            f"topology {name_or_file!r} {wrong}: choose one of {', '.join(NAMES)}, "
            f"{HIERARCHICAL}, a JSON file of [sender, receiver] edges, or module:function"
        )
    edges = own_graph.edges_in(name_or_file, learners)
    return from_edges(edges, learners, name=own_graph.shown(name_or_file))


def resolve_when(when: Literal["auto", "all", "any"], name_or_file: str) -> Literal["all", "any"]:
    """Return the mixing rule for "auto": "any" in a hierarchy, "all" in every other topology.

    In a hierarchy, "all" would let messages of the learner's own node wait for the slower one from
    the previous node.
    """
    if when == "auto":
        return "any" if name_or_file == HIERARCHICAL else "all"
    return when

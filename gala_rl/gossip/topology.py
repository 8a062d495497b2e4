"""Topologies: who listens to whom in each round, as data that can be printed, drawn and tested."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gala_rl.errors import UserError

NAMES = ("directed-ring", "undirected-ring", "exponential", "rotating-exponential", "complete")
"""Of topologies that a number of learners determines, and that look the same from each of them."""

HIERARCHICAL = "hierarchical"
"""Name of the topology that the number of learners of a node determines too."""

_FAR_TOO_MANY = 10**9
"""Learners: a number that could not even be printed is no user's."""

Neighbours = tuple[int, ...]


@dataclass(frozen=True)
class Topology:
    """A periodic sequence of directed graphs on `learners` nodes.

    Every in-neighbour and the learner itself have the same weight, 1 / (1 + in-degree), so each
    mixing matrix is row-stochastic. It is doubly stochastic, and a mix of all keeps the mean of
    the parameters, only where every learner is heard by as many as it hears (a regular graph):
    all `NAMES` are, a hierarchy of equal nodes too; see `is_doubly_stochastic` for any other.

    Attributes:
        name: for people and configs.
        rounds: in-neighbours as `rounds[round % period][learner]`.
    """

    name: str
    rounds: tuple[tuple[Neighbours, ...], ...]

    @property
    def learners(self) -> int:
        """Number of nodes n."""
        return len(self.rounds[0])

    @property
    def period(self) -> int:
        """Rounds after which the sequence of graphs repeats."""
        return len(self.rounds)

    def in_neighbours(self, learner: int, round: int) -> Neighbours:
        """Whom `learner` hears in `round`."""
        return self.rounds[round % self.period][learner]

    def out_neighbours(self, learner: int, round: int) -> Neighbours:
        """Who hears `learner` in `round`."""
        graph = self.rounds[round % self.period]
        return tuple(j for j, heard in enumerate(graph) if learner in heard)

    def all_in_neighbours(self, learner: int) -> Neighbours:
        """Whom `learner` hears in any round."""
        return tuple(sorted({j for graph in self.rounds for j in graph[learner]}))

    @property
    def max_in_degree(self) -> int:
        """Most learners that one learner hears in a round."""
        return max(len(heard) for graph in self.rounds for heard in graph)

    def mixing_matrix(self, round: int) -> NDArray[np.float64]:
        """W [n, n] of one round in which everybody mixes: X ← W X, rows sum to 1."""
        matrix = np.zeros((self.learners, self.learners))
        for i, heard in enumerate(self.rounds[round % self.period]):
            matrix[i, [i, *heard]] = 1.0 / (1 + len(heard))
        return matrix

    def is_doubly_stochastic(self) -> bool:
        """Whether columns sum to 1 too, so that a full round keeps the mean of all learners."""
        return all(np.allclose(self.mixing_matrix(k).sum(axis=0), 1.0) for k in range(self.period))

    def unreachable_pair(self) -> tuple[int, int] | None:
        """A (from, to) pair between which no parameters ever flow; None if strongly connected."""
        heard = [self.all_in_neighbours(i) for i in range(self.learners)]
        hearing: list[list[int]] = [[] for _ in heard]
        for learner, senders in enumerate(heard):
            for sender in senders:
                hearing[sender].append(learner)
        # Everybody reaches everybody just where all reach learner 0 and it reaches all.
        everybody = set(range(self.learners))
        if unheard := everybody - _connected_to(0, heard):
            return min(unheard), 0
        if deaf := everybody - _connected_to(0, hearing):
            return 0, min(deaf)
        return None


def _connected_to(start: int, edges: Sequence[Sequence[int]]) -> set[int]:
    """Nodes that can be reached along the edges of each node."""
    reached, frontier = {start}, [start]
    while frontier:
        node = frontier.pop()
        new = [other for other in edges[node] if other not in reached]
        reached.update(new)
        frontier.extend(new)
    return reached


def directed_ring(learners: int) -> Topology:
    """Learner i hears i - 1: the ring of the GALA paper."""
    return _named("directed-ring", learners)


def undirected_ring(learners: int) -> Topology:
    """Learner i hears i - 1 and i + 1."""
    return _named("undirected-ring", learners)


def exponential(learners: int) -> Topology:
    """Learner i hears i - 1, i - 2, i - 4, …: few edges, fast consensus (SGP, Assran 2019)."""
    return _named("exponential", learners)


def rotating_exponential(learners: int) -> Topology:
    """One neighbour a round, at distance 1, 2, 4, … in turn.

    With 2^m learners that mix in step, m rounds average exactly.
    """
    return _named("rotating-exponential", learners)


def complete(learners: int) -> Topology:
    """Everybody hears everybody."""
    return _named("complete", learners)


def hierarchical(learners: int, learners_per_node: int) -> Topology:
    """Everybody hears all of its node, and one learner of the node before it in a ring of nodes.

    That one has the same place in its node, modulo the learners there. With nodes of G each the
    graph is regular, and a full round leaves of a disagreement between N ≥ 2 nodes at most the
    share √(1 - 2G (1 - cos(2π/N)) / (G + 1)²), of one within a node 1 / (G + 1).

    Args:
        learners: n.
        learners_per_node: G; learners aG … aG + G - 1 are node a. The last may have fewer, but
            then a round of all does not keep their mean.

    Raises:
        UserError: when a node would hold more learners than there are.
    """
    if not 1 <= learners_per_node <= learners:
        raise UserError(
            f"learners_per_node {learners_per_node} is impossible with {learners} learners: "
            f"choose 1 … {learners}"
        )
    nodes = split_into_nodes(learners, learners_per_node)
    graph = []
    for number, node in enumerate(nodes):
        before = nodes[number - 1]
        for place, learner in enumerate(node):
            heard = {*node, before[place % len(before)]} - {learner}
            graph.append(tuple(sorted(heard)))
    return Topology(HIERARCHICAL, (tuple(graph),))


def split_into_nodes(learners: int, learners_per_node: int) -> tuple[range, ...]:
    """Learners of each node, as many as it holds; the last may have fewer."""
    return tuple(
        range(first, min(first + learners_per_node, learners))
        for first in range(0, learners, learners_per_node)
    )


def isolated(learners: int) -> Topology:
    """Nobody hears anybody."""
    return Topology("isolated", (((),) * learners,))


def named_offsets(name: str, learners: int) -> list[list[int]]:
    """Distances d, round by round, at which every learner i hears i - d (modulo `learners`).

    All the named topologies look the same from every learner, so this says all about them in
    far less room than a `Topology`.
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


def max_in_degree(name_or_file: str, learners: int) -> int:
    """Most learners that one learner hears in a round.

    Of a named topology this grows with the number of learners.

    Raises:
        UserError: as `make`.
    """
    if name_or_file in NAMES:
        return max(len(graph) for graph in named_offsets(name_or_file, learners))
    return make(name_or_file, learners).max_in_degree


def _named(name: str, learners: int) -> Topology:
    rounds = tuple(
        tuple(tuple(sorted((i - offset) % learners for offset in graph)) for i in range(learners))
        for graph in named_offsets(name, learners)
    )
    return Topology(name, rounds)


def from_edges(edges: list[tuple[int, int]], learners: int, name: str = "custom") -> Topology:
    """A fixed graph from (sender, receiver) pairs.

    Raises:
        UserError: on an edge outside 0 … learners - 1, a loop, a repeated edge, or a graph in
            which some learner never hears, even through others, of some other.
    """
    heard: list[list[int]] = [[] for _ in range(learners)]
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
        if sender in heard[receiver]:
            raise UserError(f"topology {name}: edge [{sender}, {receiver}] is there twice")
        heard[receiver].append(sender)
    topology = Topology(name, (tuple(tuple(sorted(senders)) for senders in heard),))
    if pair := topology.unreachable_pair():
        raise UserError(
            f"topology {name}: nothing that learner {pair[0]} learns ever reaches learner "
            f"{pair[1]}: add an edge"
        )
    return topology


def is_name(name_or_file: str) -> bool:
    """Whether it is the name of a topology, not a file."""
    return name_or_file in (*NAMES, HIERARCHICAL)


def make(name_or_file: str, learners: int, learners_per_node: int | None = None) -> Topology:
    """The named topology, or the one in a JSON file such as [[0, 1], [1, 2], [2, 0]].

    Args:
        name_or_file: which.
        learners: n.
        learners_per_node: of a hierarchical topology; no other looks at it.

    Raises:
        UserError: when it is neither, the file does not describe a usable graph, or nobody says
            how many learners a node has.
    """
    if name_or_file in NAMES:
        return _named(name_or_file, learners)
    if name_or_file == HIERARCHICAL:
        if learners_per_node is None:
            raise UserError(
                f"topology {HIERARCHICAL} needs to know the nodes: give --learners-per-node"
            )
        return hierarchical(learners, learners_per_node)
    path = Path(name_or_file)
    if not _is_file(path):
        wrong = "is not there" if path.suffix == ".json" else "is unknown"
        raise UserError(
            f"topology {name_or_file!r} {wrong}: choose one of {', '.join(NAMES)}, "
            f"{HIERARCHICAL}, or a JSON file of [sender, receiver] edges"
        )
    return from_edges(_read_edges(path), learners, name=str(path))


def resolve_when(when: Literal["auto", "all", "any"], name_or_file: str) -> Literal["all", "any"]:
    """When a learner mixes: "auto" is "any" in a hierarchy, "all" in every other topology.

    With "all" a learner would pass over what its node has sent until a slower message, from
    another node, is there as well.
    """
    if when == "auto":
        return "any" if name_or_file == HIERARCHICAL else "all"
    return when


def learners_in(file: str) -> int:
    """Number of learners that the edges in a JSON file name; 1 if there is no such file.

    Raises:
        UserError: when the file does not hold a list of edges.
    """
    edges = _read_edges(Path(file)) if _is_file(Path(file)) else []
    return 1 + max((learner for edge in edges for learner in edge), default=0)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # A name too long for a file, or a folder that may not be searched.
        return False


def _read_edges(path: Path) -> list[tuple[int, int]]:
    remedy = "it must be a JSON list such as [[0, 1], [1, 2], [2, 0]]"
    try:
        edges = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"topology file {path} cannot be read ({error}): {remedy}") from error
    if not isinstance(edges, list):
        raise UserError(f"topology file {path} holds a {type(edges).__name__}: {remedy}")
    for edge in edges:
        if not isinstance(edge, list) or len(edge) != 2 or not all(map(_may_be_learner, edge)):
            raise UserError(f"topology file {path} holds the edge {short(edge)}: {remedy}")
    return [(sender, receiver) for sender, receiver in edges]


def _may_be_learner(value: object) -> bool:
    return type(value) is int and abs(value) < _FAR_TOO_MANY

"""Graphs of the user: functions of the number of learners, graphs of networkx, edges as text."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import networkx  # type: ignore[import-untyped]
import pytest

from gala_rl.config.settings import GossipSettings
from gala_rl.errors import UserError
from gala_rl.gossip import topology
from gala_rl.theory import table
from tests.environments import graphs

NAME = graphs.__name__


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_function_gives_a_graph_for_each_number_of_learners() -> None:
    name = f"{NAME}:star"
    assert GossipSettings(topology=graphs.star).topology_name == name
    for learners in (2, 3, 7):
        graph = topology.make(name, learners)
        assert graph.rounds[0][0] == tuple(range(1, learners))
        assert set(graph.rounds[0][1:]) == {(0,)}
        assert topology.max_in_degree(name, learners) >= graph.max_in_degree
    assert topology.make(name, 1).rounds == (((),),)
    assert topology.fits_any_number(name)
    assert not topology.is_path(name)


def test_a_function_may_return_a_graph_of_networkx_or_an_array() -> None:
    both_ways = topology.make(f"{NAME}:wheel", 5)
    assert both_ways.rounds == topology.undirected_ring(5).rounds
    assert topology.make(f"{NAME}:ring_of_numpy", 5).rounds == topology.directed_ring(5).rounds


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("one_way", "nothing that learner 1 learns ever reaches learner 0"),
        ("loop", "edge [0, 0] is a loop"),
        ("outside", "edge [0, 4] names learner 4, but learners are 0 … 3"),
        ("halves", "raised TypeError: 'float' object cannot be interpreted as an integer, for 4"),
        ("triples", "holds the edge (0, 1, 2): it must be a list such as [[0, 1], [1, 2]"),
        ("nothing", "raised TypeError: 'NoneType' object is not iterable, for 4 learners: it must"),
        ("too_small", "gives a graph of 3 nodes for 4 learners"),
        ("unseeded", "gives another graph at each call: learners call it too, so seed what"),
        ("missing", f"module {NAME} has no missing"),
        ("NAME", "has no NAME"),
    ],
)
def test_a_function_without_a_usable_graph_is_refused(function: str, words: str) -> None:
    line = refusal(lambda: topology.make(f"{NAME}:{function}", 4))
    assert words in line
    assert line.startswith(f"topology {NAME}") or line.startswith(f"topology '{NAME}")


def test_a_function_that_others_cannot_import_is_refused() -> None:
    def inner(learners: int) -> list[tuple[int, int]]:
        return []

    functions: list[Any] = [inner, lambda learners: []]
    for wrong in functions:
        line = refusal(lambda wrong=wrong: GossipSettings(topology=wrong))  # type: ignore[misc]
        assert line.startswith("topology ")
        assert line.endswith("define it at the top of a module")


def test_a_graph_of_networkx_becomes_the_text_of_its_edges() -> None:
    graph = networkx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])
    name = GossipSettings(topology=graph).topology_name
    assert name == "[[0, 1], [0, 2], [1, 2], [2, 0]]"
    assert topology.make(name, 3).rounds == (((2,), (0,), (0, 1)),)
    assert not topology.fits_any_number(name)
    assert not topology.is_path(name)
    alone: Any = networkx.DiGraph()
    alone.add_node(0)
    assert topology.make(GossipSettings(topology=alone).topology_name, 1).learners == 1


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        ([("a", "b"), ("b", "a")], "topology has the nodes ['a', 'b']: they must be the learners"),
        ([(1, 2), (2, 1)], "from 0 to 1; networkx.convert_node_labels_to_integers numbers them"),
    ],
)
def test_other_nodes_than_learners_are_refused(edges: Any, words: str) -> None:
    graph = networkx.DiGraph(edges)
    assert words in refusal(lambda: GossipSettings(topology=graph))


def test_a_graph_must_have_as_many_nodes_as_there_are_learners() -> None:
    graph: Any = networkx.DiGraph([(0, 1), (1, 2), (2, 0)])
    name = GossipSettings(topology=graph).topology_name
    for learners in (2, 4):
        line = refusal(lambda learners=learners: topology.make(name, learners))  # type: ignore[misc]
        assert f"is a graph of 3 learners, and there are {learners}: give learners 3" in line
    graph.add_node(3)
    assert "has the node 3 without an edge" in refusal(lambda: GossipSettings(topology=graph))
    graph = networkx.DiGraph([(0, 1), (1, 0), (1, 1)])
    name = GossipSettings(topology=graph).topology_name
    assert "edge [1, 1] is a loop" in refusal(lambda: topology.make(name, 2))


def test_text_that_holds_no_edges_is_refused() -> None:
    for wrong in ("[", "[[0, 1, 2]]", "[true]"):
        assert "it must be a list such as" in refusal(
            lambda wrong=wrong: topology.make(wrong, 2)  # type: ignore[misc]
        )


def test_theory_takes_them_too() -> None:
    rows = table.rows(f"{NAME}:star", [4], [table.Case("")], None)
    assert [row.learners for row in rows] == [4]
    (row,) = table.rows("[[0, 1], [1, 2], [2, 0]]", None, [table.Case("")], None)
    assert row.learners == 3
    assert len(table.rows(f"{NAME}:star", None, [table.Case("")], None)) > 2


def test_networkx_is_not_imported() -> None:
    program = (
        "import sys, gala_rl; gala_rl.GossipSettings(topology='complete'); "
        "from gala_rl.gossip import topology; topology.make('[[0, 1], [1, 0]]', 2); "
        "sys.exit('networkx' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

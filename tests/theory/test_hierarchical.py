"""Proves that the document's table of hierarchies holds what the theory computes."""

from pathlib import Path

from gala_rl.gossip.topology import directed_ring, exponential, hierarchical
from gala_rl.theory import ball


def line(per_node: int, nodes: int) -> str:
    learners = per_node * nodes
    hierarchy = ball(hierarchical(learners, per_node))
    others = [ball(graph(learners)).typical_factor for graph in (directed_ring, exponential)]
    figures = [hierarchy.epsilon_factor, hierarchy.typical_factor, *others]
    cells = [str(per_node), str(nodes), str(learners), f"{hierarchy.beta:.4f}"]
    return f"| {' | '.join([*cells, *(f'{figure:.4g}' for figure in figures)])} |"


def test_the_table_of_hierarchies_is_what_is_computed() -> None:
    document = Path(__file__).parents[2] / "docs" / "theory.md"
    lines = document.read_text(encoding="utf-8").splitlines()
    for per_node in (2, 4, 8):
        for nodes in (2, 4, 8):
            assert line(per_node, nodes) in lines

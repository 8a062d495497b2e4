"""Methods are found by their names."""

from gala_rl.methods import METHODS, find


def test_every_method_is_found_by_its_name_and_cites_its_paper() -> None:
    for method in METHODS:
        assert find(method.name) is method
        assert "arXiv" in method.paper or "doi" in method.paper
        assert method.title

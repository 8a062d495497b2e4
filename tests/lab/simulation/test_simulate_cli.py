"""The command line of `gala simulate`: a table for people, JSON for programs, a picture."""

import importlib.util
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from gala_lab.main import main
from gala_lab.simulation.simulation_config import SCHEMES

DOCUMENT = Path(__file__).parents[3] / "docs" / "simulate.md"
SHORT = ["--learners", "4", "--updates", "20"]


def printed_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert main(["simulate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["simulations"]


def test_all_schemes_are_compared_in_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *SHORT]) == 0
    text = capsys.readouterr().out
    for words in (*SCHEMES, "updates per second", "staleness", "consensus distance", "loss"):
        assert words in text
    assert "4 learners, quadratic" in text


def test_one_scheme_is_simulated_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["gossip", *SHORT, "--problem", "random-walk", "--topology", "exponential"]
    (result,) = printed_json([*arguments, "--compute-s", "0.5", "--seed", "7"], capsys)
    config = result["config"]
    assert (config["topology"], config["compute_s"], config["seed"]) == ("exponential", 0.5, 7)
    assert result["updates"] >= 80
    assert result["loss"] == {"first": None, "last": None, "halved_after_s": None}
    curve = result["curve"]
    assert len(curve["time_s"]) == len(curve["rms"]) == len(curve["span"]) == len(curve["loss"])


def test_a_length_in_which_nothing_ends_is_shown_too() -> None:
    assert main(["simulate", "--duration-s", "0.001"]) == 0


def test_a_distance_that_has_not_settled_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "gossip", "--learners", "500", "--updates", "20"]) == 0
    assert "gossip: the distance still grows" in capsys.readouterr().out


def test_edges_may_come_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "edges.json"
    file.write_text("[[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]]")
    (result,) = printed_json(["gossip", *SHORT, "--topology", str(file)], capsys)
    assert result["mixed_share"] > 0.5
    file.write_text("[[0, 1], [1, 2], [2, 3]]")
    assert main(["simulate", "gossip", *SHORT, "--topology", str(file)]) == 2
    assert "add an edge" in capsys.readouterr().err


def test_curves_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for problem in ("quadratic", "random-walk"):
        file = tmp_path / f"{problem}.svg"
        assert main(["simulate", *SHORT, "--problem", problem, "--plot", str(file)]) == 0
        assert "svg" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["gossip", "--learners", "1"], "learners 1 is too small: it must be at least 2"),
        (["chess"], "scheme 'chess' is unknown: choose from gossip"),
        (["--topology", "star"], "topology 'star' is unknown: choose one of directed-ring"),
        (["--topology", "hierarchical"], "needs to know the nodes: give --learners-per-node"),
        (
            ["--topology", "hierarchical", "--learners-per-node", "17"],
            "learners_per_node 17 is impossible with 16 learners",
        ),
        (
            ["--compute-distribution", "uniform"],
            "--compute-distribution 'uniform' is unknown: choose one of ",
        ),
        (["--stragglers", "99"], "stragglers 99 are more than the 16 learners"),
        (["--latency-s", "-1"], "latency_s -1.0 is too small"),
        (["--latency", "1"], "option --latency is unknown: did you mean --latency-s?"),
        (["--plot", "curve.txt"], "plot curve.txt: choose a name that ends in .png"),
        (["--plot", "nowhere/curve.png"], "plot nowhere/curve.png: folder nowhere does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *arguments]) == 2
    captured = capsys.readouterr()
    assert line in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_missing_matplotlib_is_told_before_anything_is_simulated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["simulate", "--learners", "10000", "--plot", "curve.png"]) == 2
    assert "pip install matplotlib" in capsys.readouterr().err


def test_the_table_of_the_document_is_what_its_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    command = next(line for line in text.splitlines() if line.startswith("gala simulate"))
    assert main(shlex.split(command)[1:]) == 0
    table = capsys.readouterr().out
    rows = [line.split("│")[1:-1] for line in table.splitlines() if line.startswith("│")]
    assert len(rows) == 9
    for cells in rows:
        assert f"| {' | '.join(cell.strip() for cell in cells)} |" in text

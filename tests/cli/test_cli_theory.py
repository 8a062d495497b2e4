"""The command line of `gala theory`: tables for people, JSON for programs, a picture for both."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gala_lab.main import main
from gala_rl.gossip.topology import NAMES
from gala_rl.theory.table import LEARNERS

FIGURES = ("beta", "spectral_gap", "half_life_rounds", "epsilon_factor", "typical_factor")


def printed_rows(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main(["theory", *arguments, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content["about"]) == set(FIGURES)
    rows: list[dict[str, Any]] = content["rows"]
    return rows


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["theory", *arguments]) == 2
    out, error = capsys.readouterr()
    assert not out
    assert error.count("\n") == 1
    return error


def test_json_has_a_row_for_each_topology_number_and_case(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = printed_rows(["--learners", "4,8", "--delay", "2", "--miss", "0.25"], capsys)
    cases = [("synchronous", 0, 0.0), ("asynchronous", 0, 0.25), ("delayed", 2, 0.0)]
    assert [(r["topology"], r["learners"], r["case"], r["delay"], r["miss"]) for r in rows] == [
        (name, learners, *case) for name in NAMES for learners in (4, 8) for case in cases
    ]
    for row in rows:
        assert row["reason"] is None
        assert all(row[figure] >= 0 for figure in FIGURES)
    assert rows[0]["beta"] == pytest.approx(0.7071, abs=5e-5)
    assert rows[0]["epsilon_factor"] == pytest.approx(2.414, abs=5e-4)


def test_all_sizes_of_all_topologies_by_default_within_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = printed_rows([], capsys)
    assert {row["learners"] for row in rows} == set(LEARNERS)
    assert len(rows) == 3 * len(NAMES) * len(LEARNERS)
    with pytest.raises(SystemExit):
        main(["theory", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"default: {','.join(map(str, LEARNERS))}" in shown


def test_no_bound_is_null_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--topology", "complete", "--learners", "1,4", "--miss", "1", "--delay", "0"]
    alone, alone_missing, together, missing = printed_rows(arguments, capsys)
    assert [row["case"] for row in (alone, missing)] == ["synchronous", "asynchronous"]
    assert alone_missing["epsilon_factor"] == together["epsilon_factor"] == 0
    assert missing["epsilon_factor"] is missing["typical_factor"] is None
    assert missing["half_life_rounds"] is None
    assert (missing["beta"], missing["spectral_gap"]) == (1.0, 0.0)
    assert missing["reason"] == "unbounded: disagreement does not shrink"
    assert main(["theory", *arguments]) == 0
    assert "no bound" in capsys.readouterr().out


def test_a_table_for_each_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "--topology", "directed-ring", "--learners", "4,4096"]) == 0
    lines = [
        " ".join(line.replace("│", "|").split()) for line in capsys.readouterr().out.split("\n")
    ]
    assert "| directed-ring | 4 | 0.7071 | 0.2929 | 2 | 2.414 | 0.7071 |" in lines
    assert "| directed-ring | 4,096 | 1.0000 | 2.941e-07 | 2,356,545 | 3,399,774 | 36.94 |" in lines
    assert "synchronous: in every round all mix what was sent in it" in lines
    assert "asynchronous: each learner misses a mix with probability 0.1" in lines
    assert "delayed: all mix what was sent 1 round before" in lines


def test_names_stay_whole_on_a_terminal_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("TERM", "dumb")  # has 80 columns and neither colours nor bold type
    assert main(["theory", "--learners", "8,4096", "--topology", "rotating-exponential"]) == 0
    assert main(["theory", "--learners", "8", "--learners-per-node", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if "│" in line) <= 80
    names = {line.split("│")[1].strip() for line in lines if line.startswith("│")}
    assert names == {*NAMES, "hierarchical, 4 per node"}


def test_every_row_of_the_document_is_one_of_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = (Path(__file__).parents[2] / "docs" / "theory.md").read_text(encoding="utf-8")
    shown = [
        line for line in document.splitlines() if line.startswith(tuple(f"| {n} " for n in NAMES))
    ]
    assert len(shown) > 20
    assert main(["theory", "--learners", "4,16,64"]) == 0
    lines = capsys.readouterr().out.replace("│", "|").splitlines()
    assert set(shown) <= {" ".join(line.split()) for line in lines}


def test_a_file_of_edges_has_as_many_learners_as_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "edges.json"
    file.write_text("[[0, 1], [1, 2], [2, 0], [0, 2]]", encoding="utf-8")
    rows = printed_rows(["--topology", str(file), "--delay", "3"], capsys)
    assert [(row["topology"], row["learners"]) for row in rows] == [(str(file), 3)] * 3
    assert printed_rows(["--topology", str(file), "--learners", "3"], capsys)[0] == rows[0]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_is_drawn(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"balls.{suffix}"
    assert main(["theory", "--learners", "1,2,8", "--miss", "1", "--plot", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert str(file) in " ".join(capsys.readouterr().out.split("\n"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--topology", "star"], "topology 'star' is unknown: choose one of directed-ring"),
        (["--learners", "0,4"], "0 learners: choose 1 … 4096"),
        (["--learners", "5k"], "5000 learners: choose 1 … 4096"),
        (["--learners", "4,,8"], "'' is not a whole number"),
        (["--delay", "17"], "delay 17: choose 0 … 16 rounds"),
        (["--delay", "-1"], "-1"),
        (["--miss", "1.01"], "miss 1.01: choose a probability, 0 … 1"),
        (["--miss", "often"], "'often'"),
        (["--plot", "balls.txt"], "plot balls.txt: choose a name that ends in .png, .pdf or .svg"),
        (["--plot", "no/such/balls.png"], "folder no/such does not exist, create it first"),
        (["--topology", "x" * 5000], "is unknown"),
        (["--topology", "hierarchical"], "needs to know the nodes: give --learners-per-node"),
        (
            ["--topology", "hierarchical", "--learners", "2", "--learners-per-node", "4"],
            "learners_per_node 4 is impossible with 2 learners: choose 1 … 2",
        ),
        (
            ["--topology", "complete", "--learners-per-node", "4"],
            "learners_per_node 4 is of no use with topology complete",
        ),
    ],
)
def test_mistakes_are_one_line_with_the_value(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refusal(arguments, capsys)


@pytest.mark.parametrize(
    ("edges", "learners", "words"),
    [
        ("[[0, 1], [1, 0], [2, 0]]", [], "nothing that learner 0 learns ever reaches learner 2"),
        ("[[0, 1], [1, 0], [0, 0]]", [], "edge [0, 0] is a loop"),
        ("[[0, 1], [1, 0]]", ["--learners", "4"], "nothing that learner 2 learns"),
        ("[[0, 1], [1, 2], [2, 0]]", ["--learners", "2"], "edge [1, 2] names learner 2"),
        ("[[0, 100], [100, 0]]", [], "with 101 learners: a graph that does not look the same"),
        ("[[0, -1], [-1, 0]]", [], "names learner -1"),
        ("[[0, 1, 0.5]]", [], "holds the edge [0, 1, 0.5]"),
    ],
)
def test_mistakes_in_a_file_name_the_edge_or_learner(
    edges: str, learners: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "edges.json"
    file.write_text(edges, encoding="utf-8")
    assert words in refusal(["--topology", str(file), *learners], capsys)


def test_a_picture_that_cannot_be_drawn_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.png").mkdir()
    assert "cannot be written" in refusal(
        ["--learners", "2", "--plot", str(tmp_path / "folder.png")], capsys
    )
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install matplotlib" in refusal(["--plot", "balls.png"], capsys)


def test_the_command_needs_no_torch_and_its_help_no_numpy() -> None:
    program = (
        "import sys\n"
        "from gala_lab.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy') if m in sys.modules])\n"
    )
    loaded = [
        subprocess.run(
            [sys.executable, "-c", program, "theory", *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for arguments in (["--help"], ["--learners", "4"])
    ]
    assert loaded == ["[]", "['numpy']"]

"""`gala runs` prints a table or JSON, and one line where there is nothing to show."""

import json
from pathlib import Path

import pytest

from gala_lab.main import main
from gala_rl.cli.runs import _age
from tests.support.run_folders import fake_run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def test_the_table_has_a_row_per_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_run(folder / "first", None)
    (folder / "second").mkdir()
    (folder / "second" / "config.json").touch()
    assert main(["runs"]) == 0
    printed = capsys.readouterr().out
    (row,) = [line for line in printed.splitlines() if "first" in line]
    for text in ("gala-a2c", "CartPole-v1", "killed", "0 of 400", "–", " s "):
        assert text in row
    assert "damaged: runs/second/config.json cannot be read" in printed


def test_json_has_every_number(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_run(folder / "first", None)
    assert main(["runs", "runs", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["damaged"] == []
    (run,) = content["runs"]
    assert run["run"] == "runs/first"
    assert (run["state"], run["agent_steps"], run["steps"]) == ("killed", 0, 400)
    assert 0 <= run["age_s"] < 1_000


def test_nothing_to_show_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert capsys.readouterr().out.startswith("no runs in runs: ")
    assert main(["runs", "elsewhere"]) == 2
    assert capsys.readouterr().err.startswith("gala: folder elsewhere does not exist")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (7_199, "1 h"), (1e6, "11 d")]
)
def test_ages_have_one_unit(seconds: float, text: str) -> None:
    assert _age(seconds) == text

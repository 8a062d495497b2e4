"""`gala compare` with several environments and variants, trained for a moment."""

import json
from pathlib import Path

import pytest

from gala_lab.main import main

SMALL = ["--steps", "400", "--serial", "--simulators-total", "4", "--seeds", "1"]
ENVS = "CartPole-v1,tests.environments:Counting-v0"


def test_environments_and_variants_are_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["compare", "a2c", "a2c:discount=0.5", "--env", ENVS, "--out", "both", *SMALL]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "1 seed per method: too few for conclusions" in printed
    assert "2 environments, 400 agent steps each" in printed
    result = json.loads(Path("both/result.json").read_text(encoding="utf-8"))
    assert list(result["environments"]) == ENVS.split(",")
    assert list(result["methods"]) == ["a2c", "a2c:discount=0.5"]
    assert Path("both/CartPole-v1/runs/a2c_discount=0.5-seed-0/summary.json").is_file()
    assert Path("both/CartPole-v1/table.md").is_file()
    assert "CartPole-v1" in Path("both/table.md").read_text(encoding="utf-8")
    assert main([*arguments, "--json"]) == 0, "all runs are complete"
    assert json.loads(capsys.readouterr().out)["methods"] == result["methods"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a2c", "--env", "CartPole-v1,CartPole-v1"], "env CartPole-v1 is named twice"),
        (["a2c", "--env", "CartPole-v1,CartPol-v1"], "CartPol"),
        (["a2c", "a2c"], "method 'a2c' is named twice"),
        (["a2c:discount"], "method 'a2c:discount'"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    defaults = [] if "--env" in arguments else ["--env", "CartPole-v1"]
    assert main(["compare", *arguments, *defaults, "--out", "both", *SMALL]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not Path("both").exists()


def test_enough_seeds_need_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gala_lab.compare.run_schedule.train_all", lambda plan, console: True)
    arguments = ["compare", "a2c", "--env", "CartPole-v1", "--out", "both"]
    assert main([*arguments, "--seeds", "5"]) == 130
    assert "too few" not in capsys.readouterr().out
    assert main([*arguments, "--seeds", "4"]) == 130
    assert "4 seeds per method: too few" in capsys.readouterr().out

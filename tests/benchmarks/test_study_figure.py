"""The figure and the table of a study, from the rows of a tiny one."""

import json
import shlex
from pathlib import Path

import pytest

from benchmarks.figures import study, tables
from gala_lab.main import main

OPTIONS = [
    *("--envs", "gym-vec:CartPole-v1", "--simulators-total", "8", "--steps", "8k", "--seeds", "2"),
    *("--rates", "1,2"),
]


def test_a_study_is_summarised_beside_the_large_batch_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both, gossip, out = tmp_path / "both", tmp_path / "gossip", tmp_path / "figure"
    assert main(["study", "--out", str(both), *OPTIONS, "--learners", "1,2"]) == 0
    picture = tmp_path / "rates.png"
    more = ["--learners", "2", "--topologies", "complete", "--plot", str(picture)]
    assert main(["study", "--out", str(gossip), *OPTIONS, *more]) == 0
    assert picture.stat().st_size > 5_000
    assert f"drawn: {picture}" in capsys.readouterr().out.replace("\n", "")
    given = ["--threshold", "10", "--floor", "5", "--out", str(out)]
    study.main([str(both), *given])
    command = shlex.split((out / "command.txt").read_text(encoding="utf-8"))
    assert command == ["python", "-m", "benchmarks.figures.study", "STUDY", *given]
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    (task,) = result["tasks"]
    assert [rule["learners"] for rule in task["rules"]] == [1, 2]
    assert len((out / "runs.jsonl").read_text(encoding="utf-8").splitlines()) == 8
    assert 5_000 < (out / "figure.png").stat().st_size < 200_000
    lines = tables.study(result).splitlines()
    assert len(lines) == 6
    assert lines[-2].startswith("| 1 | one large batch |")
    assert "1.00 (" in lines[-2]
    study.main([str(gossip), "--baseline", str(both), *given])
    (task,) = json.loads((out / "result.json").read_text(encoding="utf-8"))["tasks"]
    assert task["rules"][0]["name"] == "complete"
    assert task["rules"][0]["ratio"] > 0


def test_a_study_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        study.main([str(tmp_path), "--out", str(tmp_path / "figure")])


def test_several_tasks_at_one_rate_share_a_table_of_ratios() -> None:
    def rule(learners: int, auc: float, ratio: float) -> dict[str, object]:
        at = {"auc": auc, "ratio": ratio, "ratio_interval": [ratio, 2 * ratio], "runs": 4}
        return {"learners": learners, "name": "ring", "rates": [at]}

    tasks = [
        {"env": f"pgx:{game}", "algorithm": "a2c", "simulators": 8, "steps": 1_000, "rules": rules}
        for game, rules in (
            ("breakout", [rule(16, 5.0, 0.5), rule(4, 10.0, 1.0)]),
            ("asterix", [rule(4, 3.0, 0.75), rule(16, 2.0, 0.25)]),
        )
    ]
    lines = tables.study({"tasks": tasks}).splitlines()
    assert lines[2] == "| learners | update rule | breakout | asterix |"
    assert lines[4] == "| 4 | ring | 10; 1.00 (1.00 … 2.00) | 3; 0.75 (0.75 … 1.50) |"
    assert lines[5] == "| 16 | ring | 5; 0.50 (0.50 … 1.00) | 2; 0.25 (0.25 … 0.50) |"

"""A run on a cluster leaves behind what a run on one machine does, and goes on as that does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gala_lab.main import main
from gala_rl.app.evaluate import evaluate
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from tests.cluster.machines import Machines, node_actors, wait_until
from tests.support.run_records import newest

TRAIN = (
    "train gala-a2c --env CartPole-v1 --normalize-observations --learners 2 --simulators 2 "
    "--steps 1k --log-every 10"
)
"""With moments of observations behind the parameters that learn."""


def files(folder: RunFolder) -> set[str]:
    """Names of what is there, numbers of agent steps and times apart."""
    names = {str(path.relative_to(folder.path)) for path in folder.path.rglob("*")}
    return {re.sub(r"step_\d+|events\..*", "*", name) for name in names}


def rows(folder: RunFolder, rank: int) -> list[dict[str, Any]]:
    return MetricsReader(folder.metrics_file(rank)).new_rows()


def test_a_run_ends_as_on_one_machine_is_evaluated_and_goes_on(
    machines: Machines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = RunFolder(tmp_path / "here"), RunFolder(tmp_path / "there")
    assert main([*TRAIN.split(), "--serial", "--out", str(here.path)]) == 0
    cluster = ["--cluster", machines.address, "--message-precision", "bfloat16"]
    assert main([*TRAIN.split(), *cluster, "--out", str(there.path)]) == 0
    assert "on 2 nodes" in capsys.readouterr().out
    wait_until(lambda: not node_actors())

    logs = {f"logs/learner_{rank:02d}.log" for rank in range(2)}
    assert files(there) == files(here) | logs
    summary = there.read_summary()
    assert set(summary) == set(here.read_summary())
    assert 1_000 <= summary["agent_steps"] < 4_000
    assert summary["restarts"] == 0
    assert there.read_config().learners_per_node == 1
    for rank in range(2):
        assert set(rows(there, rank)[0]) == set(rows(here, rank)[0])
        assert rows(there, rank)[-1]["mixes"] > 0
    saved = newest(there)
    assert saved.learners() == [0, 1]
    assert saved.agent_steps == summary["agent_steps"]
    consensus = json.loads(there.consensus_file.read_text().splitlines()[-1])
    assert consensus["versions"] == summary_updates(summary)
    assert consensus["consensus_span"] > 0
    assert consensus["consensus_span_bound"] is None
    assert evaluate(there.path, episodes=1)["agent_steps"] == summary["agent_steps"]

    made = {rank: rows(there, rank) for rank in range(2)}
    assert main(["resume", str(there.path), "--steps", "4k"]) == 0
    assert there.read_summary()["agent_steps"] >= 4_000
    for rank in range(2):
        again = rows(there, rank)
        assert again[: len(made[rank])] == made[rank], "rows of the first part are there, once"
        assert again[-1]["agent_steps"] > made[rank][-1]["agent_steps"]


def summary_updates(summary: dict[str, Any]) -> list[int]:
    return [learner["updates"] for learner in summary["learners"]]

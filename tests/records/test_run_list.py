"""Lists of runs: their states, how far they are, what differs, and runs that cannot be read."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods.resolving import resolve
from gala_rl.records.files import write_json
from gala_rl.records.run_folder import RunFolder
from gala_rl.records.run_list import ListedRun, list_runs
from tests.support.comparison_rows import rows


def made(path: Path, given: dict[str, Any] | None = None, **settings: Any) -> RunFolder:
    """A run that was started."""
    values = {"method": "ppo", "env": "CartPole-v1", "steps": 400, "out": str(path), **settings}
    folder = RunFolder(path)
    folder.create(resolve(TrainConfig(**values), given or {}))
    return folder


def end(folder: RunFolder, **summary: Any) -> None:
    """Write a summary after the config."""
    os.utime(folder.config_file, (1e9, 1e9))
    values = {"interrupted": False, "failed": False, "agent_steps": 400, "mean_return": 20.0}
    write_json(folder.summary_file, values | summary)


def listed(folder: Path) -> dict[str, ListedRun]:
    runs, damaged = list_runs(folder)
    assert damaged == []
    return {Path(run.run).name: run for run in runs}


def write_rows(folder: RunFolder, learner: int, steps: list[int], *tail: str) -> None:
    own = rows([float(step) for step in steps], steps)
    lines = [json.dumps(row | {"mean_return": 3.0 + learner}) for row in own]
    folder.metrics_file(learner).write_text("\n".join([*lines, *tail]), encoding="utf-8")


def test_states_are_how_runs_ended(tmp_path: Path) -> None:
    end(made(tmp_path / "done"))
    end(made(tmp_path / "sweep" / "halted"), interrupted=True, agent_steps=100)
    end(made(tmp_path / "broken"), failed=True)
    made(tmp_path / "killed")
    resumed = made(tmp_path / "resumed")
    end(resumed)
    os.utime(resumed.config_file, (time.time() + 5, time.time() + 5))
    running = made(tmp_path / "running")
    end(running)
    with running.lock():
        states = {name: run.state for name, run in listed(tmp_path).items()}
    assert states == {
        "done": "ended",
        "halted": "stopped",
        "broken": "failed",
        "killed": "killed",
        "resumed": "killed",
        "running": "running",
    }
    halted = listed(tmp_path)["halted"]
    assert (halted.agent_steps, halted.steps, halted.mean_return) == (100, 400, 20.0)


def test_a_run_without_an_end_is_as_far_as_its_newest_rows(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", method="gala-ppo", learners=2)
    write_rows(folder, 0, [10, 30])
    write_rows(folder, 1, [20], "[1]", '{"agent')
    (run,) = listed(tmp_path).values()
    assert (run.agent_steps, run.mean_return) == (50, 3.5)


def test_only_settings_that_differ_are_listed_per_method_and_environment(tmp_path: Path) -> None:
    made(tmp_path / "a", seed=1)
    made(tmp_path / "b", {"epochs": 3}, seed=2)
    made(tmp_path / "c", seed=2, env="Acrobot-v1")
    made(tmp_path / "d", method="a2c")
    runs = listed(tmp_path)
    assert runs["a"].settings == {"seed": 1, "epochs": 10}
    assert runs["b"].settings == {"seed": 2, "epochs": 3}
    assert runs["c"].settings == runs["d"].settings == {}
    assert [runs[name].method for name in "abcd"] == ["ppo", "ppo", "ppo", "a2c"]


def test_runs_are_found_in_folders_below_but_not_in_runs(tmp_path: Path) -> None:
    run = made(tmp_path / "x" / "y" / "run")
    made(run.earlier / "1")
    assert set(listed(tmp_path)) == {"run"}
    assert set(listed(run.path)) == {"run"}


def test_the_oldest_run_is_first_and_an_age_may_be_unknown(tmp_path: Path) -> None:
    for name, started in (("b", "2026-01-02T00:00:00+0000"), ("a", "2026-01-01"), ("c", "never")):
        file = made(tmp_path / name).config_file
        content = json.loads(file.read_text(encoding="utf-8"))
        write_json(file, content | {"started": started})
    runs, _ = list_runs(tmp_path)
    assert [Path(run.run).name for run in runs] == ["a", "b", "c"]
    assert runs[1].age_s == pytest.approx(time.time() - 1_767_312_000, abs=60)
    assert runs[2].age_s is None


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "config.json cannot be read"),
        ("config.json", '{"config": {"sede": 1}}', "did you mean seed?"),
        ("config.json", "[]", "must hold a JSON object"),
        ("summary.json", '{"mean_return": "high"}', "mean_return"),
    ],
)
def test_a_damaged_run_is_one_line_and_the_others_are_listed(
    tmp_path: Path, file: str, content: str, message: str
) -> None:
    made(tmp_path / "good")
    damaged = made(tmp_path / "damaged")
    (damaged.path / file).write_text(content, encoding="utf-8")
    runs, lines = list_runs(tmp_path)
    assert [Path(run.run).name for run in runs] == ["good"]
    assert len(lines) == 1
    assert message in lines[0]
    assert str(damaged.path) in lines[0]
    assert "\n" not in lines[0]


def test_a_folder_must_exist_but_may_be_empty(tmp_path: Path) -> None:
    assert list_runs(tmp_path) == ([], [])
    with pytest.raises(UserError, match="does not exist"):
        list_runs(tmp_path / "nothing")

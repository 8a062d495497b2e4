"""Hooks see every row and checkpoint, end a run in order, and bring their errors to the caller."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gala_rl.app.hooks import Hooks
from gala_rl.app.train import resume, train
from gala_rl.config.train import TrainConfig
from gala_rl.errors import StorageError, UserError
from gala_rl.records.files import read_json
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from tests.support.run_processes import CONFIG, children
from tests.support.run_records import newest

QUIET = Console(quiet=True)
SERIAL = TrainConfig(
    method="gala-a2c",
    env="tests.environments:Drifting-v0",
    learners=2,
    simulators=2,
    log_every=5,
    steps=10**12,
    serial=True,
)
PROCESSES = replace(CONFIG, checkpoint_every=1.0)
SYSTEMS = pytest.mark.parametrize("config", [SERIAL, PROCESSES], ids=["serial", "processes"])


def on_row_at(agent_steps: int) -> Callable[[Mapping[str, Any]], str | None]:
    return lambda row: "stop" if row["total_agent_steps"] >= agent_steps else None


@SYSTEMS
def test_a_hook_sees_every_row_and_every_checkpoint(config: TrainConfig, tmp_path: Path) -> None:
    rows: list[Mapping[str, Any]] = []
    checkpoints: list[tuple[Path, int]] = []

    def on_checkpoint(folder: Path, agent_steps: int) -> None:
        assert (folder / "manifest.json").is_file(), "it can be copied here"
        checkpoints.append((folder, agent_steps))

    run = tmp_path / "run"
    summary = train(
        replace(config, steps=6_000, checkpoint_every=0.05, out=str(run)),
        QUIET,
        on_row=rows.append,
        on_checkpoint=on_checkpoint,
    )
    assert summary["stopped_because"] is None
    folder = RunFolder(run)
    for rank in range(config.learners or 0):
        own = [row for row in rows if row["learner"] == rank]
        written = MetricsReader(folder.metrics_file(rank)).new_rows()
        assert [{name: row[name] for name in written[0]} for row in own] == written
    assert rows[-1]["mean_return_all"] == summary["mean_return"]
    assert rows[-1]["episodes_all"] == summary["episodes"]
    steps = [agent_steps for _, agent_steps in checkpoints]
    assert len(steps) >= 2
    assert steps == sorted(set(steps))
    assert checkpoints[-1] == (newest(folder).path, summary["agent_steps"])


@SYSTEMS
def test_a_hook_that_returns_stop_ends_the_run_as_finished(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    summary = train(replace(config, out=str(run)), on_row=on_row_at(2_000))
    assert summary["stopped_because"] == "on_row returned 'stop'"
    assert "stopping: on_row returned 'stop'" in capsys.readouterr().out
    assert not summary["interrupted"]
    assert not summary["failed"]
    assert summary["agent_steps"] >= 2_000
    assert newest(RunFolder(run)).agent_steps == summary["agent_steps"]
    assert children() == []

    first: list[int] = []

    def stop_at_once(row: Mapping[str, Any]) -> str | None:
        first.append(row["total_agent_steps"])
        return "stop"

    more = resume(run, console=QUIET, on_row=stop_at_once)
    assert min(first) > summary["agent_steps"], "no row of before"
    assert more["agent_steps"] > summary["agent_steps"]


@SYSTEMS
def test_a_hook_of_checkpoints_may_stop_too(config: TrainConfig, tmp_path: Path) -> None:
    summary = train(
        replace(config, out=str(tmp_path / "run")), QUIET, on_checkpoint=lambda *_: "stop"
    )
    assert summary["stopped_because"] == "on_checkpoint returned 'stop'"


@pytest.mark.parametrize("kind", [ZeroDivisionError, SystemExit, OSError, StorageError])
@SYSTEMS
def test_a_hook_that_raises_ends_the_run_with_its_traceback(
    kind: type[BaseException], config: TrainConfig, tmp_path: Path
) -> None:
    error, calls = kind("of the hook"), list[int]()

    def on_row(row: Mapping[str, Any]) -> None:
        calls.append(row["total_agent_steps"])
        if row["total_agent_steps"] > 1_000:
            raise error

    run = tmp_path / "run"
    with pytest.raises(kind) as raised:
        train(replace(config, out=str(run)), QUIET, on_row=on_row)
    assert raised.value is error
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert frames[-1].name == "on_row"
    assert raised.value.__notes__ == [f"the run has ended; go on with: gala resume {run}"]
    assert [steps > 1_000 for steps in calls].count(True) == 1, "none is called again"
    summary = read_json(run / "summary.json")
    assert summary["failed"]
    assert summary["stopped_because"].startswith("on_row raised")
    saved = newest(RunFolder(run))
    assert saved.agent_steps == summary["agent_steps"] > 1_000
    assert len(saved.learners()) == config.learners
    assert children() == []


def test_an_answer_that_means_nothing_is_told_at_the_first_row(tmp_path: Path) -> None:
    config = replace(SERIAL, out=str(tmp_path / "run"))
    with pytest.raises(UserError, match="on_row returned False: return 'stop' to end the run, or"):
        train(config, QUIET, on_row=lambda row: False)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("hooks", "line"),
    [
        (Hooks(on_row="print"), "on_row 'print' is not a function: it is called as on_row(row)"),  # type: ignore[arg-type]
        (Hooks(on_row=lambda: None), "cannot be called as on_row(row): too many positional"),  # type: ignore[arg-type, misc]
        (Hooks(on_checkpoint=lambda folder: None), "called as on_checkpoint(folder, steps): too"),  # type: ignore[arg-type, misc]
    ],
)
def test_a_hook_of_another_shape_is_refused_before_anything_starts(
    hooks: Hooks, line: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError) as refused:
        train(
            replace(SERIAL, out=str(run)),
            on_row=hooks.on_row,
            on_checkpoint=hooks.on_checkpoint,
        )
    assert line in str(refused.value)
    assert not run.exists()

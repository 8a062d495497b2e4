"""Errors of the system in the supervisor: learners end as they should and leave a checkpoint."""

import errno
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from gala_lab.main import main
from gala_rl.errors import StorageError, SupervisorFailure
from gala_rl.records.files import read_json
from gala_rl.records.metrics import MetricsWriter
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunStatus
from tests.support.run_processes import CONFIG, children, make_local_run, start_command
from tests.support.run_records import newest


@pytest.mark.parametrize("lasts", [False, True])
def test_an_error_of_the_system_ends_the_run_in_order(lasts: bool, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    raised: list[int] = []

    def observe(status: RunStatus) -> None:
        if all(updates > 5 for updates in status.updates) and (lasts or not raised):
            raised.append(status.total_agent_steps)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "metrics/learner_00.jsonl")

    outcome = make_local_run(replace(CONFIG, checkpoint_every=1000.0), folder).run(observe)
    assert isinstance(outcome.failure, SupervisorFailure)
    assert "Too many open files" in str(outcome.failure)
    assert isinstance(outcome.failure.__cause__, OSError)
    saved = newest(folder)
    assert saved.learners() == [0, 1, 2]
    assert saved.agent_steps >= raised[0]
    assert outcome.status.restarts == [0, 0, 0]
    assert children() == []


def test_a_file_that_cannot_be_read_is_told_in_one_line_and_costs_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start_command(run, stderr=subprocess.PIPE)
    before = RunFolder(run).checkpointed_agent_steps() or 0
    rows = RunFolder(run).metrics_file(0)
    rows.rename(run / "elsewhere")
    # Nothing is mapped at the beginning of a process' memory: an input/output error.
    rows.symlink_to("/proc/self/mem")
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert told.decode().count("\n") == 1
    assert told.decode().startswith("gala: the supervisor of the learners met an error: [Errno 5]")
    assert f"gala resume {run}" in told.decode()
    saved = newest(RunFolder(run))
    assert saved.learners() == [0, 1]
    assert saved.agent_steps > before
    assert read_json(run / "summary.json")["failed"]
    rows.unlink()
    (run / "elsewhere").rename(rows)
    assert main(["resume", str(run), "--steps", str(saved.agent_steps + 100)]) == 0


def test_rows_that_can_be_opened_nowhere_are_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be opened \(Is a directory\)"):
        MetricsWriter(tmp_path)

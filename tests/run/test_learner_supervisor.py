"""When learners end, or don't, in ways that look like others."""

import gc
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from gala_rl.errors import LearnerFailure
from gala_rl.methods.resolving import resolve
from gala_rl.processes import supervised
from gala_rl.processes.spawn import start_process
from gala_rl.records.run_folder import RunFolder
from gala_rl.run import learner_supervisor
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.status import RunStatus
from tests.run.test_learner_process import spec_of
from tests.support.run_processes import CONFIG, children, make_local_run, send_to
from tests.support.run_records import newest


def test_a_simulator_that_ends_its_learner_without_an_error_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TROUBLE", str(tmp_path))
    (tmp_path / "step-0").write_text("exit without a word", encoding="utf-8")
    config = resolve(replace(CONFIG, env="tests.environments:Troubled-v0"))
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(config, folder)
    notices: list[str] = []

    def observe(status: RunStatus) -> None:
        notices.extend(status.notices)
        if sum(status.restarts) and min(status.updates) > 30:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert [notice for notice in notices if "died (exit code 0) and is restarted" in notice]
    assert newest(folder).learners() == [0, 1, 2]
    assert children() == []


def test_a_process_that_cannot_be_started_ends_the_run_with_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(CONFIG, folder)
    victims: list[int] = []

    def refuse(*_: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    def observe(status: RunStatus) -> None:
        if min(status.updates) >= 30 and not victims:
            monkeypatch.setattr(supervised, "start_process", refuse)
            victims.append(send_to(system, 1, signal.SIGKILL))

    outcome = system.run(observe)
    assert isinstance(outcome.failure, LearnerFailure)
    assert "no process can be started for learner 1: [Errno 11]" in str(outcome.failure)
    assert newest(folder).learners() == [0, 2]
    assert children() == []


def test_a_run_whose_processes_cannot_all_be_started_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_the_last(*arguments: Any) -> Any:
        if arguments[2].endswith("2"):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return start_process(*arguments)

    monkeypatch.setattr(supervised, "start_process", refuse_the_last)
    with pytest.raises(
        LearnerFailure, match=r"no process can be started for learner 2: .*Errno 11"
    ):
        make_local_run(CONFIG, RunFolder(tmp_path / "run"))
    assert children() == []


def test_nobody_is_killed_for_having_been_stopped_with_everybody_else(tmp_path: Path) -> None:
    system = make_local_run(replace(CONFIG, hang_after=2.0), RunFolder(tmp_path / "run"))
    stopped_at: list[list[int]] = []

    def observe(status: RunStatus) -> None:
        if min(status.updates) >= 30 and not stopped_at:
            pids = [send_to(system, rank, signal.SIGSTOP) for rank in range(3)]
            time.sleep(3.0)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            stopped_at.append(status.updates)
        elif stopped_at and all(
            now > then + 30 for now, then in zip(status.updates, stopped_at[0], strict=True)
        ):
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 0, 0]


def test_runs_one_after_another_leave_nothing_open(tmp_path: Path) -> None:
    open_files = []
    for run in range(3):
        _train_briefly(RunFolder(tmp_path / str(run)))
        # PyTorch keeps a descriptor of what is shared as long as it has not been collected.
        gc.collect()
        open_files.append(psutil.Process().num_fds())
    assert open_files[2] <= open_files[0]


def leave(spec: LearnerSpec) -> None:
    os._exit(0)


def test_learners_that_leave_and_join_again_leave_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_one_that_leaves(work: Any, *arguments: Any) -> Any:
        return start_process(leave, *arguments)

    monkeypatch.setattr(supervised, "start_process", start_one_that_leaves)
    spec = spec_of(replace(CONFIG, learners=1), RunFolder(tmp_path / "run"))
    learners = learner_supervisor.LearnerSupervisor([spec])
    open_files = []
    for _ in range(5):
        learners._learners[0].process.join(30.0)
        learners.add(spec)
        gc.collect()
        open_files.append(psutil.Process().num_fds())
    learners.kill_all()
    assert len(set(open_files)) == 1


def _train_briefly(folder: RunFolder) -> None:
    system = make_local_run(CONFIG, folder)
    system.run(lambda status: system.stop() if min(status.updates) else None)

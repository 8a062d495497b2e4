"""Learners as real processes: killed, poisoned, interrupted and orphaned for real."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gala_rl.app.train import resume, train
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunStatus
from tests.support.run_processes import (
    CONFIG,
    GIVE_UP_S,
    children,
    learners_of,
    make_local_run,
    start_command,
    survivors,
)
from tests.support.run_records import newest


def test_a_run_ends_by_itself_and_leaves_everything_but_processes(tmp_path: Path) -> None:
    summary = train(replace(CONFIG, steps=3_000, out=str(tmp_path / "run")))
    assert summary["agent_steps"] >= 3_000
    assert summary["restarts"] == 0
    saved = newest(RunFolder(tmp_path / "run"))
    assert saved.learners() == [0, 1, 2]
    metrics = {path.name for path in (tmp_path / "run" / "metrics").iterdir()}
    learners = {f"learner_{rank:02d}.jsonl" for rank in range(3)}
    assert metrics == {"consensus.jsonl", "events.jsonl"} | learners
    assert children() == []

    more = resume(tmp_path / "run", steps=6_000)
    assert more["agent_steps"] >= 6_000
    assert more["mixes"] > summary["mixes"]


def test_learners_begin_together_so_that_nobody_spends_a_small_budget_alone(
    tmp_path: Path,
) -> None:
    # Two simulators of learner 1 take two seconds to build; alone, the others need far less.
    config = resolve(replace(CONFIG, env="tests.environments:SlowToBuild-v0", steps=3_000))
    summary = train(replace(config, out=str(tmp_path / "run")))
    assert all(learner["updates"] > 0 for learner in summary["learners"])
    assert summary["mixes"] > 0


def test_a_learner_that_keeps_dying_ends_the_run_with_its_rank_and_traceback(
    tmp_path: Path,
) -> None:
    config = replace(
        CONFIG, env="tests.environments:AlwaysFailing-v0", max_restarts=1, out=str(tmp_path / "run")
    )
    with pytest.raises(LearnerFailure, match=r"learner \d died 2 times") as failure:
        train(config)
    assert "the simulator broke" in str(failure.value)
    assert children() == []


def test_nan_ends_its_learner_and_is_told_as_such(tmp_path: Path) -> None:
    config = replace(
        CONFIG, env="tests.environments:Poisoned-v0", max_restarts=0, out=str(tmp_path / "run")
    )
    with pytest.raises(LearnerFailure, match="not finite"):
        train(config)
    assert children() == []


@pytest.mark.slow  # the tests of `gala scale` and of SECURITY.md end such runs in the same way
@pytest.mark.parametrize("method", ["gala-a2c", "a2c-allreduce", "a2c-async"])
def test_an_interrupt_leaves_a_checkpoint_and_no_orphan(tmp_path: Path, method: str) -> None:
    process = start_command(tmp_path / "run", method)
    learners = learners_of(process)
    with pytest.raises(UserError, match="is being trained by another process"):
        resume(tmp_path / "run")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(GIVE_UP_S) == 130
    saved = newest(RunFolder(tmp_path / "run"))
    assert saved.learners() == [0, 1]
    assert survivors(learners) == []


@pytest.mark.parametrize(
    "method", ["gala-a2c", pytest.param("a2c-allreduce", marks=pytest.mark.slow)]
)
def test_learners_end_with_a_killed_supervisor(tmp_path: Path, method: str) -> None:
    process = start_command(tmp_path / "run", method)
    learners = learners_of(process)
    process.kill()
    process.wait(GIVE_UP_S)
    assert survivors(learners) == []


@pytest.mark.parametrize("chosen", [None, "active"])
def test_threads_of_learners_sleep_while_they_wait_unless_the_user_says_otherwise(
    chosen: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if chosen is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
    # One alone: with a policy of the user's it is spawned, which takes long.
    system = make_local_run(replace(CONFIG, learners=1), RunFolder(tmp_path / "run"))
    seen: list[str] = []

    def observe(status: RunStatus) -> None:
        if min(status.updates) > 0 and not seen:
            seen.extend(psutil.Process(p).environ()["OMP_WAIT_POLICY"] for p in system.process_ids)
            system.stop()

    system.run(observe)
    assert seen == [chosen or "passive"]
    assert os.environ.get("OMP_WAIT_POLICY") == chosen

"""Checkpoints that not all contribute to in time: given up, without a trace or a failure."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gala_rl.errors import StorageError
from gala_rl.gossip import SharedMailboxes
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import LearnerState
from gala_rl.records.run_folder import RunFolder
from gala_rl.run import checkpointer
from gala_rl.run.checkpointer import Checkpointer
from gala_rl.run.learner_spec import FINAL, LearnerSpec
from gala_rl.run.learner_worker import LearnerWorker
from gala_rl.run.pace import UpdatePace
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters
from gala_rl.run.status import RunStatus
from tests.support.run_processes import CONFIG, make_local_run, send_to
from tests.support.run_records import newest

EVERY_S = 60.0


@dataclass
class Clock:
    """A clock that a test advances."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Writer:
    """As much of a learner as writes its part of a checkpoint."""

    rank: int

    def save(self, folder: Path, sent: object) -> None:
        state = LearnerState({"parameters": torch.ones(3)}, {"updates": 1})
        checkpoint.write_part(folder, self.rank, state)


class Run:
    """Two learners' specs, and who gathers what they write."""

    def __init__(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, has_checkpoint: bool = True
    ) -> None:
        config = replace(CONFIG, learners=2, checkpoint_every=EVERY_S)
        self.folder = RunFolder(path)
        self.folder.create(config)
        self.clock = Clock()
        monkeypatch.setattr(checkpointer, "time", SimpleNamespace(monotonic=self.clock.monotonic))
        self.counters = SharedCounters(2, 3, 3)
        self.checkpointer = Checkpointer(config, self.folder, self.counters, None, has_checkpoint)
        self.pace = UpdatePace(self.counters)
        mailboxes = SharedMailboxes(2, 3)
        self.specs = [
            LearnerSpec(
                config=config,
                folder=self.folder,
                rank=rank,
                device="cpu",
                mailboxes=mailboxes,
                counters=self.counters,
                journal=None,
                shared_coupling=None,
                faults=None,
            )
            for rank in range(2)
        ]

    def pass_time(self, seconds: float) -> str | None:
        self.clock.now += seconds
        return self.checkpointer.poll(self.pace)

    def contribute(self, rank: int) -> None:
        writer: Any = Writer(rank)
        LearnerWorker(self.specs[rank], writer).save_if_requested(
            self.counters.requested_checkpoint
        )

    def partials(self) -> list[str]:
        return sorted(path.name for path in self.folder.checkpoints.glob(".partial-*"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run(tmp_path / "run", monkeypatch)
    run.pass_time(EVERY_S + 1)
    assert run.counters.requested_checkpoint == 1
    return run


def in_the_middle(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something happen once a part's tensors are written, and before its counters are."""

    def save_and_act(*arguments: Any) -> None:
        save_file(*arguments)
        act()

    monkeypatch.setattr("gala_rl.records.checkpoint.save_file", save_and_act)


def test_a_part_that_is_being_written_when_its_checkpoint_is_given_up_is_no_full_disk(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.contribute(0)
    assert run.pass_time(1) is None
    notices: list[str | None] = []
    with monkeypatch.context() as patch:
        in_the_middle(patch, lambda: notices.append(run.pass_time(61)))
        run.contribute(1)
    assert notices == ["a checkpoint was given up: a learner did not contribute to it"]
    assert run.partials() == []
    run.pass_time(EVERY_S + 1)
    for rank in range(2):
        run.contribute(rank)
    assert run.pass_time(1) is None
    assert newest(run.folder).learners() == [0, 1]


def test_a_part_that_cannot_be_written_is_a_full_disk_as_long_as_somebody_waits_for_it(
    run: Run,
) -> None:
    partial = checkpoint.partial_folder(run.folder.checkpoints, "1")
    partial.mkdir()
    checkpoint.partial_counters(partial, 1).symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left"):
        run.contribute(1)


def test_who_is_late_for_a_checkpoint_that_was_given_up_writes_none(run: Run) -> None:
    run.contribute(0)
    assert run.pass_time(1) is None
    run.pass_time(61)
    run.contribute(1)
    assert run.partials() == []
    assert run.counters.get(1, LearnerCounter.CHECKPOINT_WRITTEN) == 0


def test_a_checkpoint_is_waited_for_as_long_as_more_contribute(run: Run) -> None:
    for rank in range(2):
        assert run.pass_time(58) is None
        run.contribute(rank)
        assert run.pass_time(1) is None
    assert newest(run.folder).learners() == [0, 1]


def test_what_is_written_of_a_given_up_one_all_the_same_goes_with_the_next(run: Run) -> None:
    run.pass_time(61)
    for request in ("1", FINAL):
        Writer(1).save(checkpoint.partial_folder(run.folder.checkpoints, request), None)
    run.pass_time(EVERY_S + 1)
    assert run.partials() == [f".partial-{FINAL}"]


def test_a_learner_that_stands_still_for_a_while_costs_one_checkpoint_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.run.pace._LEAST_S", 0.5)
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(replace(CONFIG, checkpoint_every=0.3), folder)
    given_up_at: list[int] = []

    def observe(status: RunStatus) -> None:
        if not given_up_at and all(updates > 5 for updates in status.updates):
            send_to(system, 2, signal.SIGSTOP)
        if not given_up_at and any("given up" in notice for notice in status.notices):
            given_up_at.append(status.total_agent_steps)
            send_to(system, 2, signal.SIGCONT)
        made = folder.checkpointed_agent_steps()
        if given_up_at and made is not None and made > given_up_at[0]:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 0, 0]
    assert newest(folder).learners() == [0, 1, 2]
    assert not list(folder.checkpoints.glob(".partial-*"))


def test_the_first_checkpoint_is_made_after_the_first_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run", monkeypatch, has_checkpoint=False)
    run.pass_time(1)
    assert run.counters.requested_checkpoint == 0
    run.counters.set(1, LearnerCounter.UPDATES, 1)
    run.pass_time(1)
    assert run.counters.requested_checkpoint == 1
    for rank in range(2):
        run.contribute(rank)
    run.pass_time(1)
    assert newest(run.folder).learners() == [0, 1]
    run.pass_time(EVERY_S - 1)
    assert run.counters.requested_checkpoint == 1, "those that follow have their time"

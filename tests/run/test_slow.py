"""Environments whose steps take long: learners live, and answer in the middle of an update."""

import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from gala_rl.config.train import TrainConfig
from gala_rl.methods.ppo import PPOSettings
from gala_rl.methods.resolving import resolve
from gala_rl.processes import heartbeat
from gala_rl.processes.supervised import RestartBudget
from gala_rl.records.run_folder import RunFolder
from gala_rl.run import learner_supervisor
from gala_rl.run.learner_supervisor import _Learner, _repeated_failure
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters
from gala_rl.run.status import RunStatus
from tests.support.run_processes import CONFIG, children, make_local_run, send_to
from tests.support.run_records import newest

SLOW = resolve(
    TrainConfig(
        method="ppo",
        env="tests.environments:SlowInLearners-v0",
        simulators=5,
        steps=10**12,
        algorithm=PPOSettings(rollout_steps=1, minibatches=1),
        hang_after=2.0,
    )
)
"""Building five simulators takes 2.5 s, a step of all of them too; none is silent for 2 s."""


def test_simulators_that_take_long_together_kill_nobody(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(SLOW, folder)

    def observe(status: RunStatus) -> None:
        if folder.checkpointed_agent_steps() is not None:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [0]
    assert outcome.killed == 0
    assert newest(folder).agent_steps >= 5, "the first checkpoint follows the first update"
    assert children() == []


def test_a_stop_is_heeded_in_the_middle_of_a_rollout(tmp_path: Path) -> None:
    """A rollout would take a quarter of an hour; what was saved before it is what is left."""
    algorithm = PPOSettings(rollout_steps=900, minibatches=1)
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(replace(SLOW, simulators=2, algorithm=algorithm), folder)
    beats = system._counters.heartbeat(0)
    begun: list[int] = []

    def observe(status: RunStatus) -> None:
        if system._counters.get(0, LearnerCounter.READY) and not begun:
            begun.append(int(beats[0]))
        elif begun and beats[0] > begun[0] + 10**9:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.updates == [0]
    assert outcome.killed == 0
    assert newest(folder).agent_steps == 0


def test_a_learner_that_is_killed_at_a_stop_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.run.pace._LEAST_S", 2.0)
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(replace(CONFIG, checkpoint_every=1000.0), folder)
    notices: list[str] = []
    stopped: list[int] = []

    def observe(status: RunStatus) -> None:
        notices.extend(status.notices)
        if min(status.updates) >= 30 and not stopped:
            stopped.append(send_to(system, 2, signal.SIGSTOP))
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.killed == 1
    assert [n for n in notices if n.startswith("killed learner 2, not done")]
    assert newest(folder).learners() == [0, 1]


@pytest.mark.parametrize(
    ("hung", "exitcode", "log", "remedy"),
    [
        (True, -9, "", "longer --hang-after"),
        (False, -9, "", "use fewer simulators"),
        (False, 0, "", "--simulator-processes"),
        (False, -11, "Segmentation fault", "--simulator-processes"),
        (False, 1, "ValueError: x", "logs/learner_00.log"),
    ],
)
def test_the_last_line_of_a_run_that_gives_up_names_a_remedy(
    hung: bool, exitcode: int, log: str, remedy: str, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    folder.log_file(0).write_text(log, encoding="utf-8")
    spec = SimpleNamespace(config=CONFIG, folder=folder, rank=0)
    process = SimpleNamespace(exitcode=exitcode, timeout_s=CONFIG.hang_after)
    budget = RestartBudget(3, learner_supervisor._PROGRESS_UPDATES, deaths_in_a_row=4)
    learner = _Learner(cast(Any, spec), cast(Any, process), budget, 0, True, was_hung=hung)
    told = str(_repeated_failure(learner)).splitlines()
    assert told[0].startswith(
        f"learner 0 died 4 times without making {learner_supervisor._PROGRESS_UPDATES}"
    )
    assert told[1] == (log or "(it is empty)")
    assert remedy in told[-1]


def test_a_process_shows_its_signs_of_life_where_it_is_told_to() -> None:
    place = SharedCounters(2, 1, 1).heartbeat(1)
    heartbeat.set_heartbeat(place)
    first = int(place[0])
    heartbeat.beat()
    heartbeat.set_heartbeat(np.zeros(1, dtype=np.int64))
    assert 0 < first <= int(place[0])

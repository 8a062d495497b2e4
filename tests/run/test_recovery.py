"""What learners lose, and what they don't, when some of them are killed, stopped or poisoned."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from gala_rl.app.train import resume
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.settings import GossipSettings
from gala_rl.errors import LearnerFailure
from gala_rl.methods.ppo import PPOSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run import learner_supervisor
from gala_rl.run.local import LocalRun
from gala_rl.run.status import RunStatus
from tests.support.run_processes import (
    CONFIG,
    GIVE_UP_S,
    children,
    learners_of,
    make_local_run,
    make_silent,
    pid_of,
    send_to,
    start_command,
    survivors,
    wait_until,
)
from tests.support.run_records import ascending_rows, newest

WAIT_BRIEFLY = GossipSettings(max_staleness=0, deadline=0.5)
WAIT_FOR_EVER = GossipSettings(max_staleness=0, deadline=1e6)
PPO = replace(
    CONFIG,
    method="gala-ppo",
    algorithm=PPOSettings(rollout_steps=5, epochs=2, minibatches=2),
)


class Deaths:
    """An observer: kills learner 1 each time it has made `updates`, `times` times in all."""

    def __init__(self, system: LocalRun, times: int, updates: int) -> None:
        self.system, self.times, self.updates = system, times, updates
        self.killed: list[int] = []
        self.open_files: list[int] = []
        self.seen: list[RunStatus] = []
        self.notices: list[str] = []
        self.next_at = updates

    def __call__(self, status: RunStatus) -> None:
        self.seen.append(status)
        self.notices += status.notices
        if min(status.updates) < self.next_at or pid_of(self.system, 1) in self.killed:
            return
        self.open_files.append(psutil.Process().num_fds())
        if len(self.killed) == self.times:
            self.system.stop()
            return
        self.killed.append(send_to(self.system, 1, signal.SIGKILL))
        self.next_at = status.updates[1] + self.updates


@pytest.mark.parametrize(
    "config",
    [CONFIG, pytest.param(PPO, marks=pytest.mark.slow)],
    ids=lambda config: config.method,
)
def test_deaths_with_progress_between_them_are_forgiven_and_nobody_counts_backwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: ResolvedConfig
) -> None:
    monkeypatch.setattr(learner_supervisor, "_PROGRESS_UPDATES", 30)
    folder = RunFolder(tmp_path / "run")
    # Memory makes no difference, and who comes back has lost it.
    system = make_local_run(replace(config, max_restarts=1, lstm_size=8), folder)
    observer = Deaths(system, times=2, updates=40)
    outcome = system.run(observer)
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 2, 0]
    assert observer.open_files[-1] <= observer.open_files[0], "a death leaves nothing open"
    assert [n for n in observer.notices if n.startswith("learner 1 died (exit code -9)")]
    for before, after in zip(observer.seen, observer.seen[1:], strict=False):
        assert all(a <= b for a, b in zip(before.updates, after.updates, strict=True))
        assert all(a <= b for a, b in zip(before.agent_steps, after.agent_steps, strict=True))
    rows = ascending_rows(folder, 1)
    for counted in ("agent_steps", "episodes", "mixes"):
        assert [row[counted] for row in rows] == sorted(row[counted] for row in rows)
    assert rows[-1]["mixes"] > rows[-2]["mixes"], "neighbours reach the learner that came back"
    assert newest(folder).learners() == [0, 1, 2]
    assert children() == []


@pytest.mark.parametrize("gossip", [GossipSettings(mix_optimizer=True), WAIT_FOR_EVER])
def test_a_dead_neighbour_blocks_nobody_even_those_that_wait_for_news(
    tmp_path: Path, gossip: GossipSettings
) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(replace(CONFIG, gossip=gossip), folder)
    pids: list[int] = []
    at_rest: list[list[int]] = []

    def observe(status: RunStatus) -> None:
        if not pids:
            if min(status.updates) >= 30:
                pids.append(send_to(system, 1, signal.SIGKILL))
        elif len(pids) == 1:
            if pid_of(system, 1) != pids[0]:
                # Held back before it does anything: the others are without it for sure.
                pids.append(send_to(system, 1, signal.SIGSTOP))
                at_rest.append(status.updates)
        elif len(at_rest) == 1 and all(status.updates[r] > at_rest[0][r] + 50 for r in (0, 2)):
            at_rest.append(status.updates)
            send_to(system, 1, signal.SIGCONT)
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert at_rest[0][1] == at_rest[1][1]
    assert newest(folder).learners() == [0, 1, 2]


def test_learners_that_wait_for_news_do_not_wait_for_those_that_have_ended(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(replace(CONFIG, gossip=WAIT_FOR_EVER), folder)
    system.run(lambda status: system.stop() if min(status.updates) >= 30 else None)
    assert newest(folder).learners() == [0, 1, 2], "all ended in time to save their state"
    assert children() == []


def test_a_learner_without_signs_of_life_delays_others_briefly_and_is_restarted_at_last(
    tmp_path: Path,
) -> None:
    config = replace(CONFIG, gossip=WAIT_BRIEFLY)
    system = make_local_run(config, RunFolder(tmp_path / "run"))
    notices: list[str] = []
    at_rest: list[list[int]] = []
    given_up: list[list[int]] = []

    def observe(status: RunStatus) -> None:
        notices.extend(status.notices)
        if not at_rest:
            if min(status.updates) >= 30:
                send_to(system, 2, signal.SIGSTOP)
                at_rest.append(status.updates)
        elif not given_up:
            if all(status.updates[r] > at_rest[0][r] + 50 for r in (0, 1)):
                given_up.append(status.updates)
                make_silent(system, 2)
        elif status.updates[2] > given_up[0][2] + 30:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 0, 1]
    assert any(n.startswith("learner 2 gave no sign of life for") for n in notices)


def test_a_learner_that_is_killed_again_and_again_ends_the_run_that_can_be_resumed(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(replace(CONFIG, max_restarts=1), folder)
    killed: list[int] = []

    def observe(status: RunStatus) -> None:
        if min(status.updates) >= 30 and pid_of(system, 1) not in killed and len(killed) < 2:
            killed.append(send_to(system, 1, signal.SIGKILL))

    outcome = system.run(observe)
    assert isinstance(outcome.failure, LearnerFailure)
    assert str(outcome.failure).startswith("learner 1 died 2 times")
    assert not outcome.interrupted
    assert children() == []
    saved = newest(folder)
    assert saved.learners() == [0, 2]

    goal = saved.agent_steps + 1_000
    summary = resume(folder.path, steps=goal)
    assert summary["agent_steps"] >= goal
    assert not summary["failed"]
    assert newest(folder).learners() == [0, 1, 2]


@pytest.mark.parametrize(
    "method",
    ["gala-a2c", *(pytest.param(m, marks=pytest.mark.slow) for m in ("a3c", "a2c-allreduce"))],
)
def test_a_nan_never_leaves_the_learner_it_arose_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    poison = tmp_path / "poison"
    monkeypatch.setenv("POISON", str(poison))
    config = resolve(replace(CONFIG, method=method, env="tests.environments:PoisonedOnDemand-v0"))
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(config, folder)
    at_poison: list[list[int]] = []

    def observe(status: RunStatus) -> None:
        if not at_poison and min(status.updates) >= 30:
            poison.touch()
            at_poison.append(status.updates)
        if at_poison and sum(status.restarts) == 1:
            grown = zip(status.updates, at_poison[0], strict=True)
            if all(now > before + 60 for now, before in grown):
                system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert sum(outcome.status.restarts) == 1
    victim = outcome.status.restarts.index(1)
    assert "FloatingPointError" in folder.log_file(victim).read_text(encoding="utf-8")
    for rank in range(3):
        state = newest(folder).load(rank)
        assert torch.isfinite(state.tensors["parameters"]).all()
        assert torch.isfinite(state.tensors["optimizer"]).all()
        assert state.counters["rejected"].get("not finite", 0) == 0


def test_regular_checkpoints_hold_all_learners_and_nothing_left_behind_by_others(
    tmp_path: Path,
) -> None:
    config = replace(CONFIG, checkpoint_every=0.3, checkpoints_kept=100)
    folder = RunFolder(tmp_path / "run")
    folder.create(config)
    for name in (".partial-1", ".partial-final"):
        leftover = folder.checkpoints / name
        leftover.mkdir()
        (leftover / "learner_09.json").write_text("{", encoding="utf-8")
    system = make_local_run(config, folder)
    regular: set[Path] = set()

    def observe(status: RunStatus) -> None:
        if len(regular) < 2:
            regular.update(folder.checkpoints.glob("step_*"))
        else:
            system.stop()

    system.run(observe)
    saved = [checkpoint.open_checkpoint(path) for path in folder.checkpoints.iterdir()]
    assert len(saved) >= 3, "two regular ones and the last one"
    assert regular < {one.path for one in saved}
    for one in saved:
        assert one.learners() == [0, 1, 2]
        made = [one.load(rank).counters["agent_steps"] for rank in range(3)]
        # In the first, some may not have made an update yet.
        assert 0 < sum(made) <= one.agent_steps


def test_a_resumed_learner_goes_on_where_it_was_and_is_heard(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    first = make_local_run(CONFIG, folder)
    first.run(lambda status: first.stop() if min(status.updates) >= 60 else None)
    start = newest(folder)
    before = [start.load(rank).counters for rank in range(3)]
    saved = torch.stack([start.load(rank).tensors["parameters"] for rank in range(3)])
    rows_before = [len(MetricsReader(folder.metrics_file(r)).new_rows()) for r in range(3)]

    still = replace(CONFIG.algorithm, learning_rate=1e-12, learning_rate_rule="constant")
    second = make_local_run(replace(CONFIG, algorithm=still), folder, start)
    goal = [counters["updates"] + 60 for counters in before]
    statuses: list[RunStatus] = []

    def observe(status: RunStatus) -> None:
        statuses.append(status)
        if all(now > then for now, then in zip(status.updates, goal, strict=True)):
            second.stop()

    second.run(observe)
    assert statuses[0].total_agent_steps >= start.agent_steps
    for rank, old in enumerate(before):
        new = newest(folder).load(rank).counters
        assert new["updates"] > goal[rank]
        assert new["agent_steps"] == 10 * new["updates"]
        assert new["mixes"] > old["mixes"]
        assert new["rejected"].get("not newer", 0) == old["rejected"].get("not newer", 0)
        for heard, version in new["mixed_versions"].items():
            assert version > before[int(heard)]["updates"]
        # Without a learning rate to speak of, averages of what was saved are all there can be.
        parameters = newest(folder).load(rank).tensors["parameters"]
        assert (parameters >= saved.amin(dim=0) - 1e-6).all()
        assert (parameters <= saved.amax(dim=0) + 1e-6).all()
        rows = MetricsReader(folder.metrics_file(rank)).new_rows()[rows_before[rank] :]
        assert rows[0]["updates"] > old["updates"]
        assert rows[0]["episodes"] >= old["episodes"]


def test_a_second_interrupt_stops_at_once_and_leaves_no_orphan(tmp_path: Path) -> None:
    process = start_command(tmp_path / "run")
    learners = learners_of(process)
    # Learners that cannot finish their update: the clean stop would take until its time limit.
    for learner in learners:
        if learner.name().startswith("gala-learner-"):
            learner.suspend()
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1.0)
    assert process.poll() is None, "the first interrupt waits for the learners"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(40) == 130
    assert survivors(learners) == []


def test_a_run_killed_as_a_whole_goes_on_from_its_last_regular_checkpoint(tmp_path: Path) -> None:
    process = start_command(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    wait_until(lambda: folder.checkpointed_agent_steps() is not None)
    learners = learners_of(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(GIVE_UP_S)
    assert survivors(learners) == []
    for pid in [process.pid, *(learner.pid for learner in learners)]:
        assert not list(Path("/dev/shm").glob(f"torch_{pid}_*")), "shared memory goes with them"

    saved = newest(folder)
    assert saved.learners() == [0, 1]
    before = [saved.load(rank).counters for rank in range(2)]
    goal = saved.agent_steps + 1_000
    summary = resume(folder.path, steps=goal)
    assert goal <= summary["agent_steps"] < goal + 1_000
    after = newest(folder)
    for rank, old in enumerate(before):
        assert after.load(rank).counters["updates"] >= old["updates"]
    assert not list(folder.checkpoints.glob(".partial-*"))

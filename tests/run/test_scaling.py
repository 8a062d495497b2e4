"""Learners join and leave while a run goes on: real processes, some of them killed meanwhile."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from gala_rl.config.settings import GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.gossip.journal import Entry
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint, scale_request
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.consensus_monitor import ConsensusMonitor
from gala_rl.run.status import RunStatus
from tests.run.scaled import (
    TWO,
    Script,
    check_consensus,
    check_counters_never_decrease,
    check_joining_learners_adopted_messages,
)
from tests.support.run_processes import (
    children,
    make_local_run,
    make_silent,
    pid_of,
)
from tests.support.run_records import newest, sizes


def test_two_then_four_then_one_then_three_with_deaths_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries: list[Entry] = []
    on_entry = ConsensusMonitor._on_entry

    def record_entry(monitor: ConsensusMonitor, entry: Entry) -> None:
        entries.append(entry)
        on_entry(monitor, entry)

    monkeypatch.setattr(ConsensusMonitor, "_on_entry", record_entry)
    folder = RunFolder(tmp_path / "run")
    script = Script(folder, ("kill", 1), ("scale", 4), ("kill", 3), ("scale", 1), ("scale", 3),
                    ("kill", 0))  # fmt: skip
    outcome = script.run(make_local_run(replace(TWO, checkpoint_every=1.0), folder))
    assert outcome.failure is None
    assert children() == []
    assert sizes(folder) == [(2, 4), (4, 1), (1, 3)]
    assert folder.read_config().learners == 3
    assert not folder.scale_request.exists()
    status = outcome.status
    assert status.restarts == [1, 1, 0, 1]
    assert "learners: 4 before, 1 now" in script.notices
    assert not [n for n in script.notices if "bounds" in n or "DEFECT" in n or "given up" in n]
    check_counters_never_decrease(script.seen)
    check_consensus(folder, {2, 3, 4})
    check_joining_learners_adopted_messages(entries, {2, 3})

    saved = newest(folder)
    assert saved.learners() == [0, 1, 2]
    assert saved.manifest["learner_agent_steps"] == status.agent_steps
    assert saved.agent_steps == sum(status.agent_steps)
    for rank, made in enumerate(status.agent_steps):
        assert made == 10 * status.updates[rank]
        rows = MetricsReader(folder.metrics_file(rank)).new_rows()
        assert rows[-1]["agent_steps"] == made, "a learner that leaves writes a last row"
        assert [r["updates"] for r in rows] == sorted({r["updates"] for r in rows})
        if rank in saved.learners():
            counters = saved.load(rank).counters
            assert (counters["agent_steps"], counters["updates"]) == (made, status.updates[rank])
            assert set(counters["mixed_versions"]) == {str((rank - 1) % 3)}


@pytest.mark.slow
def test_learners_that_join_a_resumed_run_start_from_its_parameters(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    Script(folder, ("scale", 3), ("scale", 2)).run(make_local_run(TWO, folder))
    start = newest(folder)
    assert len(start.manifest["learner_agent_steps"]) == 3
    saved = torch.stack([start.load(rank).tensors["parameters"] for rank in range(2)])

    still = A2CSettings(learning_rate=1e-12, learning_rate_rule="constant")
    script = Script(folder, ("scale", 4), ("kill", 2), ("scale", 1), ("scale", 4))
    config = resolve(replace(folder.read_config(), algorithm=still))
    assert config.learners == 2
    outcome = script.run(make_local_run(config, folder, start))
    assert script.seen[0].total_agent_steps >= start.agent_steps
    check_counters_never_decrease(script.seen)
    assert outcome.status.updates[2] > start.manifest["learner_agent_steps"][2] / 10
    assert newest(folder).learners() == [0, 1, 2, 3]
    for rank in range(4):
        # Without a learning rate to speak of, averages of what was saved are all there can be.
        parameters = newest(folder).load(rank).tensors["parameters"]
        assert (parameters >= saved.amin(dim=0) - 1e-6).all()
        assert (parameters <= saved.amax(dim=0) + 1e-6).all()


@pytest.mark.slow
def test_checkpoints_in_the_making_hold_members_alone_and_all_are_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    config = replace(TWO, checkpoint_every=0.01, checkpoints_kept=10_000)
    script = Script(folder, *[("scale", n) for n in (4, 2, 3, 1, 2)], updates=20)
    outcome = script.run(make_local_run(config, folder))
    assert outcome.failure is None
    assert not [notice for notice in script.notices if "given up" in notice]
    assert {path.name[:5] for path in folder.checkpoints.iterdir()} == {"step_"}
    saved = [checkpoint.open_checkpoint(path) for path in sorted(folder.checkpoints.iterdir())]
    groups = [one.learners() for one in saved]
    assert all(group == list(range(len(group))) for group in groups)
    assert {len(group) for group in groups} == {1, 2, 3, 4}
    for one in saved:
        parts = [one.load(rank).counters["agent_steps"] for rank in one.learners()]
        assert sum(parts) <= one.agent_steps == sum(one.manifest["learner_agent_steps"])


@pytest.mark.parametrize(
    "method",
    ["gala-a2c", *(pytest.param(m, marks=pytest.mark.slow) for m in ("gala-ppo", "gala-impala"))],
)
def test_a_request_during_the_start_waits_for_it(tmp_path: Path, method: str) -> None:
    config = TrainConfig(method=method, env="tests.environments:SlowToBuild-v0", learners=2,
                         simulators=2, steps=10**12, max_learners=3)  # fmt: skip
    folder = RunFolder(tmp_path / "run")
    folder.create(resolve(config))
    scale_request.place(folder, 3)
    system = make_local_run(resolve(config), folder)
    script = Script(folder, ("scale", 3), ("scale", 4), ("scale", 1), updates=5)
    outcome = script.run(system)
    assert outcome.failure is None
    assert children() == []
    assert sizes(folder) == [(2, 3), (3, 1)]
    refused = [notice for notice in script.notices if "refused" in notice]
    assert [notice.split(":")[1] for notice in refused] == [
        f" learners {n} is impossible" for n in (3, 4)
    ]
    assert newest(folder).learners() == [0]


def test_a_hierarchy_keeps_its_nodes_and_at_least_a_whole_one(tmp_path: Path) -> None:
    gossip = GossipSettings(topology="hierarchical")
    folder = RunFolder(tmp_path / "run")
    script = Script(folder, ("scale", 4), ("scale", 1), ("scale", 3))
    outcome = script.run(make_local_run(replace(TWO, learners_per_node=2, gossip=gossip), folder))
    assert outcome.failure is None
    assert sizes(folder) == [(2, 4), (4, 3)]
    (refused,) = [notice for notice in script.notices if "refused" in notice]
    assert "learners_per_node 2 is impossible with 1 learners" in refused
    (why,) = {str(error) for error in script.refusals if isinstance(error, UserError)}
    assert "learners_per_node 2 is impossible with 1 learners" in why
    check_consensus(folder, {2, 3, 4})


def test_a_learner_that_cannot_join_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    config = resolve(replace(TWO, env="tests.environments:FailingInLearner2-v0", max_restarts=1))
    folder = RunFolder(tmp_path / "run")
    script = Script(folder, ("scale", 4), ("scale", 1), ("scale", 2))
    outcome = script.run(make_local_run(config, folder))
    assert outcome.failure is None
    assert sizes(folder) == [(2, 1), (1, 2)]
    (rejection,) = [notice for notice in script.notices if "cannot join" in notice]
    assert "2 go on: learner 2 died 2 times" in rejection
    assert "the simulator broke" in rejection
    (why,) = {str(error) for error in script.refusals if isinstance(error, LearnerFailure)}
    assert "learner 2 died 2 times" in why
    assert newest(folder).learners() == [0, 1]
    check_consensus(folder, {2})


def test_a_learner_that_does_not_leave_is_killed_once_it_counts_as_hung(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    # A learner waits for news of its neighbours, but not for those that have left.
    config = replace(TWO, learners=3, gossip=GossipSettings(max_staleness=0, deadline=0.5))
    system = make_local_run(config, folder)
    script = Script(folder, ("scale", 2))
    leaver = pid_of(system, 2)

    def observe(status: RunStatus) -> None:
        script(status)
        if not script.steps and len(status.alive) == 3:
            os.kill(leaver, signal.SIGSTOP)
        elif len(status.alive) == 2:
            make_silent(system, 2)

    script.system = system
    outcome = system.run(observe)
    assert outcome.failure is None
    assert sizes(folder) == [(3, 2)]
    assert outcome.status.restarts == [0, 0, 0]
    assert any(n.startswith("learner 2 gave no sign of life for") for n in script.notices)
    assert newest(folder).learners() == [0, 1]


def test_room_for_learners_that_never_join_takes_no_memory(tmp_path: Path) -> None:
    """Rows of a thousand learners would be a GiB of journal alone."""

    def memory_mb() -> float:
        return float(psutil.Process().memory_info().rss / 2**20)

    folder = RunFolder(tmp_path / "run")
    before = memory_mb()
    system = make_local_run(replace(TWO, max_learners=1_000), folder)
    outcome = Script(folder, ("scale", 3), updates=60).run(system)
    assert outcome.failure is None
    check_consensus(folder, {2, 3})
    assert memory_mb() - before < 100

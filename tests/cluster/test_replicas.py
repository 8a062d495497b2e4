"""Replicas on several machines: one learner, bit for bit, whichever of them is killed."""

from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from gala_lab.main import main
from gala_rl.errors import LearnerFailure
from gala_rl.methods.resolving import resolve, with_settings
from gala_rl.records.run_folder import RunFolder
from tests.cluster.machines import CONFIG, Machines, learners_of, node_actors, run, wait_until
from tests.cluster.scripts import Observer, Script, actor_with
from tests.support.run_records import ascending_rows, newest

REPLICAS = with_settings(replace(CONFIG, method="a2c-allreduce"), {"normalize_observations": True})


def final_updates(folder: RunFolder, replicas: int) -> int:
    """Updates of the replicas in a run's newest checkpoint, which are equal."""
    saved = newest(folder)
    assert saved.learners() == list(range(replicas))
    first, *others = (saved.load(rank) for rank in range(replicas))
    assert first.tensors["parameters"].isfinite().all()
    for other in others:
        for name in ("parameters", "optimizer"):
            assert torch.equal(other.tensors[name], first.tensors[name])
        assert other.counters["updates"] == first.counters["updates"]
    return int(first.counters["updates"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["a2c-allreduce", "ppo-allreduce"])
def test_replicas_of_two_machines_are_equal_and_go_on(
    machines: Machines, tmp_path: Path, method: str
) -> None:
    folder = RunFolder(tmp_path / "run")
    train = f"train {method} --env CartPole-v1 --normalize-observations --learners 2 "
    train += f"--simulators 2 --log-every 20 --cluster {machines.address} --out {folder.path}"
    assert main([*train.split(), "--steps", "6k"]) == 0
    made = final_updates(folder, 2)
    summary = folder.read_summary()
    assert 0 <= summary["agent_steps"] - 6_000 < summary["agent_steps"] // made, "no update more"
    assert (summary["mixes"], summary["restarts"]) == (0, 0)
    assert not folder.consensus_file.exists()
    wait_until(lambda: not node_actors())

    assert main(["resume", str(folder.path), "--steps", "8k"]) == 0
    assert made < final_updates(folder, 2) < 2 * made
    for rank in range(2):
        assert ascending_rows(folder, rank)


@pytest.mark.slow
def test_a_replica_and_a_node_are_killed_and_all_meet_again(
    machines: Machines, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")

    def script(seen: Observer) -> Script:
        while seen.updates(0, 1, 2, 3) < 50:
            yield
        learners_of(actor_with(3, folder))[0].kill()
        made = seen.updates(0, 1, 2, 3)
        while seen.updates(0, 1, 2, 3) < made + 50:
            yield
        node = actor_with(0, folder)
        orphans = learners_of(node)
        node.kill()
        made = max(seen.status.updates)
        while not seen.has_heard("node 0 (learners 0 to 1) is lost; the others wait for it"):
            yield
        assert not psutil.wait_procs(orphans, timeout=10)[1]
        while seen.updates(0, 1, 2, 3) < made + 50:
            yield
        listening.update(
            connection.laddr.ip
            for actor in node_actors()
            for learner in learners_of(actor)
            for connection in learner.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        )

    listening: set[str] = set()
    observer = Observer(script)
    outcome = run(machines, folder, REPLICAS, observer)
    assert outcome.failure is None
    assert sum(outcome.status.restarts) == 3, observer.notices
    assert final_updates(folder, 4) > 150
    assert listening == {machines.ip}
    wait_until(lambda: not node_actors())


@pytest.mark.slow
def test_one_node_alone_listens_on_loopback(machines: Machines, tmp_path: Path) -> None:
    listening: set[str] = set()

    def script(seen: Observer) -> Script:
        while seen.updates(0, 1) < 50:
            yield
        (actor,) = node_actors()
        for learner in learners_of(actor):
            for connection in learner.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    listening.add(connection.laddr.ip)

    folder = RunFolder(tmp_path / "run")
    outcome = run(machines, folder, replace(REPLICAS, learners=2), Observer(script))
    assert outcome.failure is None
    assert listening == {"127.0.0.1"}


@pytest.mark.slow
def test_a_machine_that_stays_away_ends_the_run_and_is_named(tmp_path: Path) -> None:
    own = Machines(2)

    def script(seen: Observer) -> Script:
        while seen.updates(0, 1, 2, 3) < 50:
            yield
        own.kill_last()
        while True:
            yield

    folder = RunFolder(tmp_path / "run")
    try:
        outcome = run(own, folder, resolve(replace(REPLICAS, hang_after=12.0)), Observer(script))
    finally:
        own.close()
    assert isinstance(outcome.failure, LearnerFailure)
    assert "(learners" in str(outcome.failure)
    assert "cannot go on without it" in str(outcome.failure)
    assert outcome.failure.args[0].count("\n") == 0
    wait_until(lambda: not node_actors())

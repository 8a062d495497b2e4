"""One learner with actors on several machines: its actors may die, and so may their nodes."""

import re
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gala_lab.main import main
from gala_rl.cluster.connection import distribute_actors
from gala_rl.errors import LearnerFailure
from gala_rl.methods.q_learning import QLearningSettings
from gala_rl.methods.resolving import with_settings
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from tests.cluster.machines import CONFIG, Machines, learners_of, node_actors, run, wait_until
from tests.cluster.scripts import Observer, Script
from tests.support.run_records import ascending_rows, newest

IMPALA = with_settings(
    replace(CONFIG, method="impala", learners=None, learners_per_node=None, simulators=6),
    {"actors": 3, "batch_rollouts": 2},
)
"""Three actors with two simulators each; on two machines, one actor is beside the learner."""


def nodes_of(machines: Machines) -> list[psutil.Process]:
    """Return the nodes of these machines; other tests may have some too."""
    started = [(node, node.parent()) for node in node_actors()]
    return [n for n, raylet in started if raylet and machines.address in str(raylet.cmdline())]


def has_learner(node: psutil.Process) -> bool:
    return any(process.children() for process in learners_of(node))


def node_of(machines: Machines, *, learner: bool) -> psutil.Process:
    return next(node for node in nodes_of(machines) if has_learner(node) is learner)


@pytest.mark.parametrize(
    ("actors", "machines", "shares"),
    [
        (3, 2, [[0], [1, 2]]),
        (4, 2, [[0, 1], [2, 3]]),
        (1, 5, [[], [0]]),
        (5, 1, [[0, 1, 2, 3, 4]]),
        (7, 3, [[0, 1], [2, 3, 4], [5, 6]]),
    ],
)
def test_the_learner_counts_as_one_where_actors_are_shared_out(
    actors: int, machines: int, shares: list[list[int]]
) -> None:
    assert [list(share) for share in distribute_actors(actors, machines)] == shares


@pytest.mark.slow
def test_an_actor_a_node_with_actors_and_the_learner_are_killed(
    machines: Machines, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")

    def script(seen: Observer) -> Script:
        while seen.updates(0) < 50:
            yield
        actors = learners_of(node_of(machines, learner=False))
        assert len(actors) == 2
        actors[0].kill()
        while not seen.has_heard("node 1 (actors 1 to 2): 1 died and was restarted"):
            yield
        node = node_of(machines, learner=False)
        orphans = learners_of(node)
        node.kill()
        made = seen.updates(0)
        while not seen.has_heard("node 1 (actors 1 to 2) is lost; the others go on without it"):
            yield
        assert not psutil.wait_procs(orphans, timeout=10)[1]
        while seen.updates(0) < made + 50 or not seen.has_heard("node 1 (actors 1 to 2) is back"):
            yield
        (learner,) = learners_of(node_of(machines, learner=True))
        learner.kill()
        made = seen.updates(0)
        while seen.updates(0) < made + 200:
            yield

    observer = Observer(script)
    outcome = run(machines, folder, IMPALA, observer)
    assert outcome.failure is None, observer.notices
    assert outcome.status.restarts == [1]
    wait_until(lambda: not nodes_of(machines))
    saved = newest(folder)
    assert saved.learners() == [0]
    rows = ascending_rows(folder, 0)
    assert max(row["policy_lag_updates_max"] for row in rows) > 0
    assert all(0 <= row["policy_lag_updates"] <= row["policy_lag_updates_max"] for row in rows)
    assert any(row["actor_restarts"] > 0 for row in rows)


@pytest.mark.slow
def test_the_learners_node_is_killed_and_goes_on_from_the_newest_checkpoint(
    machines: Machines, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    name = "node 0 (learners 0 to 0, actors 0 to 0)"

    def script(seen: Observer) -> Script:
        while checkpoint.newest(folder.checkpoints) is None:
            yield
        made = newest(folder).load(0).counters["updates"]
        node = node_of(machines, learner=True)
        processes = [node, *node.children(recursive=True)]
        node.kill()
        while not seen.has_heard(f"{name} is lost; the others wait for it"):
            yield
        assert not psutil.wait_procs(processes, timeout=10)[1]
        while not seen.has_heard(f"{name} is back"):
            yield
        at_rest = seen.updates(0)
        while seen.updates(0) < at_rest + 50:
            yield
        assert made < seen.updates(0)

    observer = Observer(script)
    outcome = run(machines, folder, replace(IMPALA, checkpoint_every=1.0), observer)
    assert outcome.failure is None, observer.notices
    assert outcome.status.restarts == [1]
    saved = newest(folder).load(0)
    assert saved.tensors["parameters"].isfinite().all()
    assert saved.counters["updates"] == outcome.status.updates[0]
    wait_until(lambda: not nodes_of(machines))


@pytest.mark.slow
def test_a_run_ends_as_on_one_machine_and_goes_on(machines: Machines, tmp_path: Path) -> None:
    here, there = RunFolder(tmp_path / "here"), RunFolder(tmp_path / "there")
    train = "train impala --env CartPole-v1 --normalize-observations --simulators 6 --actors 3 "
    train += "--steps 6k --log-every 10 --out"
    assert main([*train.split(), str(here.path)]) == 0
    assert main([*train.split(), str(there.path), "--cluster", machines.address]) == 0
    wait_until(lambda: not nodes_of(machines))
    assert set(there.read_summary()) == set(here.read_summary())
    alone, rows = (MetricsReader(f.metrics_file(0)).new_rows() for f in (here, there))
    assert set(alone[0]) == set(rows[0])
    games = sum(len(row["episode_returns"]) for row in rows)
    assert games == there.read_summary()["episodes"] > 0
    made = newest(there).load(0).counters
    assert made["agent_steps"] == there.read_summary()["agent_steps"] >= 6_000

    assert main(["resume", str(there.path), "--steps", "8k"]) == 0
    assert newest(there).load(0).counters["updates"] > made["updates"]
    assert main(["evaluate", str(there.path), "--episodes", "1"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dqn", "r2d2"])
def test_q_learning_has_actors_on_all_machines(
    machines: Machines, tmp_path: Path, method: str
) -> None:
    folder = RunFolder(tmp_path / "run")
    train = f"train {method} --env CartPole-v1 --simulators 6 --actors 3 --min-replay 640 "
    train += f"--steps 4k --log-every 1 --cluster {machines.address} --out {folder.path}"
    assert main(train.split()) == 0
    wait_until(lambda: not nodes_of(machines))
    rows = ascending_rows(folder, 0)
    assert sum(len(row["episode_returns"]) for row in rows) == folder.read_summary()["episodes"] > 0
    learning = [row for row in rows if row["gradient_steps"]]
    assert 0 < learning[-1]["replay_ratio"] <= ratio_of(folder)
    assert max(row["policy_lag_updates_max"] for row in rows) > 0
    made = newest(folder).load(0).tensors["replay_counts"][0]

    assert main(["resume", str(folder.path), "--steps", "8k"]) == 0
    assert newest(folder).load(0).tensors["replay_counts"][0] > made
    assert main(["evaluate", str(folder.path), "--episodes", "1"]) == 0


def ratio_of(folder: RunFolder) -> float:
    algorithm = folder.read_config().algorithm
    assert isinstance(algorithm, QLearningSettings)
    return algorithm.replay_ratio


@pytest.mark.slow
def test_q_learning_survives_its_learner_and_a_node_with_actors(
    machines: Machines, tmp_path: Path
) -> None:
    config = replace(CONFIG, method="dqn", learners=None, learners_per_node=None, simulators=6)
    folder = RunFolder(tmp_path / "run")

    def script(seen: Observer) -> Script:
        while seen.updates(0) < 50:
            yield
        node_of(machines, learner=False).kill()
        made = seen.updates(0)
        while seen.updates(0) < made + 20 or not seen.has_heard("node 1 (actors 1 to 2) is back"):
            yield
        learners_of(node_of(machines, learner=True))[0].kill()
        made = seen.updates(0)
        while seen.updates(0) < made + 100:
            yield

    observer = Observer(script)
    settings = {"actors": 3, "min_replay": 200, "batch_size": 32}
    outcome = run(machines, folder, with_settings(config, settings), observer)
    assert outcome.failure is None, observer.notices
    assert outcome.status.restarts == [1]
    assert ascending_rows(folder, 0)[-1]["gradient_steps"] > 0
    wait_until(lambda: not nodes_of(machines))


@pytest.mark.slow
def test_gossiping_q_learners_are_on_all_machines(machines: Machines, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    train = "train gala-dqn --env CartPole-v1 --simulators 4 --actors 1 --learners 2 --steps 4k "
    train += "--learners-per-node 1 --min-replay 200 --log-every 1 "
    assert main([*train.split(), "--cluster", machines.address, "--out", str(folder.path)]) == 0
    wait_until(lambda: not nodes_of(machines))
    for rank in (0, 1):
        last = ascending_rows(folder, rank)[-1]
        assert last["gradient_steps"] > 0
        assert last["mixes"] > 0
    assert newest(folder).learners() == [0, 1]


@pytest.mark.slow
def test_actors_that_keep_dying_elsewhere_end_the_run(machines: Machines, tmp_path: Path) -> None:
    def script(seen: Observer) -> Script:
        while seen.updates(0) < 50:
            yield
        learners_of(node_of(machines, learner=False))[0].kill()
        while True:
            yield

    folder = RunFolder(tmp_path / "run")
    outcome = run(machines, folder, replace(IMPALA, max_restarts=0), Observer(script))
    assert isinstance(outcome.failure, LearnerFailure)
    assert re.match(r"actor [12] of learner 0 died 1 time ", str(outcome.failure))
    assert newest(folder).load(0).counters["updates"] >= 50
    wait_until(lambda: not nodes_of(machines))


def test_more_actors_than_there_is_room_for_are_refused(
    machines: Machines,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gala_rl.cluster.connection.PLACEMENT_S", 0.5)
    train = "train impala --env CartPole-v1 --simulators 8 --actors 8 --cluster"
    assert main([*train.split(), machines.address, "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "actors 8 cannot be placed on 2 nodes: each needs 5 CPU" in line
    assert not (tmp_path / "run").exists()

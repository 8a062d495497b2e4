"""Learners and nodes join and leave a run on a real cluster; some die meanwhile."""

import itertools
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray.util.placement_group import placement_group_table

from gala_lab.main import main
from gala_rl.cluster.connection import connect
from gala_rl.config.settings import GossipSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records import scale_request
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunOutcome
from tests.cluster.machines import (
    CONFIG,
    GIVE_UP_S,
    Machines,
    learners_of,
    node_actors,
    run,
    wait_until,
)
from tests.cluster.scripts import Observer, Script, actor_with, start_driver
from tests.support.run_records import ascending_rows, newest, sizes

ONE_NODE = replace(CONFIG, learners=1, max_learners=6)
"""Two learners per node: each machine has two CPUs."""


def asked_for(seen: Observer, folder: RunFolder, learners: int) -> Script:
    """Request a number of learners; wait until all have made some updates with it."""
    scale_request.place(folder, learners)
    while folder.scale_request.exists():
        yield
    yield from progress(seen, learners)


def progress(seen: Observer, learners: int) -> Script:
    before = [*seen.status.updates, *[0] * learners]
    while len(seen.status.alive) != learners or any(
        seen.status.updates[rank] < before[rank] + 30 for rank in range(learners)
    ):
        yield


def check_counters_never_decrease(seen: Observer) -> None:
    for before, after in itertools.pairwise(seen.statuses):
        for then, now in ((before.updates, after.updates), (before.restarts, after.restarts)):
            assert len(then) <= len(now), "former members keep their counters"
            assert all(a <= b for a, b in zip(then, now, strict=False))


def free_cpus() -> float:
    return float(ray.available_resources().get("CPU", 0.0))


def check_books(folder: RunFolder, outcome: RunOutcome, killed: Sequence[int] = ()) -> None:
    """Rows, counters and the last checkpoint tell the same, also of those that have left."""
    status = outcome.status
    assert outcome.failure is None
    saved = newest(folder)
    assert saved.learners() == list(range(len(status.alive)))
    assert saved.manifest["learner_agent_steps"] == status.agent_steps
    for rank, made in enumerate(status.agent_steps):
        rows = ascending_rows(folder, rank)
        if rank not in killed:
            assert made == 10 * status.updates[rank]
            assert rows[-1]["agent_steps"] == made, "who leaves writes down what it has made"


@pytest.mark.slow
def test_learners_join_within_a_node_and_with_a_new_one_and_leave_again(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.cluster.connection.PLACEMENT_S", 1.0)
    folder = RunFolder(tmp_path / "run")

    def script(seen: Observer) -> Script:
        yield from progress(seen, 1)
        (node,) = node_actors()
        yield from asked_for(seen, folder, 2)
        assert len(learners_of(node)) == 2
        yield from asked_for(seen, folder, 4)
        assert len(node_actors()) == 2
        # A joiner dies: its node starts it again, as ever.
        learners_of(actor_with(3, folder))[0].kill()
        while not seen.has_heard("is restarted from learner"):
            yield
        yield from progress(seen, 4)
        scale_request.place(folder, 6)
        while not seen.has_heard("cannot be placed on 3 nodes: each needs 2 CPU"):
            yield
        assert not folder.scale_request.exists()
        yield from progress(seen, 4)
        yield from asked_for(seen, folder, 1)
        while len(node_actors()) > 1 or free_cpus() < 2.0:
            yield
        assert node_actors() == [node], "nobody is restarted"
        yield from progress(seen, 1)

    observer = Observer(script)
    outcome = run(machines, folder, replace(ONE_NODE, checkpoint_every=1.0), observer)
    assert sizes(folder) == [(1, 2), (2, 4), (4, 1)]
    assert folder.read_config().learners == 1
    assert sum(outcome.status.restarts) == 1
    assert "learners: 4 before, 1 now" in observer.notices
    assert not observer.has_heard("given up")
    check_counters_never_decrease(observer)
    check_books(folder, outcome)
    wait_until(lambda: not node_actors())


@pytest.mark.slow
def test_a_hierarchy_is_scaled_while_nodes_die_and_the_run_resumes_with_what_it_has(
    machines: Machines, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    hierarchy = GossipSettings(topology="hierarchical")
    config = replace(CONFIG, learners=2, gossip=hierarchy, max_restarts=5)

    def script(seen: Observer) -> Script:
        yield from progress(seen, 2)
        (first,) = node_actors()
        scale_request.place(folder, 4)
        while not (new := [n for n in node_actors() if n != first and learners_of(n)]):
            yield
        # The new node dies before its learners have joined, and later the one they began with.
        new[0].kill()
        while not seen.has_heard("node 1 (learners 2 to 3) is back"):
            yield
        while folder.scale_request.exists():
            yield
        yield from progress(seen, 4)
        scale_request.place(folder, 3)
        first.kill()
        while folder.scale_request.exists() or not seen.has_heard("node 0 (learners 0 to 1) is ba"):
            yield
        yield from progress(seen, 3)
        scale_request.place(folder, 1)
        while not seen.has_heard("learners_per_node 2 is impossible with 1 learners"):
            yield

    observer = Observer(script)
    check_books(folder, run(machines, folder, config, observer), killed=range(4))
    check_counters_never_decrease(observer)
    assert sizes(folder) == [(2, 4), (4, 3)]

    def again(seen: Observer) -> Script:
        yield from progress(seen, 3)
        yield from asked_for(seen, folder, 2)
        yield from asked_for(seen, folder, 4)

    start = newest(folder)
    assert start.learners() == [0, 1, 2]
    resumed = Observer(again)
    outcome = run(machines, folder, folder.read_config(), resumed, start)
    check_books(folder, outcome, killed=range(4))
    made = start.manifest["learner_agent_steps"]
    assert all(a <= b for a, b in zip(made, resumed.statuses[0].agent_steps, strict=True))
    check_counters_never_decrease(resumed)
    assert sizes(folder) == [(2, 4), (4, 3), (3, 2), (2, 4)]
    wait_until(lambda: not node_actors())


@pytest.mark.slow
def test_the_commands_scale_a_run_on_a_cluster_and_spend_one_budget(
    machines: Machines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    arguments = f"train gala-a2c --env {CONFIG.env} --learners 2 --simulators 2 --steps 1G"
    arguments += f" --learners-per-node 2 --max-learners 8 --cluster {machines.address}"
    driver = start_driver(f"{arguments} --log-every 5 --out {folder.path}".split(), folder)
    try:
        assert main(["scale", str(folder.path), "--learners", "3"]) == 0
        assert len(node_actors()) == 2
        assert main(["scale", str(folder.path), "--learners", "4"]) == 0
        assert main(["scale", str(folder.path), "--learners", "8"]) == 2
        assert "cannot be placed on 4 nodes: each needs" in capsys.readouterr().err
        assert main(["scale", str(folder.path), "--learners", "9"]) == 2
        assert "too many" in capsys.readouterr().err
    finally:
        driver.send_signal(signal.SIGINT)
    assert driver.wait(GIVE_UP_S) == 130
    goal = newest(folder).agent_steps + 4_000
    assert main(["resume", str(folder.path), "--steps", str(goal)]) == 0
    summary = folder.read_summary()
    assert folder.read_config().learners == len(summary["learners"]) == 4
    # Nodes tell each other their counters every fifth of a second.
    assert goal <= summary["agent_steps"]
    assert newest(folder).agent_steps == summary["agent_steps"]
    wait_until(lambda: not node_actors())


def test_more_learners_of_a_node_need_room_on_its_own_machine(machines: Machines) -> None:
    config = replace(CONFIG, learners=1, learners_per_node=4, cluster=machines.address)
    with connect(resolve(config)) as connection:
        placement = connection.placement
        placement.request((range(3),))
        ((_, place),) = placement._requested
        wait_until(lambda: placement_group_table(place.group)["state"] == "CREATED")
        assert place.machine != place.target, "two more CPUs are free on the other machine alone"
        assert not placement.is_granted()
        assert "each needs 3 CPU" in str(placement.no_room((range(3),)))
        placement.cancel()
        wait_until(lambda: free_cpus() == 3.0)
        placement.request((range(2),))
        wait_until(placement.is_granted)
        assert placement.start_nodes() == {}
        wait_until(lambda: free_cpus() == 2.0)
        placement.release(0)
        wait_until(lambda: free_cpus() == 4.0)

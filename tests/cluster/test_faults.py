"""Learners, nodes and the driver die or fall silent; the others go on, and no process is left."""

import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
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
from tests.support.run_records import ascending_rows, newest


@pytest.mark.slow
def test_learners_and_nodes_die_and_the_others_go_on(machines: Machines, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")

    def script(seen: Observer) -> Script:
        while seen.updates(0, 1, 2, 3) < 50:
            yield
        learners_of(actor_with(3, folder))[0].kill()
        while not seen.has_heard("is restarted from learner"):
            yield
        node, at_rest = actor_with(3, folder), seen.updates(2, 3)
        orphans = learners_of(node)
        node.kill()
        made = seen.updates(0, 1)
        while not seen.has_heard("node 1 (learners 2 to 3) is lost"):
            yield
        assert not psutil.wait_procs(orphans, timeout=GIVE_UP_S)[1]
        while seen.updates(0, 1) < made + 50 or not seen.has_heard(
            "node 1 (learners 2 to 3) is back"
        ):
            yield
        while seen.updates(2, 3) < at_rest + 50:
            yield

    observer = Observer(script)
    outcome = run(machines, folder, CONFIG, observer)
    assert outcome.failure is None
    assert sum(outcome.status.restarts) == 3
    wait_until(lambda: not node_actors())
    for before, after in zip(observer.statuses, observer.statuses[1:], strict=False):
        assert all(a <= b for a, b in zip(before.agent_steps, after.agent_steps, strict=True))
    saved = newest(folder)
    assert saved.learners() == [0, 1, 2, 3]
    for rank in range(4):
        rows = ascending_rows(folder, rank)
        assert rows[-1]["mixes"] > 0


@pytest.mark.slow
def test_a_node_that_is_silent_is_passed_over_and_comes_back(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.cluster.node_handle._SILENT_S", 2.0)
    folder = RunFolder(tmp_path / "run")

    def script(seen: Observer) -> Script:
        while seen.updates(0, 1, 2, 3) < 50:
            yield
        node = actor_with(0, folder)
        node.suspend()
        made = seen.updates(2, 3)
        while not seen.has_heard("node 0 (learners 0 to 1) is lost"):
            yield
        while seen.updates(2, 3) < made + 50:
            yield
        node.resume()
        while not seen.has_heard("node 0 (learners 0 to 1) is back"):
            yield

    outcome = run(machines, folder, CONFIG, Observer(script))
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 0, 0, 0], "it was never dead"


@pytest.mark.slow
def test_an_interrupted_driver_saves_and_no_process_outlives_a_killed_one(
    machines: Machines, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    arguments = f"train gala-a2c --env {CONFIG.env} --learners 2 --simulators 2 --steps 1G"
    arguments += f" --log-every 5 --cluster {machines.address} --out {folder.path}"
    driver = start_driver(arguments.split(), folder)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(GIVE_UP_S) == 130
    saved = newest(folder)
    assert saved.learners() == [0, 1]
    wait_until(lambda: not node_actors())

    driver = start_driver(["resume", str(folder.path)], folder)
    processes = [p for actor in node_actors() for p in (actor, *learners_of(actor))]
    assert len(processes) == 4
    driver.kill()
    driver.wait()
    assert not psutil.wait_procs(processes, timeout=GIVE_UP_S)[1]


@pytest.mark.slow
def test_a_driver_that_was_stopped_for_long_saves_what_learners_have_left_and_fails(
    machines: Machines, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    arguments = f"train gala-a2c --env {CONFIG.env} --learners 2 --simulators 2 --steps 1G"
    arguments += f" --log-every 5 --cluster {machines.address} --out {folder.path}"
    driver = start_driver(arguments.split(), folder)
    learners = [process for actor in node_actors() for process in learners_of(actor)]
    assert len(learners) == 2
    driver.send_signal(signal.SIGSTOP)
    try:
        assert not psutil.wait_procs(learners, timeout=GIVE_UP_S)[1]
    finally:
        driver.send_signal(signal.SIGCONT)
    assert driver.wait(GIVE_UP_S) == 1
    assert newest(folder).learners() == [0, 1]
    wait_until(lambda: not node_actors())


@pytest.mark.slow
def test_a_machine_dies_and_another_takes_its_place(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    own = Machines(2)

    def script(seen: Observer) -> Script:
        while seen.updates(0, 1, 2, 3) < 50:
            yield
        made = list(seen.status.updates)
        own.kill_last()
        while not seen.has_heard("is lost"):
            yield
        lost = 1 if seen.has_heard("node 1 (learners 2 to 3) is lost") else 0
        there, gone = ((0, 1), (2, 3)) if lost else ((2, 3), (0, 1))
        while seen.updates(*there) < max(made) + 100:
            yield
        # Checkpoints go without the machine that is gone.
        while (saved := checkpoint.newest(folder.checkpoints)) is None or (
            saved.learners() != list(there)
        ):
            yield
        at_rest = seen.updates(*gone)
        own.add()
        while not seen.has_heard("is back") or seen.updates(*gone) < at_rest + 50:
            yield

    try:
        outcome = run(own, folder, replace(CONFIG, checkpoint_every=1.0), Observer(script))
    finally:
        own.close()
    assert outcome.failure is None
    assert sorted(outcome.status.restarts) == [0, 0, 1, 1]

"""Learners and nodes join and leave a run on a cluster; some die meanwhile. Real Ray processes."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from gala_rl.records import checkpoint, scale_request
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.status import Outcome
from tests.cluster.machines import CONFIG, Machines, learners_of, node_actors, run, wait_until
from tests.cluster.test_faults import Observer, Script, actor_with

ONE_NODE = replace(CONFIG, learners=1, max_learners=6)
"""Of two learners a node: machines have two CPUs each."""


def asked_for(seen: Observer, folder: RunFolder, learners: int) -> Script:
    """Waits until the run goes by another number, and all have made some more updates by it."""
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


def sizes(folder: RunFolder) -> list[tuple[int, int]]:
    return [(change["from"], change["to"]) for change in folder.read_scales()]


def check_nobody_counts_backwards(seen: Observer) -> None:
    for before, after in itertools.pairwise(seen.statuses):
        for then, now in ((before.updates, after.updates), (before.restarts, after.restarts)):
            assert len(then) <= len(now), "whoever has been a member stays in the books"
            assert all(a <= b for a, b in zip(then, now, strict=False))


def free_cpus() -> float:
    return float(ray.available_resources().get("CPU", 0.0))


def newest(folder: RunFolder) -> checkpoint.Checkpoint:
    saved = checkpoint.newest(folder.checkpoints)
    assert saved is not None
    return saved


def check_books(folder: RunFolder, outcome: Outcome) -> None:
    """Rows, counters and the last checkpoint tell the same, also of those that have left."""
    status = outcome.status
    assert outcome.failure is None
    saved = newest(folder)
    assert saved.learners() == list(range(len(status.alive)))
    assert saved.manifest["learner_agent_steps"] == status.agent_steps
    for rank, made in enumerate(status.agent_steps):
        assert made == 10 * status.updates[rank]
        rows = MetricsReader(folder.metrics_file(rank)).new_rows()
        assert rows[-1]["agent_steps"] == made, "who leaves writes down what it has made"
        assert [row["updates"] for row in rows] == sorted({row["updates"] for row in rows})


def test_learners_join_within_a_node_and_with_a_new_one_and_leave_again(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.cluster.scaling.PLACED_S", 1.0)
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
    check_nobody_counts_backwards(observer)
    check_books(folder, outcome)
    wait_until(lambda: not node_actors())

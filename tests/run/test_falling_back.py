"""What a learner begins with that continues from a checkpoint, in this process."""

from dataclasses import replace
from pathlib import Path

import pytest

from gala_rl.agent import initial_parameters_of, message_size
from gala_rl.gossip import SharedMailboxes
from gala_rl.learners.optimizers import state_size
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_worker import make_worker
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters
from tests.support.run_processes import CONFIG

SAVED_UPDATES, SAVED_STEPS, WRITTEN_UPDATES = 6, 6 * 10, 10


def spec_of(folder: RunFolder) -> LearnerSpec:
    config = resolve(replace(CONFIG, learners=2, log_every=1))
    size = initial_parameters_of(config).parameters.numel()
    return LearnerSpec(
        config,
        folder,
        rank=0,
        device="cpu",
        mailboxes=SharedMailboxes(2, message_size(config, size)),
        counters=SharedCounters(2, size, state_size(config.algorithm, size)),
        journal=None,
        shared_coupling=None,
        faults=None,
    )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run whose learner 0 has written a checkpoint, and metrics rows after it."""
    folder = RunFolder(tmp_path / "run")
    spec = spec_of(folder)
    folder.create(spec.config)
    worker = make_worker(spec, None)
    for update in range(WRITTEN_UPDATES):
        if update == SAVED_UPDATES:
            worker.write_part("1")
        worker.advance(0)
    worker.run.close()
    partial = checkpoint.partial_folder(folder.checkpoints, "1")
    checkpoint.complete(partial, SAVED_STEPS, [SAVED_STEPS, 0], 1)
    return folder


def go_on(folder: RunFolder, updates: int, agent_steps: int) -> tuple[int, int, int]:
    """Updates, version and agent steps with which a learner begins of which so much is known."""
    spec = spec_of(folder)
    spec.counters.set(0, LearnerCounter.UPDATES, updates)
    spec.counters.set(0, LearnerCounter.AGENT_STEPS, agent_steps)
    (path,) = folder.checkpoints.iterdir()
    worker = make_worker(replace(spec, checkpoint=path), None)
    agent = worker.run.agent
    begun = agent.updates, agent.gossip.node.version, agent.agent_steps
    worker.advance(0)
    worker.run.close()
    return begun


def test_a_run_that_is_resumed_goes_on_at_its_checkpoint(folder: RunFolder) -> None:
    assert go_on(folder, SAVED_UPDATES, SAVED_STEPS) == (SAVED_UPDATES, SAVED_UPDATES, SAVED_STEPS)


def test_who_was_further_before_its_node_died_does_not_count_backwards(folder: RunFolder) -> None:
    further = 12, 120
    assert go_on(folder, *further) == (12, 12, 120)
    rows = MetricsReader(folder.metrics_file(0)).new_rows()
    assert [row["updates"] for row in rows] == [*range(1, WRITTEN_UPDATES + 1), 13]
    for name in ("episodes", "mixes"):
        assert rows[-1][name] >= rows[-2][name], "books go on from the rows that were written"

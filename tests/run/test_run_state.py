"""What the learners of a machine share: restored progress, and a journal if they gossip."""

from dataclasses import replace
from pathlib import Path

import pytest

from gala_rl.agent import initial_parameters_of
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.records.checkpoint import Checkpoint, Manifest
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.run_state import RunState
from gala_rl.run.shared_counters import LearnerCounter
from tests.support.run_processes import CONFIG

TWO = resolve(replace(CONFIG, learners=2, max_learners=4))


def test_former_members_keep_their_counters_and_have_no_mailbox_to_wait_for(
    tmp_path: Path,
) -> None:
    manifest: Manifest = {
        "format": 1,
        "agent_steps": 350,
        "learner_agent_steps": [100, 200, 50],
        "learners": ["00", "01"],
        "sha256": {},
    }
    start = Checkpoint(tmp_path, manifest)
    state = RunState(TWO, RunFolder(tmp_path), initial_parameters_of(TWO), start)
    assert (state.counters.learners, state.counters.learners_ever) == (2, 3)
    assert state.counters.column(LearnerCounter.AGENT_STEPS) == [100, 200, 50]
    per_update = TWO.update_agent_steps
    updates = state.counters.column(LearnerCounter.UPDATES)
    assert updates == [steps // per_update for steps in (100, 200, 50)]
    assert [state.mailboxes.is_down(rank) for rank in range(4)] == [False, False, True, True]
    state.restore_progress(3, [100, 200, 50], updates)
    assert [state.mailboxes.is_down(rank) for rank in range(4)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("method", "learners", "has_journal"),
    [("gala-a2c", 2, True), ("a2c", 1, False), ("a2c-allreduce", 2, False)],
)
def test_only_learners_that_gossip_write_a_journal(
    tmp_path: Path, method: str, learners: int, has_journal: bool
) -> None:
    config = resolve(TrainConfig(method=method, env="CartPole-v1", learners=learners))
    state = RunState(config, RunFolder(tmp_path), initial_parameters_of(config))
    assert (state.journal is not None) == has_journal
    assert state.faults is None
    spec = state.learner_spec(0, "cpu", checkpoint=None)
    assert (spec.journal, spec.shared_coupling) == (state.journal, state.coupling)

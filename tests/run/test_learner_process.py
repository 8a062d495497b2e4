"""What a learner's process does before its first update, and what its rows tell of all learners."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gala_rl.agent import initial_parameters_of
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.coupling import couple
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_worker import make_worker
from gala_rl.run.run_state import RunState
from gala_rl.run.shared_counters import LearnerCounter
from tests.support.run_processes import CONFIG
from tests.support.run_records import ascending_rows

RARE_ROWS = replace(CONFIG, learners=2, log_every=10**6)
"""Nothing is shown because a row is due."""


def spec_of(config: ResolvedConfig, folder: RunFolder) -> LearnerSpec:
    """Return the spec of learner 0, made in this process."""
    folder.create(config)
    state = RunState(config, folder, initial_parameters_of(config))
    return state.learner_spec(0, "cpu", checkpoint=None)


def start_after_a_first_send(donor: LearnerSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Optimiser states of a learner before its first update and of who joins after its first."""
    worker = make_worker(donor, None)
    before = worker.run.agent.learner.optimizer.state.clone()
    worker.advance(0)
    joining = replace(donor, rank=1, donors=(0,), checkpoint=None, is_joining=True)
    joined = make_worker(joining, None).run
    taken = joined.agent.learner.optimizer.state.clone()
    assert torch.equal(donor.counters.optimizer_states[1], taken)
    worker.run.close()
    joined.close()
    return before, taken


@pytest.mark.parametrize("optimizer", ["rmsprop", "rmsprop-tf", "adam"])
def test_who_joins_before_the_donor_s_first_row_does_not_begin_with_zeros(
    tmp_path: Path, optimizer: str
) -> None:
    settings = A2CSettings(optimizer=optimizer)  # type: ignore[arg-type]
    config = replace(RARE_ROWS, algorithm=settings)
    before, taken = start_after_a_first_send(spec_of(config, RunFolder(tmp_path / "run")))
    assert torch.equal(taken, before)
    assert taken.sum() == (len(taken) if optimizer == "rmsprop-tf" else 0)


def test_nor_after_a_resume(tmp_path: Path) -> None:
    first = spec_of(RARE_ROWS, RunFolder(tmp_path / "before"))
    trained = make_worker(first, None).run
    for _ in range(3):
        trained.advance(0)
    partial = checkpoint.partial_folder(first.folder.checkpoints, "test")
    trained.save(partial, None)
    steps = trained.agent.agent_steps
    trained.close()
    path = checkpoint.complete(partial, steps, [steps, 0], 1)
    again = spec_of(RARE_ROWS, RunFolder(tmp_path / "after"))
    before, taken = start_after_a_first_send(replace(again, checkpoint=path))
    assert before.count_nonzero()
    assert torch.equal(before, trained.agent.learner.optimizer.state)
    assert torch.equal(taken, before)


def test_an_update_that_was_sent_counts_even_if_its_learner_died_before_it_told(
    tmp_path: Path,
) -> None:
    spec = spec_of(RARE_ROWS, RunFolder(tmp_path / "run"))
    killed = make_worker(spec, None)
    killed.advance(0)
    killed.run.advance(0)
    killed.run.close()
    assert (spec.counters.get(0, LearnerCounter.UPDATES), spec.mailboxes.version(0)) == (1, 2)
    again = make_worker(spec, None).run
    again.close()
    assert again.agent.updates == 2
    assert again.agent.agent_steps == 2 * RARE_ROWS.update_agent_steps


def test_rows_tell_the_steps_of_all_learners_with_their_own(tmp_path: Path) -> None:
    first = spec_of(replace(RARE_ROWS, log_every=1), RunFolder(tmp_path / "run"))
    second = replace(first, rank=1)
    workers = [make_worker(one, None) for one in (first, second)]
    for _ in range(3):
        for worker in workers:
            worker.advance(first.counters.total_agent_steps)
    for worker in workers:
        worker.run.close()
    update = RARE_ROWS.update_agent_steps
    totals = [[row["total_agent_steps"] for row in ascending_rows(first.folder, r)] for r in (0, 1)]
    assert totals == [[update * n for n in (1, 3, 5)], [update * n for n in (2, 4, 6)]]


def test_a_state_that_all_learners_share_stays_where_it_is(tmp_path: Path) -> None:
    config = resolve(TrainConfig(method="a3c", env=CONFIG.env, learners=2, steps=10**6))
    spec = spec_of(config, RunFolder(tmp_path / "run"))
    assert spec.shared_coupling is not None
    run = make_worker(spec, couple(spec.shared_coupling, 0)).run
    assert not spec.counters.optimizer_states.any()
    run.close()

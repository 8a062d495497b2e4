"""One learner within a run: what follows the number of learners when that changes."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.settings import LearningRateRule
from gala_rl.gossip import MemoryNetwork
from gala_rl.learners.ppo import PPOLearner
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.ppo import PPOSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader, learner_rows
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.learner_run import LearnerRun
from tests.support.run_processes import CONFIG


def make_run(folder: RunFolder, config: ResolvedConfig) -> LearnerRun:
    folder.create(config)
    network = MemoryNetwork(config.learners)
    return LearnerRun(config, 0, network.transport(0), torch.device("cpu"), folder)


def step(run: LearnerRun, total_agent_steps: int) -> None:
    run.advance(total_agent_steps)
    assert run.write_row_if_due(total_agent_steps)


def test_a_sender_whose_part_is_older_is_heard_at_once_after_a_resume(tmp_path: Path) -> None:
    config = resolve(replace(CONFIG, learners=2, log_every=10**6))
    folder = RunFolder(tmp_path / "run")
    folder.create(config)

    def pair() -> tuple[LearnerRun, LearnerRun]:
        network = MemoryNetwork(2)
        cpu = torch.device("cpu")
        runs = [LearnerRun(config, r, network.transport(r), cpu, folder) for r in range(2)]
        return runs[0], runs[1]

    ahead, slow = pair()
    partial = checkpoint.partial_folder(folder.checkpoints, "test")
    slow.advance(0)
    slow.save(partial, None)
    for _ in range(5):
        slow.advance(0)
        ahead.advance(0)
    assert ahead.agent.gossip.node.mixed_versions == {1: 6}
    ahead.save(partial, None)
    ahead.close()
    slow.close()
    made = [ahead.agent.agent_steps, slow.agent.agent_steps]
    saved = checkpoint.open_checkpoint(checkpoint.complete(partial, sum(made), made, 1))
    ahead, slow = pair()
    for run in (ahead, slow):
        run.restore(saved)
    assert ahead.agent.gossip.node.mixed_versions == {1: 1}
    slow.advance(0)
    ahead.advance(0)
    node = ahead.agent.gossip.node
    assert (node.mixed_versions, node.rejected) == ({1: 2}, {})
    ahead.close()
    slow.close()


@pytest.mark.parametrize(("log_every", "rows"), [(None, 3), (2, 1)])
def test_a_row_is_due_by_seconds_too_unless_updates_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_every: int | None, rows: int
) -> None:
    monkeypatch.setattr("gala_rl.run.learner_run._ROW_EVERY_S", 0.0)
    folder = RunFolder(tmp_path / "run")
    run = make_run(folder, resolve(replace(CONFIG, log_every=log_every)))
    for _ in range(3):
        run.advance(0)
        run.write_row_if_due(0)
    run.close()
    assert len(MetricsReader(folder.metrics_file(0)).new_rows()) == rows


def test_rejected_messages_count_once_for_a_learner_that_is_restored_twice(
    tmp_path: Path,
) -> None:
    config = resolve(replace(CONFIG, learners=2, log_every=1))
    folder = RunFolder(tmp_path / "run")
    run = make_run(folder, config)
    run.agent.gossip.node.rejected["not newer"] = 3
    partial = checkpoint.partial_folder(folder.checkpoints, "test")
    step(run, 0)
    run.save(partial, None)
    path = checkpoint.complete(partial, 10, [run.agent.agent_steps, 0], 1)
    run.agent.gossip.node.rejected["not newer"] = 4
    step(run, 0)
    run.close()
    network = MemoryNetwork(2)
    again = LearnerRun(config, 0, network.transport(0), torch.device("cpu"), folder)
    again.restore(checkpoint.open_checkpoint(path))
    assert again.agent.gossip.node.rejected == {"not newer": 3}
    again.restore_metrics(learner_rows(MetricsReader(folder.metrics_file(0)).new_rows()))
    assert again.agent.gossip.node.rejected == {"not newer": 4}
    again.close()


@pytest.mark.parametrize("rule", ["sqrt", "linear", "constant"])
@pytest.mark.parametrize("method", ["gala-a2c", "gala-ppo"])
def test_neighbours_and_learning_rate_follow_the_number_of_learners(
    tmp_path: Path, method: str, rule: LearningRateRule
) -> None:
    settings = A2CSettings() if method == "gala-a2c" else PPOSettings()
    config = resolve(replace(CONFIG, method=method, algorithm=settings, learners=4, log_every=1))
    algorithm = replace(config.algorithm, learning_rate_rule=rule, learning_rate_schedule="linear")
    config = replace(config, algorithm=algorithm, steps=1_000)
    folder = RunFolder(tmp_path / "run")
    run = make_run(folder, config)
    step(run, 0)
    run.change_learners(1)
    assert run.learners == 1
    assert not run.agent.gossip.has_neighbours
    step(run, 500)
    run.change_learners(3)
    assert run.agent.gossip.node.listening_to == (2,)
    step(run, 500)
    run.close()
    rates = [row["learning_rate"] for row in MetricsReader(folder.metrics_file(0)).new_rows()]
    of_all = {
        "sqrt": [math.sqrt(2 * learners / 16) for learners in (4, 1, 3)],
        "linear": [learners * math.sqrt(2 / 16) for learners in (4, 1, 3)],
        "constant": [1.0, 1.0, 1.0],
    }[rule]
    given = algorithm.learning_rate
    scheduled = zip(of_all, (1.0, 0.5, 0.5), strict=True)
    assert rates == pytest.approx([given * scale * left for scale, left in scheduled])
    if isinstance(run.agent.learner, PPOLearner):
        # The clip range is annealed by the schedule alone.
        assert run.agent.learner.initial_learning_rate == pytest.approx(given * of_all[-1])

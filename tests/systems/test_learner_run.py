"""One learner within a run: what follows the number of learners when that changes."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from gala_rl.config import TrainConfig
from gala_rl.gossip import MemoryNetwork
from gala_rl.learners import PPOLearner
from gala_rl.methods import resolve
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.learner_run import LearnerRun
from tests.systems.processes import CONFIG


def make_run(folder: RunFolder, config: TrainConfig) -> LearnerRun:
    folder.create(config)
    network = MemoryNetwork(config.resolved_learners)
    return LearnerRun(config, 0, network.transport(0), torch.device("cpu"), folder)


def step(run: LearnerRun, total_agent_steps: int) -> None:
    run.advance(total_agent_steps)
    assert run.write_row_if_due(total_agent_steps)


@pytest.mark.parametrize("rule", ["sqrt", "constant"])
@pytest.mark.parametrize("method", ["gala-a2c", "gala-ppo"])
def test_neighbours_and_learning_rate_follow_the_number_of_learners(
    tmp_path: Path, method: str, rule: Literal["sqrt", "constant"]
) -> None:
    config = resolve(replace(CONFIG, method=method, algorithm=None, learners=4, log_every=1))
    algorithm = replace(
        config.resolved_algorithm, learning_rate_rule=rule, learning_rate_schedule="linear"
    )
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
    of_all = [math.sqrt(2 * learners / 16) if rule == "sqrt" else 1.0 for learners in (4, 1, 3)]
    given = algorithm.learning_rate
    scheduled = zip(of_all, (1.0, 0.5, 0.5), strict=True)
    assert rates == pytest.approx([given * scale * left for scale, left in scheduled])
    if isinstance(run.agent.learner, PPOLearner):
        # The clip range is annealed by the schedule alone.
        assert run.agent.learner.initial_learning_rate == pytest.approx(given * of_all[-1])

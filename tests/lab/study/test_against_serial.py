"""A study's learners make the same updates as those of a serial run, from the same data."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gala_lab.study.cell import Algorithm, Cell
from gala_lab.study.gradients import samples_of
from gala_lab.study.stacked_gossip import StackedGossip
from gala_lab.study.training import StackedLearners
from gala_rl.agent import Agent, build_agent
from gala_rl.gossip import MemoryNetwork
from gala_rl.learners.learner import UpdateMetrics
from gala_rl.trajectory import Trajectory

UPDATES, TOLERANCE = 20, 1e-5


class Serial:
    """Learners that take turns, as those of a serial run do."""

    def __init__(self, cell: Cell) -> None:
        self.cell, network = cell, MemoryNetwork(cell.learners)
        self.agents = [
            build_agent(cell.config, rank, network.transport(rank), torch.device("cpu"), seed=rank)
            for rank in range(cell.learners)
        ]

    def round(self, agent_steps: int) -> tuple[list[dict[str, Tensor]], list[UpdateMetrics]]:
        """Make an update each; returns what they learned from, and the metrics."""
        rollouts, metrics = [], []
        rate = self.cell.config.learning_rate_at(agent_steps) * self.cell.rate
        for agent in self.agents:
            collect = agent.source.collect

            def recorded(collect: Any = collect) -> Trajectory:
                trajectory: Trajectory = collect()
                rollouts.append(
                    {
                        name: value.clone()
                        for name, value in vars(trajectory).items()
                        if isinstance(value, Tensor)
                    }
                )
                return trajectory

            agent.source.collect = recorded  # type: ignore[method-assign]
            metrics.append(agent.step(rate))
            agent.source.collect = collect  # type: ignore[method-assign]
        return rollouts, metrics


def trajectory_of(rollouts: list[dict[str, Tensor]]) -> Trajectory:
    """One trajectory with the simulators of all learners side by side."""
    names = set(rollouts[0]) - {"initial_state", "final_state"}
    joined = {name: torch.cat([rollout[name] for rollout in rollouts], dim=1) for name in names}
    states = torch.zeros(joined["rewards"].shape[1], 0)
    return Trajectory(**joined, initial_state=states, final_state=states)  # type: ignore[arg-type]


def parameters_of(agent: Agent) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in agent.actor.network.parameters()])


@pytest.mark.parametrize(
    ("algorithm", "optimizer"), [("a2c", "rmsprop"), ("a2c", "rmsprop-tf"), ("ppo", "adam")]
)
def test_updates_equal_those_of_a_serial_run(algorithm: Algorithm, optimizer: Any) -> None:
    cell = Cell(
        env="CartPole-v1",
        algorithm=algorithm,
        learners=4,
        simulators=4,
        steps=100_000,
        optimizer=optimizer,
        # The accumulator that starts at 1 makes the first steps small.
        rate=20.0 if optimizer == "rmsprop-tf" else 1.0,
    )
    settings: Any = cell.config.algorithm
    if algorithm == "ppo":
        # With one minibatch the order of samples does not matter.
        settings = replace(settings, minibatches=1, epochs=2, rollout_steps=16)
        vars(cell)["config"] = replace(cell.config, algorithm=settings)
    serial, study = Serial(cell), StackedLearners(cell, range(1))
    # The first of those that take turns hears what the last one said a round ago.
    study.gossip = StackedGossip("directed-ring", 4, 1, delays=[1, 0, 0, 0])
    assert torch.equal(study.parameters[0], parameters_of(serial.agents[0]))
    for number in range(UPDATES):
        agent_steps = number * cell.learners * cell.config.update_agent_steps
        rollouts, metrics = serial.round(agent_steps)
        trajectory = trajectory_of(rollouts)
        last = trajectory.observations[-1].view(4, 4, -1)
        views = study.network.views(study.parameters)
        bootstrap = study.network.values(views, last).flatten()
        samples = samples_of(trajectory, bootstrap, settings, 4)
        losses = study.update(samples, agent_steps)
        if algorithm == "a2c":
            terms = [metric.losses for metric in metrics]
            expected = [
                t["policy_loss"] + 0.5 * t["value_loss"] - 0.01 * t["entropy"] for t in terms
            ]
            torch.testing.assert_close(
                losses, torch.stack(expected), atol=TOLERANCE, rtol=TOLERANCE
            )
        found = torch.stack([parameters_of(agent) for agent in serial.agents])
        difference = (study.parameters - found).abs().max()
        assert difference < TOLERANCE, f"update {number + 1}"
    assert float((found[0] - found[2]).abs().max()) > 100 * TOLERANCE, "learners differ"

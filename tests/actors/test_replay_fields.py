"""What a replay needs reaches the learner from actor processes, with each column's simulator."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from gala_rl.actors import ActorProcesses
from gala_rl.agent import build_model
from gala_rl.config.train import TrainConfig
from gala_rl.envs import make_simulators
from gala_rl.flat import FlatParameters
from gala_rl.methods.r2d2 import R2D2Settings
from gala_rl.methods.resolving import resolve
from gala_rl.models.q_network import QNetwork

SETTINGS = R2D2Settings(
    rollout_steps=5, actors=2, batch_size=4, sequence_length=4, burn_in=2, min_replay=100
)
CONFIG = resolve(
    TrainConfig(
        method="r2d2",
        env="tests.environments:CountingTruncated-v0",
        simulators=4,
        lstm_size=3,
        steps=1000,
        algorithm=SETTINGS,
    )
)


@pytest.mark.parametrize("batch_rollouts", [1, 3])
def test_rollouts_have_all_that_a_replay_stores(batch_rollouts: int) -> None:
    config = replace(CONFIG, algorithm=replace(SETTINGS, batch_rollouts=batch_rollouts))
    simulators = make_simulators(config.source, 1, 1)
    network = build_model(config, simulators.observation, simulators.action)
    assert isinstance(network, QNetwork)
    flat = FlatParameters(network)
    source = ActorProcesses(config, 0, partial(build_model, config), flat.values, simulators, 3)
    seen, truncated = set[int](), 0
    try:
        for _ in range(12):
            rollout = source.collect()
            assert rollout.simulators is not None
            numbers = rollout.simulators.view(-1, 2).tolist()
            assert all(pair in ([0, 1], [2, 3]) for pair in numbers)
            seen.update(rollout.simulators.tolist())
            assert rollout.states is not None
            assert rollout.values is not None
            assert rollout.action_values is not None
            assert rollout.final_observations is not None
            with torch.no_grad():
                q_values = network(
                    rollout.observations[:-1].flatten(0, 1), rollout.states.flatten(0, 1)
                ).view(*rollout.rewards.shape, -1)
            chosen = q_values.gather(-1, rollout.actions.unsqueeze(-1)).squeeze(-1)
            torch.testing.assert_close(rollout.values, q_values.amax(dim=-1))
            torch.testing.assert_close(rollout.action_values, chosen)
            cut = rollout.truncated
            truncated += int(cut.sum())
            # Counting shows the number of the step, of which the seventh is cut.
            finals = rollout.final_observations[cut]
            assert torch.equal(finals[:, 1], rollout.observations[:-1][cut][:, 1] + 1)
    finally:
        source.close()
    assert seen == {0, 1, 2, 3}
    assert truncated > 0

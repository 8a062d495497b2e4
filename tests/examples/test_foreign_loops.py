"""Learners of loops that are not ours gossip between processes, learn, and survive a kill."""

import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from gala_rl import FlatParameters, UserError
from gala_rl.gossip import LearnerProcesses, SharedMailboxes
from tests.support.foreign_loops import mean_return, parameters_of

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> Any:
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    return importlib.import_module(name)


def train_with_a_kill(
    learn: Any, mailboxes: SharedMailboxes, kill_at: int, *arguments: int
) -> list[torch.Tensor]:
    """Train two learners; kill the second after so many updates, and return what both had then."""
    values: list[torch.Tensor] = []
    with LearnerProcesses(learn, mailboxes, *arguments) as learners:
        while learners.poll():
            time.sleep(0.05)
            if not values and mailboxes.version(1) >= kill_at:
                os.kill(learners.pids[1], signal.SIGKILL)
                values = parameters_of(mailboxes)
        assert learners.restarts == [0, 1]
    return values


def distance(start: torch.Tensor, values: list[torch.Tensor]) -> float:
    """How far learners are apart, in units of the way that both have come; 1.4 without gossip."""
    mean = (values[0] + values[1]) / 2
    return float((values[0] - values[1]).norm() / (mean - start).norm())


def test_a_script_like_cleanrl_s_learns_together_although_a_learner_is_killed() -> None:
    example = load("06_cleanrl_ppo")
    agent = example.make_agent()
    start = FlatParameters(agent).values.clone()
    mailboxes = SharedMailboxes(2, start.numel())
    assert distance(start, train_with_a_kill(example.learn, mailboxes, 15, 40)) < 0.5
    values = parameters_of(mailboxes)
    assert mean_return(agent, agent[0], (values[0] + values[1]) / 2) > 195.0


@pytest.mark.extras
def test_learners_of_stable_baselines_learn_together_although_one_is_killed() -> None:
    pytest.importorskip("stable_baselines3")
    example = load("07_sb3_ppo")
    from gala_rl.sb3 import make_mailboxes

    policy = example.make_model().policy
    start = FlatParameters(policy).values.clone()
    mailboxes = make_mailboxes(example.make_model(), 2)
    assert distance(start, train_with_a_kill(example.learn, mailboxes, 20, 15_000)) < 0.5
    values = parameters_of(mailboxes)
    actor = torch.nn.Sequential(policy.mlp_extractor.policy_net, policy.action_net)
    assert mean_return(policy, actor, (values[0] + values[1]) / 2) > 195.0


@pytest.mark.extras
def test_the_callback_gossips_once_per_update() -> None:
    pytest.importorskip("stable_baselines3")
    from gala_rl.sb3 import GossipCallback, make_mailboxes

    model = load("07_sb3_ppo").make_model()
    mailboxes = make_mailboxes(model, 2)
    callback = GossipCallback(mailboxes, 0)
    model.learn(3 * 256, callback=callback)
    assert callback.gossip.node.version == mailboxes.version(0) == 3
    sent = mailboxes.latest(0)
    assert sent is not None
    assert torch.equal(sent.parameters, callback.gossip.parameters)
    again = GossipCallback(mailboxes, 0)
    model.learn(256, callback=again)
    assert again.gossip.node.version == 4, "it goes on from its last message"
    with pytest.raises(UserError, match=r"room for 5 parameters, and the policy has 9,184"):
        model.learn(256, callback=GossipCallback(SharedMailboxes(2, 5), 0))


@pytest.mark.parametrize("name", ["06_cleanrl_ppo", "07_sb3_ppo"])
def test_examples_of_foreign_loops_are_short(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 60

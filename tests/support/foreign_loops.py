"""Training loops of a user, for processes of their own, and policies read from mailboxes."""

import os
from pathlib import Path

import gymnasium
import torch
from torch import Tensor

from gala_rl import FlatParameters, Gossip
from gala_rl.gossip import SharedMailboxes, directed_ring


def count(rank: int, mailboxes: SharedMailboxes, updates: int, folder: str) -> None:
    """A learner that adds 1 per update, until all have made enough; its starts are in files."""
    values = torch.zeros(mailboxes.size)
    gossip = Gossip(values, mailboxes.transport(rank), rank, directed_ring(mailboxes.learners))
    if (last := mailboxes.latest(rank)) is not None:
        gossip.resume(last)
    text = f"{gossip.node.version} {float(values[0])}"
    (Path(folder) / f"{rank}-{os.getpid()}").write_text(text, encoding="utf-8")
    while min(mailboxes.version(learner) for learner in range(mailboxes.learners)) < updates:
        values += 1.0
        gossip.exchange()


def fail(rank: int, mailboxes: SharedMailboxes) -> None:
    """A learner whose program has a mistake."""
    raise SystemExit(3)


def parameters_of(mailboxes: SharedMailboxes) -> list[Tensor]:
    """The last parameters that each learner has sent."""
    messages = [mailboxes.latest(rank) for rank in range(mailboxes.learners)]
    assert all(message is not None for message in messages)
    return [message.parameters for message in messages if message is not None]


def mean_return(network: torch.nn.Module, actor: torch.nn.Module, values: Tensor) -> float:
    """Mean score of ten games of CartPole with the most probable actions."""
    FlatParameters(network).load(values)
    env, scores = gymnasium.make("CartPole-v1"), []
    for seed in range(10):
        now, score, is_over = env.reset(seed=seed)[0], 0.0, False
        while not is_over:
            with torch.no_grad():
                action = int(actor(torch.from_numpy(now)[None]).argmax())
            now, reward, ended, cut, _ = env.step(action)
            score, is_over = score + float(reward), ended or cut
        scores.append(score)
    return sum(scores) / len(scores)

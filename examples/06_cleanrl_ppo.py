"""PPO as in CleanRL, two learners in processes of their own: python examples/06_cleanrl_ppo.py."""

import gymnasium
import torch
from torch import Tensor, nn

from gala_rl import FlatParameters, Gossip
from gala_rl.gossip import LearnerProcesses, SharedMailboxes, directed_ring


def make_agent() -> nn.ModuleList:
    """Return actor and critic; all learners start from the same parameters."""
    torch.manual_seed(0)
    kinds = [[nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, outputs)] for outputs in (2, 1)]
    return nn.ModuleList(nn.Sequential(*layers) for layers in kinds)


def learn(rank: int, boxes: SharedMailboxes, updates: int) -> None:
    """Train one learner, until each has made so many updates."""
    actor, critic = agent = make_agent()
    ring = directed_ring(boxes.learners)
    gossip = Gossip(FlatParameters(agent).values, boxes.transport(rank), rank, ring)
    if (last := boxes.latest(rank)) is not None:
        gossip.resume(last)  # This learner was killed and started again.
    torch.manual_seed(rank + 1_000 * gossip.node.version)
    optimizer = torch.optim.Adam(agent.parameters(), lr=2e-3)
    mode = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
    envs = gymnasium.make_vec("CartPole-v1", 8, "sync", vector_kwargs=mode)
    now = torch.from_numpy(envs.reset(seed=rank)[0])
    while min(boxes.version(learner) for learner in range(boxes.learners)) < updates:
        steps, returns = list[tuple[Tensor, ...]](), list[Tensor]()
        for _ in range(128):
            policy = actor(now).detach().log_softmax(-1)
            action = policy.exp().multinomial(1)
            following, _, ended, cut, _ = envs.step(action[:, 0].numpy())
            over = torch.from_numpy(ended | cut)[:, None]
            steps.append((now, action, policy.gather(-1, action), over))
            now = torch.from_numpy(following)
        value = critic(now).detach()
        for *_, over in reversed(steps):  # The reward of every step is 1.
            value = 1.0 + 0.99 * value.masked_fill(over, 0.0)
            returns.insert(0, value)
        seen, actions, log_probs, over = (torch.cat(column) for column in zip(*steps, strict=True))
        for part in torch.randperm(len(seen)).repeat(4).chunk(16):
            error = torch.cat(returns)[part] - critic(seen[part])
            advantage = ((error - error.mean()) / error.std()).detach()
            log_prob = actor(seen[part]).log_softmax(-1).gather(-1, actions[part])
            ratio = (log_prob - log_probs[part]).exp()
            gain = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            optimizer.zero_grad()
            torch.autograd.backward(error.square().mean() / 200 - gain.mean())
            optimizer.step()
        gossip.exchange()
    print(f"learner {rank}: games of about {len(over) / (1 + over.sum()):.0f} steps")


if __name__ == "__main__":
    mailboxes = SharedMailboxes(2, FlatParameters(make_agent()).values.numel())
    with LearnerProcesses(learn, mailboxes, 60) as learners:
        learners.wait()  # It starts a learner that dies again.

"""Two PPO learners of Stable-Baselines3 that gossip: python examples/07_sb3_ppo.py.

It needs the extra sb3: pip install 'gala-rl[sb3]'
"""

import torch
from stable_baselines3 import PPO

from gala_rl.gossip import LearnerProcesses, SharedMailboxes
from gala_rl.sb3 import GossipCallback, make_mailboxes


def make_model() -> PPO:
    """Return a model; all learners start from the same parameters."""
    return PPO("MlpPolicy", "CartPole-v1", n_steps=256, learning_rate=1e-3, seed=0, device="cpu")


def learn(rank: int, mailboxes: SharedMailboxes, steps: int) -> None:
    """Train one learner for so many steps of its own simulator."""
    torch.set_num_threads(1)
    model = make_model()
    model.set_random_seed(1 + rank)
    model.learn(steps, callback=GossipCallback(mailboxes, rank))
    returns = [game["r"] for game in model.ep_info_buffer]
    print(f"learner {rank}: mean return {sum(returns) / len(returns):.0f}")


if __name__ == "__main__":
    with LearnerProcesses(learn, make_mailboxes(make_model(), 2), 20_000) as learners:
        learners.wait()  # It starts a learner that dies again.

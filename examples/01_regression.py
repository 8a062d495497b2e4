"""Gossip in a plain PyTorch loop: four learners fit a line, each to its own data.

Three lines add gossip to any loop: flatten the parameters, join the network, and exchange after
each optimiser step. No learner ever waits, and all learners end with the same line.

    python examples/01_regression.py
"""

import torch
from torch import nn

from gala_rl import FlatParameters, Gossip
from gala_rl.gossip import MemoryNetwork, directed_ring

LEARNERS = 4


def main(updates: int = 500) -> list[tuple[float, float]]:
    """Return slope and intercept per learner; the true values are 3 and -1."""
    network = MemoryNetwork(LEARNERS)
    learners = []
    for rank in range(LEARNERS):
        torch.manual_seed(0)  # all start from the same parameters
        model = nn.Linear(1, 1)
        flat = FlatParameters(model)  # 1
        gossip = Gossip(flat.values, network.transport(rank), rank, directed_ring(LEARNERS))  # 2
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        learners.append((model, optimizer, gossip, torch.Generator().manual_seed(rank)))

    for _ in range(updates):
        for model, optimizer, gossip, data in learners:
            x = torch.randn(32, 1, generator=data)
            y = 3 * x - 1 + 0.1 * torch.randn(32, 1, generator=data)
            optimizer.zero_grad(set_to_none=False)  # keeps the gradients in the flat vector
            torch.autograd.backward(nn.functional.mse_loss(model(x), y))
            optimizer.step()
            gossip.exchange()  # 3
    return [(model.weight.item(), model.bias.item()) for model, *_ in learners]


if __name__ == "__main__":
    for rank, (slope, intercept) in enumerate(main()):
        print(f"learner {rank}: y = {slope:.3f} x {intercept:+.3f}")

"""Reference for the network: the same acting and learning, written as plain PyTorch.

Ordinary modules and parameters, contiguous memory, a forward pass for every use, PyTorch's own
clipping and RMSprop.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gala_rl.config.settings import ActorCriticSettings
from gala_rl.spaces import ActionSpec, ObservationSpec


def is_available(observation: ObservationSpec, action: ActionSpec) -> bool:
    """Return whether there is such a reference: only for images and discrete actions."""
    return observation.is_image and action.is_discrete and not action.sizes


class PlainNetwork(nn.Module):
    """GALA's network for images: three convolutions, a linear layer, policy and value heads.

    Args:
        shape: (channels, height, width) of an observation.
        actions: number of actions.
    """

    def __init__(self, shape: tuple[int, ...], actions: int) -> None:
        super().__init__()
        convolutions = nn.Sequential(
            nn.Conv2d(shape[0], 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 32, 3, stride=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            size = convolutions(torch.zeros(1, *shape)).numel()
        self.torso = nn.Sequential(convolutions, nn.Linear(size, 512), nn.ReLU())
        self.policy = nn.Linear(512, actions)
        self.value = nn.Linear(512, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, H, W] uint8 in 0 … 255 → logits [N, A], values [N]."""
        features = self.torso(images.float() / 255.0)
        return self.policy(features), self.value(features).squeeze(-1)

    def logits(self, images: Tensor) -> Tensor:
        """[N, C, H, W] → logits [N, A]."""
        return self(images)[0]  # type: ignore[no-any-return]

    def values(self, images: Tensor) -> Tensor:
        """[N, C, H, W] → values [N]."""
        return self(images)[1]  # type: ignore[no-any-return]


class PlainMLP(nn.Module):
    """GALA's network for vectors: two layers of 64 tanh units each for policy and value.

    Args:
        size: length of an observation.
        actions: number of actions.
    """

    def __init__(self, size: int, actions: int) -> None:
        super().__init__()

        def torso() -> list[nn.Module]:
            return [nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()]

        self.policy = nn.Sequential(*torso(), nn.Linear(64, actions))
        self.value = nn.Sequential(*torso(), nn.Linear(64, 1))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """[N, size] → logits [N, A], values [N]."""
        return self.policy(vectors), self.values(vectors)

    def logits(self, vectors: Tensor) -> Tensor:
        """[N, size] → logits [N, A]."""
        logits: Tensor = self.policy(vectors)
        return logits

    def values(self, vectors: Tensor) -> Tensor:
        """[N, size] → values [N]."""
        values: Tensor = self.value(vectors)
        return values.squeeze(-1)


class PlainUpdate:
    """One rollout's acting passes and the update, on recorded observations.

    Args:
        network: network that acts and learns.
        settings: settings of the algorithm.
        observations: [T + 1, B, ...] uint8 images or float32 vectors.
        rewards: [T, B].
        discounts: [T, B] γ, 0 where the return ends.
        learning_rate: learning rate of RMSprop.
    """

    def __init__(
        self,
        network: PlainNetwork | PlainMLP,
        settings: ActorCriticSettings,
        observations: Tensor,
        rewards: Tensor,
        discounts: Tensor,
        learning_rate: float,
    ) -> None:
        self._network, self._settings = network, settings
        self._observations, self._rewards, self._discounts = observations, rewards, discounts
        self._optimizer = torch.optim.RMSprop(
            network.parameters(),
            lr=learning_rate,
            alpha=settings.rmsprop_decay,
            eps=settings.rmsprop_epsilon,
        )

    def step(self) -> None:
        """Act T times, then learn once."""
        actions = self._act()
        loss = self._loss(actions, self._returns())
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._network.parameters(), self._settings.max_grad_norm)
        self._optimizer.step()

    @torch.no_grad()
    def _act(self) -> Tensor:
        """Random actions [T, B]."""
        logits = (self._network.logits(x) for x in self._observations[:-1])
        return torch.stack([torch.multinomial(F.softmax(x, -1), 1).squeeze(-1) for x in logits])

    @torch.no_grad()
    def _returns(self) -> Tensor:
        """G_t = r_t + γ_t G_{t+1}, [T, B], from the value of the last observation."""
        following = self._network.values(self._observations[-1])
        returns = torch.empty_like(self._rewards)
        for t in reversed(range(len(returns))):
            following = self._rewards[t] + self._discounts[t] * following
            returns[t] = following
        return returns

    def _loss(self, actions: Tensor, returns: Tensor) -> Tensor:
        logits, values = self._network(self._observations[:-1].flatten(0, 1))
        log_probs = F.log_softmax(logits, -1)
        chosen = log_probs.gather(-1, actions.flatten().unsqueeze(-1)).squeeze(-1)
        advantages = returns.flatten() - values
        entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
        loss: Tensor = (
            -(chosen * advantages.detach()).mean()
            + self._settings.value_cost * advantages.square().mean()
            - self._settings.entropy_cost * entropy
        )
        return loss

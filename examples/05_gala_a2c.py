"""GALA-A2C in one file, without the package: all of Algorithm 1 except separate processes.

"Gossip-based Actor-Learner Architectures for Deep Reinforcement Learning", Assran et al. 2019.
Learners take turns in one process, as in `gala train gala-a2c --serial`, whose parameters this
file reproduces. The package adds processes, Atari, speed, supervision and checkpoints.

    python examples/05_gala_a2c.py
"""

import copy
import math
from collections import deque
from dataclasses import dataclass, field

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Settings:
    """Defaults of the paper; the learning rate is for 16 simulators in all."""

    env: str = "CartPole-v1"
    learners: int = 4
    simulators: int = 16
    rollout_steps: int = 5
    discount: float = 0.99
    value_cost: float = 0.5
    entropy_cost: float = 0.01
    max_grad_norm: float = 0.5
    learning_rate: float = 7e-4
    rmsprop_decay: float = 0.99
    rmsprop_epsilon: float = 1e-5
    seed: int = 0

    @property
    def scaled_learning_rate(self) -> float:
        """Learning rate, scaled by the square root of the number of simulators."""
        return self.learning_rate * math.sqrt(self.learners * self.simulators / 16)


def orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    """Initialise with orthogonal weights and zero bias."""
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class ActorCritic(nn.Module):
    """Policy and value networks, each with its own two layers of 64 tanh units."""

    def __init__(self, observation_size: int, actions: int) -> None:
        super().__init__()

        def torso() -> nn.Sequential:
            return nn.Sequential(
                orthogonal(nn.Linear(observation_size, 64), math.sqrt(2)),
                nn.Tanh(),
                orthogonal(nn.Linear(64, 64), math.sqrt(2)),
                nn.Tanh(),
            )

        self.policy_torso, self.value_torso = torso(), torso()
        self.policy_head = orthogonal(nn.Linear(64, actions), 0.01)
        self.value_head = orthogonal(nn.Linear(64, 1), 1.0)

    def logits(self, x: Tensor) -> Tensor:
        """[N, observation] → [N, actions]."""
        logits: Tensor = self.policy_head(self.policy_torso(x))
        return logits

    def value(self, x: Tensor) -> Tensor:
        """[N, observation] → [N]."""
        value: Tensor = self.value_head(self.value_torso(x)).squeeze(-1)
        return value


class Simulators:
    """Copies of one environment that reset when an episode ends."""

    def __init__(self, env_id: str, count: int, seed: int) -> None:
        self.envs = [gymnasium.make(env_id) for _ in range(count)]
        seeds = np.random.SeedSequence(seed)
        self.observations = np.stack(
            [
                env.reset(seed=int(seeds.spawn(1)[0].generate_state(1)[0] % 2**31))[0]
                for env in self.envs
            ]
        )
        self.scores = np.zeros(count)
        self.returns: deque[float] = deque(maxlen=100)

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return rewards, terminated, truncated [B] and every simulator's true next observation.

        `self.observations` are the next to act on: the first of a new episode where one ended.
        """
        count = len(self.envs)
        rewards, ends = np.zeros(count, dtype=np.float32), np.zeros((2, count), dtype=bool)
        following = np.zeros_like(self.observations)
        for i, env in enumerate(self.envs):
            following[i], rewards[i], ends[0, i], ends[1, i], _ = env.step(int(actions[i]))
            self.scores[i] += rewards[i]
            self.observations[i] = following[i]
            if ends[:, i].any():
                self.returns.append(self.scores[i])
                self.scores[i] = 0.0
                self.observations[i] = env.reset()[0]
        arrays = (rewards, ends[0], ends[1] & ~ends[0], following)
        rewards_, terminated, truncated, following_ = (torch.from_numpy(x) for x in arrays)
        return rewards_, terminated, truncated, following_


@dataclass
class Rollout:
    """Records of T steps of B simulators, each a list of T tensors [B, ...]."""

    observations: list[Tensor] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)
    rewards: list[Tensor] = field(default_factory=list)
    terminated: list[Tensor] = field(default_factory=list)
    truncated: list[Tensor] = field(default_factory=list)
    truncation_values: list[Tensor] = field(default_factory=list)


class Learner:
    """One actor-learner: simulators, network, optimiser and mailbox."""

    def __init__(self, settings: Settings, rank: int, model: ActorCritic) -> None:
        self.settings, self.model = settings, model
        # Every learner has its own random actions and episodes.
        seed = int(np.random.SeedSequence([settings.seed, rank, 0]).generate_state(1)[0])
        streams = np.random.SeedSequence(seed).generate_state(2, dtype=np.uint64)
        self.generator = torch.Generator().manual_seed(int(streams[0] >> 1))
        self.simulators = Simulators(settings.env, settings.simulators, int(streams[1] % 2**31))
        self.optimizer = torch.optim.RMSprop(
            model.parameters(),
            lr=settings.scaled_learning_rate,
            alpha=settings.rmsprop_decay,
            eps=settings.rmsprop_epsilon,
        )
        self.mailbox: list[Tensor] | None = None

    @torch.no_grad()
    def act(self) -> Rollout:
        """Line 1 of Algorithm 1: make a rollout with the current policy."""
        rollout = Rollout()
        for _ in range(self.settings.rollout_steps):
            observations = torch.from_numpy(self.simulators.observations.copy())
            probabilities = torch.softmax(self.model.logits(observations), dim=-1)
            actions = torch.multinomial(probabilities, 1, generator=self.generator).squeeze(-1)
            rewards, terminated, truncated, following = self.simulators.step(actions)
            rollout.observations.append(observations)
            rollout.actions.append(actions)
            rollout.rewards.append(rewards)
            rollout.terminated.append(terminated)
            rollout.truncated.append(truncated)
            rollout.truncation_values.append(self.model.value(following))
        return rollout

    @torch.no_grad()
    def returns(self, rollout: Rollout) -> Tensor:
        """Return n-step returns [T, B]; a truncated episode continues with the value at its cut."""
        following = self.model.value(torch.from_numpy(self.simulators.observations))
        returns = []
        for t in reversed(range(self.settings.rollout_steps)):
            following = torch.where(rollout.truncated[t], rollout.truncation_values[t], following)
            going_on = (~rollout.terminated[t]).float()
            following = rollout.rewards[t] + self.settings.discount * going_on * following
            returns.append(following)
        return torch.stack(returns[::-1])

    def learn(self, rollout: Rollout) -> None:
        """Line 2: make one step of advantage actor-critic."""
        settings = self.settings
        observations = torch.stack(rollout.observations).flatten(0, 1)
        actions = torch.stack(rollout.actions).flatten()
        returns = self.returns(rollout).flatten()
        log_probs = torch.log_softmax(self.model.logits(observations), dim=-1)
        entropy = -(log_probs.exp() * log_probs).sum(dim=-1).mean()
        advantages = returns - self.model.value(observations)
        chosen = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        policy_loss = -(chosen * advantages.detach()).mean()
        value_loss = advantages.square().mean()
        loss = policy_loss + settings.value_cost * value_loss - settings.entropy_cost * entropy
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), settings.max_grad_norm)
        self.optimizer.step()

    @torch.no_grad()
    def gossip(self, neighbour: "Learner") -> None:
        """Lines 3 and 4: send to the next learner of the ring; mix if its predecessor has sent.

        No learner waits: an unread message is replaced, and without a message there is no mix.
        """
        neighbour.mailbox = [p.detach().clone() for p in self.model.parameters()]
        if self.mailbox is not None:
            for own, received in zip(self.model.parameters(), self.mailbox, strict=True):
                own.lerp_(received, 0.5)
            self.mailbox = None


def train(settings: Settings, updates: int, report_every: int = 0) -> list[Learner]:
    """Train all learners for `updates` updates; print progress every `report_every` updates."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        env = gymnasium.make(settings.env)
        assert isinstance(env.action_space, gymnasium.spaces.Discrete)
        assert env.observation_space.shape is not None
        model = ActorCritic(math.prod(env.observation_space.shape), int(env.action_space.n))
    # All start from the same parameters.
    ring = [Learner(settings, rank, copy.deepcopy(model)) for rank in range(settings.learners)]
    for update in range(1, updates + 1):
        for rank, learner in enumerate(ring):
            learner.learn(learner.act())
            if settings.learners > 1:
                learner.gossip(ring[(rank + 1) % settings.learners])
        if report_every and update % report_every == 0:
            scores = [score for learner in ring for score in learner.simulators.returns]
            mean = f"{np.mean(scores):.1f}" if scores else "no episode over yet"
            print(f"update {update} of {updates}: mean return {mean}", flush=True)
    return ring


if __name__ == "__main__":
    for rank, learner in enumerate(train(Settings(), updates=600, report_every=25)):
        returns = learner.simulators.returns
        print(f"learner {rank}: mean return of the last {len(returns)} episodes "
              f"{np.mean(returns):.1f}")  # fmt: skip

"""Serial GALA-A2C against Algorithm 1 written out a second time, with nothing of the package.

Only the initial parameters and the seeds come from the library. Environments, sampling, returns,
loss, clipping, RMSprop (PyTorch's own) and the averaging on the ring are done again here, simply
and literally.
"""

from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from gala_rl.agent import build_model, initial_parameters_of
from gala_rl.config.train import TrainConfig
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.serial import run_serial
from gala_rl.spaces import ActionSpec, ObservationSpec
from tests.support.run_records import newest

LEARNERS, SIMULATORS, STEPS, ROUNDS = 3, 2, 5, 30
DISCOUNT, VALUE_COST, ENTROPY_COST, MAX_NORM = 0.95, 0.4, 0.02, 0.3
LEARNING_RATE, DECAY, EPSILON = 2e-3, 0.97, 1e-4
CONFIG = resolve(
    TrainConfig(
        method="gala-a2c",
        env="CartPole-v1",
        learners=LEARNERS,
        simulators=SIMULATORS,
        steps=ROUNDS * LEARNERS * SIMULATORS * STEPS,
        serial=True,
        seed=5,
        algorithm=A2CSettings(
            rollout_steps=STEPS,
            discount=DISCOUNT,
            value_cost=VALUE_COST,
            entropy_cost=ENTROPY_COST,
            max_grad_norm=MAX_NORM,
            learning_rate=LEARNING_RATE,
            learning_rate_rule="constant",
            rmsprop_decay=DECAY,
            rmsprop_epsilon=EPSILON,
        ),
    )
)


def network() -> tuple[nn.Sequential, nn.Sequential]:
    """Policy and value networks with the run's initial parameters."""
    model = build_model(CONFIG, ObservationSpec((4,), False), ActionSpec(2, True))
    given = list(model.parameters())

    def perceptron(outputs: int) -> nn.Sequential:
        hidden = [nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()]
        return nn.Sequential(*hidden, nn.Linear(64, outputs))

    policy, value = perceptron(2), perceptron(1)
    # The model's order: policy torso, value torso, policy head, value head.
    torsos = [*list(policy.parameters())[:4], *list(value.parameters())[:4]]
    heads = [*list(policy.parameters())[4:], *list(value.parameters())[4:]]
    for own, initial in zip([*torsos, *heads], given, strict=True):
        own.data.copy_(initial.data)
    return policy, value


@dataclass
class Replica:
    """One learner, done by hand."""

    policy: nn.Sequential
    value: nn.Sequential
    optimizer: torch.optim.RMSprop
    generator: torch.Generator
    envs: list[gymnasium.Env[np.ndarray, np.int64]]
    observations: list[np.ndarray]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [*self.policy.parameters(), *self.value.parameters()]

    def vector(self) -> Tensor:
        return nn.utils.parameters_to_vector(self.parameters).detach().clone()


def make_replica(rank: int) -> Replica:
    policy, value = network()
    optimizer = torch.optim.RMSprop(
        [*policy.parameters(), *value.parameters()], lr=LEARNING_RATE, alpha=DECAY, eps=EPSILON
    )
    seed = int(np.random.SeedSequence([CONFIG.seed, rank, 0]).generate_state(1)[0])
    streams = np.random.SeedSequence(seed).generate_state(2, dtype=np.uint64)
    generator = torch.Generator().manual_seed(int(streams[0] >> 1))
    seeds = np.random.SeedSequence(int(streams[1] % 2**31))
    envs, observations = [], []
    for _ in range(SIMULATORS):
        env = gymnasium.make("CartPole-v1")
        first = int(seeds.spawn(1)[0].generate_state(1)[0] % 2**31)
        observations.append(env.reset(seed=first)[0])
        envs.append(env)
    return Replica(policy, value, optimizer, generator, envs, observations)


def act(replica: Replica) -> tuple[list[Tensor], list[Tensor], list[list[float]], list[list[bool]]]:
    """One rollout: observations, actions, rewards and ends, a list over time of each."""
    seen, chosen, rewards, ends = [], [], [], []
    for _ in range(STEPS):
        observations = torch.tensor(np.array(replica.observations))
        with torch.no_grad():
            probabilities = torch.softmax(replica.policy(observations), dim=-1)
            actions = torch.multinomial(probabilities, 1, generator=replica.generator)[:, 0]
        seen.append(observations)
        chosen.append(actions)
        rewards.append([0.0] * SIMULATORS)
        ends.append([False] * SIMULATORS)
        for i, env in enumerate(replica.envs):
            observation, reward, terminated, truncated, _ = env.step(np.int64(actions[i].item()))
            assert not truncated, "too short a run for a game to reach CartPole's time limit"
            rewards[-1][i], ends[-1][i] = float(reward), terminated
            replica.observations[i] = env.reset()[0] if terminated else observation
    return seen, chosen, rewards, ends


def learn(replica: Replica) -> None:
    """One update on one rollout."""
    seen, chosen, rewards, ends = act(replica)
    policy_terms, value_terms, entropy_terms = [], [], []
    with torch.no_grad():
        last = replica.value(torch.tensor(np.array(replica.observations)))[:, 0]
    for i in range(SIMULATORS):
        following = last[i]
        for t in reversed(range(STEPS)):
            following = rewards[t][i] + DISCOUNT * (0.0 if ends[t][i] else 1.0) * following
            log_probs = torch.log(torch.softmax(replica.policy(seen[t][i]), dim=-1))
            value = replica.value(seen[t][i])[0]
            advantage = following - value
            policy_terms.append(-log_probs[chosen[t][i]] * advantage.detach())
            value_terms.append(advantage**2)
            entropy_terms.append(-(log_probs.exp() * log_probs).sum())
    loss = torch.stack(policy_terms).mean()
    loss = loss + VALUE_COST * torch.stack(value_terms).mean()
    loss = loss - ENTROPY_COST * torch.stack(entropy_terms).mean()
    replica.optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(replica.parameters, MAX_NORM)
    replica.optimizer.step()


def train_by_hand() -> list[Tensor]:
    """All learners in turn on the directed ring; the parameters of each at the end."""
    replicas = [make_replica(rank) for rank in range(LEARNERS)]
    mailbox: list[Tensor | None] = [None] * LEARNERS
    for _ in range(ROUNDS):
        for rank, replica in enumerate(replicas):
            learn(replica)
            # Sent before mixing, as it came out of the optimiser.
            mailbox[rank] = replica.vector()
            received = mailbox[rank - 1]
            if received is not None:
                mixed = (replica.vector() + received) / 2
                nn.utils.vector_to_parameters(mixed, replica.parameters)
    return [replica.vector() for replica in replicas]


def train_with_the_library(path: Path) -> list[Tensor]:
    folder = RunFolder(path)
    folder.create(CONFIG)
    run_serial(
        CONFIG,
        folder,
        torch.device("cpu"),
        initial_parameters_of(CONFIG),
        None,
        lambda status: None,
    )
    saved = newest(folder)
    return [saved.load(rank).tensors["parameters"] for rank in range(LEARNERS)]


def in_the_models_layout(vector: Tensor) -> Tensor:
    """The hand-made networks' parameters as the package lays them out, padding included."""
    policy, value = network()
    nn.utils.vector_to_parameters(vector, [*policy.parameters(), *value.parameters()])
    parts = [list(policy.parameters()), list(value.parameters())]
    ordered = [*parts[0][:4], *parts[1][:4], *parts[0][4:], *parts[1][4:]]
    padded = [nn.functional.pad(p.detach().flatten(), (0, -p.numel() % 16)) for p in ordered]
    return torch.cat(padded)


def test_serial_training_is_algorithm_1_written_out_again(tmp_path: Path) -> None:
    initial = in_the_models_layout(make_replica(0).vector())
    by_hand = [in_the_models_layout(vector) for vector in train_by_hand()]
    by_library = train_with_the_library(tmp_path / "run")
    for rank in range(LEARNERS):
        moved = (by_library[rank] - initial).abs().max()
        assert moved > 0.02, "enough happens for a comparison to mean something"
        torch.testing.assert_close(by_library[rank], by_hand[rank], rtol=1e-4, atol=1e-5)

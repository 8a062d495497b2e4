"""A learner that stores rollouts in a replay and makes gradient steps on samples from it."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.flat import FlatParameters
from gala_rl.learners.gradient_learner import GradientStep
from gala_rl.learners.learner import Coupling, UpdateMetrics
from gala_rl.methods.q_learning import QLearningSettings
from gala_rl.models.q_network import QNetwork
from gala_rl.processes.heartbeat import beat
from gala_rl.replay import SampleKeys, SequenceReplay, TransitionReplay
from gala_rl.trajectory import Trajectory
from gala_rl.trajectory_source import never

_STREAM = 2
"""Separates the random stream of updates from that of an actor with the same seed."""


class ReplayLoss(NamedTuple):
    """The loss of a batch, and what follows from its errors.

    Attributes:
        total: scalar to minimise.
        td_errors: [...] of the steps that were learned from, without gradient.
        priorities: [N] new priorities of the batch's items.
        q_values: [..., A] of the online network, without gradient.
        keys: whose priorities they are.
        steps: agent steps that were learned from.
    """

    total: Tensor
    td_errors: Tensor
    priorities: Tensor
    q_values: Tensor
    keys: SampleKeys
    steps: int


BatchLoss = Callable[[QNetwork, QNetwork, Any, Any], ReplayLoss]
"""The loss of network and target network on a batch, given the settings of the algorithm."""

StepErrors = Callable[[Any, Trajectory], Tensor]
"""|TD error| [T, B] of a new rollout, from the actor's own values; NaN where unknown."""


class ReplayLearner:
    """Learns from samples of a replay, to which every rollout is added; see `Learner`.

    An update makes as many gradient steps as the replay ratio allows: the number of steps that were
    learned from is at most `replay_ratio` times the number of those collected since learning began,
    and less than a batch below it. It may be none; parameters stay as they are then.

    Args:
        network: its parameters are moved into `flat`.
        settings: settings of the algorithm.
        replay: empty replay of all simulators of the learner.
        loss: loss of a batch.
        initial_learning_rate: see `Learner`.
        seed: seed of the sampling.
        step_errors: initial priorities of steps; None: new items have the highest priority so far.
        coupling: what is shared with other learners; None: nothing.
    """

    def __init__(
        self,
        network: QNetwork,
        settings: QLearningSettings,
        replay: TransitionReplay | SequenceReplay,
        loss: BatchLoss,
        *,
        initial_learning_rate: float,
        seed: int,
        step_errors: StepErrors | None = None,
        coupling: Coupling | None = None,
    ) -> None:
        self._network, self._settings, self._loss = network, settings, loss
        self._target = copy.deepcopy(network)
        # Before its gradients are switched off, since those without come last in the vector.
        self._target_flat = FlatParameters(self._target)
        self._target.requires_grad_(False)
        self._step = GradientStep(network, settings, coupling)
        self.state, self.flat = self._step.state, self._step.flat
        self.optimizer = self._step.optimizer
        stream = np.random.SeedSequence([seed, _STREAM]).generate_state(1, dtype=np.uint64)
        generator = torch.Generator().manual_seed(int(stream[0] >> 1))
        self.generator: torch.Generator | None = generator
        self._random = generator
        self.initial_learning_rate = initial_learning_rate
        self.should_stop: Callable[[], bool] = never
        self.replay = replay
        self._step_errors = step_errors
        self._before = torch.empty_like(self.flat.values)
        self.gradient_steps = self.replayed = self.collected = 0
        zero = torch.zeros(())
        self._seen = dict.fromkeys(_COLUMNS, zero)

    def update(
        self, trajectory: Trajectory, learning_rate: float, out: Tensor | None = None
    ) -> UpdateMetrics:
        """See `Learner.update`."""
        self._before.copy_(self.flat.values)
        self._store(trajectory)
        seed = int(torch.randint(2**62, (), generator=self._random))
        rng, seen = np.random.default_rng(seed), list[Tensor]()
        while self._may_step() and not (seen and self.should_stop()):
            seen.append(self._descend(learning_rate, rng))
            beat()
        if out is not None:
            out.copy_(self.flat.values)
        if seen:
            self._seen = dict(zip(_COLUMNS, torch.stack(seen).mean(dim=0).unbind(), strict=True))
        losses = {name: value for name, value in self._seen.items() if name != "grad_norm"}
        displacement = torch.sub(self.flat.values, self._before, out=self._before)
        return UpdateMetrics(
            self._seen["grad_norm"],
            torch.linalg.vector_norm(displacement),
            losses | self._counters(),
        )

    def _store(self, trajectory: Trajectory) -> None:
        errors = None
        if self._step_errors is not None:
            errors = self._step_errors(self._settings, trajectory)
        numbers = trajectory.simulators
        self.replay.add(trajectory, errors, None if numbers is None else numbers.numpy())
        if self.replay.size_agent_steps >= self._settings.min_replay and self.replay.items:
            self.collected += trajectory.agent_steps

    def _may_step(self) -> bool:
        """Return whether a whole batch can be learned from within the replay ratio."""
        allowed = self._settings.replay_ratio * self.collected
        return self.replayed + self._settings.batch_steps <= allowed

    def _descend(self, learning_rate: float, rng: np.random.Generator) -> Tensor:
        """Make a gradient step; return the values of `_COLUMNS`."""
        if self.gradient_steps % self._settings.target_every == 0:
            self._copy_target()
        batch = self.replay.sample(self._settings.batch_size, rng)
        ages = self.replay.ages(batch.keys)
        loss = self._loss(
            self._network, self._target, self._settings, _on_device(batch, self.state.device)
        )
        grad_norm, _ = self._step(loss.total, learning_rate)
        self.gradient_steps += 1
        self.replayed += loss.steps
        priorities = loss.priorities.detach().cpu()
        self.replay.update_priorities(loss.keys, priorities)
        on_host = (priorities.mean(), priorities.max(), torch.tensor(ages.mean()))
        here = (loss.total.detach(), loss.q_values.mean(), loss.td_errors.abs().mean(), grad_norm)
        return torch.cat(
            [torch.stack(here).cpu().float(), torch.stack([x.float() for x in on_host])]
        )

    def _copy_target(self) -> None:
        """Copy the learner's own parameters, which with gossip are those last mixed."""
        self._target_flat.load(self.flat.values)

    def _counters(self) -> dict[str, Tensor]:
        counters = {
            "replay_ratio": self.replayed / max(1, self.collected),
            "replay_steps": self.replay.size_agent_steps,
            "gradient_steps": self.gradient_steps,
        }
        return {name: torch.tensor(value) for name, value in counters.items()}

    def tensors(self) -> dict[str, Tensor]:
        """See `Learner.tensors`."""
        counts = [self.gradient_steps, self.replayed, self.collected]
        return {"target": self._target_flat.values, "replay_counts": torch.tensor(counts)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Learner.restore`."""
        self._target_flat.load(tensors["target"])
        self.gradient_steps, self.replayed, self.collected = tensors["replay_counts"].tolist()

    def replay_arrays(self) -> dict[str, NDArray[Any]]:
        """See `Learner.replay_arrays`; with the newest means, for rows of metrics."""
        return self.replay.state() | {_MEANS: torch.stack([*self._seen.values()]).numpy()}

    def restore_replay(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """See `Learner.restore_replay`."""
        means = arrays.get(_MEANS)
        if means is None or means.shape != (len(_COLUMNS),) or means.dtype != np.float32:
            raise ValueError(f"the saved replay has no {_MEANS}")
        self.replay.restore(arrays)
        self._seen = dict(zip(_COLUMNS, torch.tensor(means).unbind(), strict=True))


_MEANS = "means"
_COLUMNS = (
    "q_loss",
    "mean_q",
    "td_error",
    "grad_norm",
    "priority_mean",
    "priority_max",
    "sample_age_steps",
)
"""What is averaged over the gradient steps of an update, by metrics column."""


def _on_device(batch: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on a device."""
    if device.type == "cpu":
        return batch
    return type(batch)._make(x.to(device) if isinstance(x, Tensor) else x for x in batch)

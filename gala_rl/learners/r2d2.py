"""R2D2: double Q-learning of a recurrent network on sequences, with burn-in."""

import torch
from torch import Tensor

from gala_rl.learners.learner import Coupling, RolloutSource
from gala_rl.learners.replay_learner import ReplayLearner, ReplayLoss
from gala_rl.losses.r2d2 import r2d2_loss, r2d2_targets
from gala_rl.methods.r2d2 import R2D2Settings
from gala_rl.models.q_network import QNetwork
from gala_rl.replay import SequenceBatch, SequenceReplay
from gala_rl.trajectory import Trajectory


def sequence_loss(
    network: QNetwork, target: QNetwork, settings: R2D2Settings, batch: SequenceBatch
) -> ReplayLoss:
    """Return the loss of a batch of sequences, each network with a burn-in of its own.

    "Recurrent Experience Replay in Distributed Reinforcement Learning", Kapturowski et al. 2019.
    """
    burn_in = settings.burn_in
    q_values = network.q_values(batch, burn_in)
    with torch.no_grad():
        target_q_values = target.q_values(batch, burn_in)
    loss = r2d2_loss(
        q_values=q_values,
        target_q_values=target_q_values,
        actions=batch.actions[burn_in:],
        rewards=batch.rewards[burn_in:],
        terminated=batch.terminated[burn_in:],
        truncated=batch.truncated[burn_in:],
        is_learned=batch.is_learned,
        weights=batch.weights,
        n_step=settings.n_step,
        discount=settings.discount,
    )
    learned = q_values.detach()[: len(batch.is_learned)][batch.is_learned]
    return ReplayLoss(
        loss.total,
        loss.td_errors[batch.is_learned],
        loss.priorities,
        learned,
        batch.keys,
        len(learned),
    )


@torch.no_grad()
def step_errors(settings: R2D2Settings, trajectory: Trajectory) -> Tensor:
    """Return |δ| [T, B] of a new rollout, from the values with which it was acted.

    NaN where the return goes on after the rollout.
    """
    values, chosen = trajectory.values, trajectory.action_values
    if values is None or chosen is None:
        raise ValueError("R2D2 needs the action values with which actors acted")
    steps, n = len(values), settings.n_step
    # The row after a truncated step is the next episode's first, from which no return bootstraps.
    following = values.new_zeros(steps + n, *values.shape[1:])
    following[:steps] = values
    cut = trajectory.truncated
    following[1 : steps + 1] = torch.where(
        cut, trajectory.truncation_values, following[1 : steps + 1]
    )

    def padded(x: Tensor) -> Tensor:
        return torch.cat([x, x.new_zeros(n, *x.shape[1:])])

    targets = r2d2_targets(
        following,
        padded(trajectory.rewards),
        padded(trajectory.terminated),
        padded(cut),
        n_step=n,
        discount=settings.discount,
    )
    ends = padded(trajectory.terminated | cut)
    is_known = torch.stack([ends[i : i + steps] for i in range(n)]).any(dim=0)
    is_known[: max(0, steps - n)] = True
    return (targets - chosen).abs().masked_fill(~is_known, torch.nan)


def make_learner(
    network: QNetwork,
    settings: R2D2Settings,
    *,
    initial_learning_rate: float,
    seed: int,
    source: RolloutSource,
    coupling: Coupling | None = None,
) -> ReplayLearner:
    """Return a learner of sequences; see `gala_rl.learners.learner.make_learner`."""
    replay = settings.replay(
        source.simulators,
        source.observation,
        frame_stack=source.frame_stack,
        state_size=network.state_size,
    )
    return ReplayLearner(
        network,
        settings,
        SequenceReplay(replay),
        sequence_loss,
        initial_learning_rate=initial_learning_rate,
        seed=seed,
        step_errors=step_errors,
        coupling=coupling,
    )

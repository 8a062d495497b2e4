"""All-reduce: replicas average exactly, agree on everything, and find one another again."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from gala_rl.coupling import GradientAverage, PeerLost, Rendezvous
from gala_rl.coupling.gradients import ReplicaVotes
from gala_rl.trajectory import Trajectory
from tests.support.learning_problems import (
    DISCRETE,
    SETTINGS,
    VECTOR,
    a2c_learner,
    make_model,
    random_trajectory,
)
from tests.support.threads import meet, run_replicas

DEADLINE_S = 10.0


def gradient(seed: int, size: int = 1000) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
def test_every_replica_gets_the_mean_and_all_the_same_bits(tmp_path: Path, replicas: int) -> None:
    averaged: dict[int, Tensor] = {}

    def life(average: GradientAverage, rank: int) -> None:
        meet(average)
        averaged[rank] = gradient(rank)
        average.average(averaged[rank])
        average.leave()

    run_replicas(Rendezvous(replicas, tmp_path / "replicas", DEADLINE_S), life)
    expected = torch.stack([gradient(rank).double() for rank in range(replicas)]).mean(0)
    torch.testing.assert_close(averaged[0].double(), expected, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(averaged[0], other) for other in averaged.values())
    if replicas == 1:
        assert torch.equal(averaged[0], gradient(0))


def test_running_moments_are_the_mean_of_what_the_replicas_have_counted(tmp_path: Path) -> None:
    moments = {rank: gradient(rank) for rank in range(3)}

    def life(average: GradientAverage, rank: int) -> None:
        meet(average)
        for count in (1.0, 2.0):
            with average.counting(moments[rank]):
                moments[rank].add_(count * rank)
        average.leave()

    run_replicas(Rendezvous(3, tmp_path / "replicas", DEADLINE_S), life)
    counted = torch.stack([gradient(rank).double() for rank in range(3)]).mean(0) + 1.0 + 2.0
    torch.testing.assert_close(moments[0].double(), counted, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(moments[0], other) for other in moments.values())


@pytest.mark.parametrize("replicas", [3, 5])
def test_a_replica_lost_while_moments_are_averaged_leaves_the_others_their_own(
    tmp_path: Path, replicas: int
) -> None:
    rendezvous = Rendezvous(replicas, tmp_path / "replicas", DEADLINE_S)
    all_connected = Barrier(replicas)
    moments = {rank: torch.full((1000,), float(rank)) for rank in range(replicas)}

    def life(average: GradientAverage, rank: int) -> None:
        meet(average)
        all_connected.wait(DEADLINE_S)
        if rank != 1:
            with pytest.raises(PeerLost), average.counting(moments[rank]):
                moments[rank].add_(1.0)

    run_replicas(rendezvous, life)
    survivors = [rank for rank in range(replicas) if rank != 1]
    assert all((moments[rank] == rank + 1.0).all() for rank in survivors)


def test_a_state_whose_broadcast_breaks_is_not_loaded(tmp_path: Path) -> None:
    average = GradientAverage(Rendezvous(2, tmp_path / "replicas", DEADLINE_S), 0)
    average._group = CutOff(updates_of_the_other=7)
    state = gradient(0)
    with pytest.raises(PeerLost):
        average.synchronize(state, 3)
    assert torch.equal(state, gradient(0))


class CutOff:
    """A group of two whose other replica has made more updates and dies halfway in its state."""

    def __init__(self, updates_of_the_other: int) -> None:
        self._updates = updates_of_the_other

    def allreduce(self, tensors: list[Tensor]) -> Any:
        tensors[0][1] = self._updates
        return Ended(None)

    def broadcast(self, tensor: Tensor, root: int) -> Any:
        assert root == 1
        tensor[: len(tensor) // 2] = torch.nan
        return Ended(RuntimeError("Connection closed by peer"))


class Ended:
    """A collective operation that is over."""

    def __init__(self, error: RuntimeError | None) -> None:
        self._error = error

    def wait(self, timeout: timedelta) -> None:
        if self._error is not None:
            raise self._error


def joined(trajectories: list[Trajectory]) -> Trajectory:
    """One batch of all simulators."""
    names = ("observations", "actions", "rewards", "terminated", "truncated", "truncation_values")
    parts: dict[str, Any] = {
        name: torch.cat([getattr(t, name) for t in trajectories], dim=1) for name in names
    }
    return replace(trajectories[0], **parts)


def test_replicas_are_one_learner_with_all_their_simulators(tmp_path: Path) -> None:
    replicas, updates, rate = 3, 5, 0.01
    batches = [
        [random_trajectory(VECTOR, DISCRETE, 10 * update + rank) for rank in range(replicas)]
        for update in range(updates)
    ]
    alone = a2c_learner(make_model(VECTOR, DISCRETE), SETTINGS)
    begin = alone.state.clone()
    norms = [float(alone.update(joined(batch), rate).grad_norm) for batch in batches]
    assert min(norms) < SETTINGS.max_grad_norm < max(norms), "both kinds of gradient occur"
    models = [make_model(VECTOR, DISCRETE) for _ in range(replicas)]
    states: dict[int, Tensor] = {}

    def life(average: GradientAverage, rank: int) -> None:
        meet(average)
        learner = a2c_learner(models[rank], SETTINGS, average)
        for batch, norm in zip(batches, norms, strict=True):
            metrics = learner.update(batch[rank], rate)
            torch.testing.assert_close(float(metrics.grad_norm), norm, rtol=1e-4, atol=1e-6)
        states[rank] = learner.state
        average.leave()

    run_replicas(Rendezvous(replicas, tmp_path / "replicas", DEADLINE_S), life)
    assert (states[0] - begin).abs().max() > 0.01
    torch.testing.assert_close(states[0], alone.state, rtol=1e-4, atol=1e-6)
    assert all(torch.equal(states[0], other) for other in states.values())


def test_one_vote_to_stop_stops_all_and_a_checkpoint_waits_for_all_votes(tmp_path: Path) -> None:
    known = [
        [ReplicaVotes(False, 3), ReplicaVotes(False, 4), ReplicaVotes(False, 3)],
        [ReplicaVotes(False, 4), ReplicaVotes(True, 4), ReplicaVotes(False, 4)],
    ]
    agreed: dict[int, list[ReplicaVotes]] = {}

    def life(average: GradientAverage, rank: int) -> None:
        meet(average)
        agreed[rank] = []
        for votes in known:
            average.votes = votes[rank]
            average.average(gradient(rank))
            agreed[rank].append(average.agreed)
        average.leave()

    run_replicas(Rendezvous(3, tmp_path / "replicas", DEADLINE_S), life)
    assert all(agreed[rank] == [ReplicaVotes(False, 3), ReplicaVotes(True, 4)] for rank in range(3))


def test_replicas_synchronize_to_the_most_advanced(tmp_path: Path) -> None:
    states = [torch.full((7,), float(rank)) for rank in range(3)]
    made = [4, 6, 5]

    def life(average: GradientAverage, rank: int) -> None:
        meet(average)
        assert average.synchronize(states[rank], made[rank]) == 6
        average.leave()

    run_replicas(Rendezvous(3, tmp_path / "replicas", DEADLINE_S), life)
    assert all((state == 1.0).all() for state in states)


def test_a_lost_peer_is_noticed_and_all_connect_again_in_a_later_round(tmp_path: Path) -> None:
    rendezvous = Rendezvous(3, tmp_path / "replicas", DEADLINE_S)
    averaged: dict[int, Tensor] = {}
    all_connected = Barrier(3)

    def life(average: GradientAverage, rank: int) -> None:
        meet(average)
        all_connected.wait(DEADLINE_S)
        if rank == 1:
            # As if it were killed: another takes its place and knows nothing.
            average = GradientAverage(rendezvous, rank)
        else:
            with pytest.raises(PeerLost):
                average.average(gradient(rank))
        meet(average)
        averaged[rank] = gradient(rank)
        average.average(averaged[rank])
        average.leave()

    run_replicas(rendezvous, life)
    assert all(torch.equal(averaged[0], other) for other in averaged.values())


def test_a_silent_replica_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    rendezvous = Rendezvous(3, tmp_path / "replicas", 2.0)
    # One that left while others still connect would be a lost replica, not a silent one.
    all_connected, all_lost = Barrier(3), Barrier(3)
    lost = []

    def life(average: GradientAverage, rank: int) -> None:
        meet(average)
        all_connected.wait(DEADLINE_S)
        if rank > 0:
            with pytest.raises(PeerLost):
                average.average(gradient(rank))
            lost.append(rank)
        all_lost.wait(DEADLINE_S)

    run_replicas(rendezvous, life)
    assert sorted(lost) == [1, 2]


def test_a_replica_that_returns_while_others_wait_begins_a_new_round(tmp_path: Path) -> None:
    rendezvous = Rendezvous(3, tmp_path / "replicas", DEADLINE_S)
    waiting, dying, late = (GradientAverage(rendezvous, rank) for rank in range(3))
    waiting.request_group()
    dying.request_group()
    assert not waiting.can_connect()
    again = GradientAverage(rendezvous, 1)
    again.request_group()
    late.request_group()
    assert late.can_connect() is False, "the first still waits for the round that is over"
    assert waiting.can_connect()
    assert rendezvous.rounds.tolist() == [2, 2, 2]


def test_a_gradient_that_is_not_finite_is_not_sent(tmp_path: Path) -> None:
    rendezvous = Rendezvous(2, tmp_path / "replicas", DEADLINE_S)
    all_connected = Barrier(2)

    def life(average: GradientAverage, rank: int) -> None:
        meet(average)
        all_connected.wait(DEADLINE_S)
        poisoned = gradient(rank)
        poisoned[3] = torch.nan if rank == 0 else 1.0
        if rank == 0:
            with pytest.raises(FloatingPointError, match="not finite"):
                average.average(poisoned)
        else:
            with pytest.raises(PeerLost):
                average.average(poisoned)
            assert poisoned.isfinite().all()

    run_replicas(rendezvous, life)


def test_nothing_listens_beyond_this_machine_and_nothing_is_left(tmp_path: Path) -> None:
    rendezvous = Rendezvous(2, tmp_path / "replicas", DEADLINE_S)
    (rendezvous.folder / "left-over").touch()
    rendezvous = Rendezvous(2, tmp_path / "replicas", DEADLINE_S)
    assert list(rendezvous.folder.iterdir()) == []
    addresses: list[str] = []

    def life(average: GradientAverage, rank: int) -> None:
        meet(average)
        addresses.extend(
            connection.laddr.ip
            for connection in psutil.Process().net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        )
        average.average(gradient(rank))
        average.leave()

    run_replicas(rendezvous, life)
    assert addresses
    assert set(addresses) <= {"127.0.0.1", "::1"}
    assert rendezvous.rounds.tolist() == [-1, -1]
    assert GradientAverage(rendezvous, 0).has_ended()
    rendezvous.close()
    assert list(tmp_path.iterdir()) == []


def test_without_a_group_there_is_no_average(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="connect first"):
        GradientAverage(Rendezvous(2, tmp_path / "replicas", DEADLINE_S), 0).average(gradient(0))

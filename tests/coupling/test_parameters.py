"""Shared parameters: alone they are the plain optimiser's, together every learner's steps count."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gala_rl.coupling import SharedParameters
from gala_rl.learners.optimizers import make_optimizer, state_size
from gala_rl.methods.a2c import A2CSettings
from tests.coupling.test_locks import GIVE_UP_S, PROCESSES, hold_for_ever
from tests.support.learning_problems import (
    DISCRETE,
    SETTINGS,
    VECTOR,
    a2c_learner,
    make_model,
    random_trajectory,
)

SIZE = 1000
KILLS = 10
TENSORFLOW = A2CSettings(optimizer="rmsprop-tf")
ADAM = A2CSettings(optimizer="adam")


def vector(seed: int, size: int = SIZE) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def shared_of(path: Path, settings: A2CSettings, locked: bool) -> SharedParameters:
    return SharedParameters(vector(0), settings, path / "chunks" if locked else None, GIVE_UP_S)


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("settings", [A2CSettings(), TENSORFLOW, ADAM])
def test_one_learner_alone_steps_as_the_plain_optimiser_bit_for_bit(
    tmp_path: Path, settings: A2CSettings, locked: bool
) -> None:
    shared, own, plain = shared_of(tmp_path, settings, locked), torch.zeros(SIZE), vector(0)
    optimizer = shared.make_optimizer(own, settings, torch.empty(0))
    expected = make_optimizer(plain, settings, torch.empty(state_size(settings, SIZE)))
    for k in range(1, 20):
        norm = optimizer.step(vector(k), 0.01)
        torch.testing.assert_close(norm, expected.step(vector(k), 0.01))
        assert torch.equal(own, plain)
        assert torch.equal(shared.parameters, plain)
        # Adam's state is laid out chunk by chunk.
        assert settings is ADAM or torch.equal(optimizer.state, expected.state)


@pytest.mark.parametrize("locked", [False, True])
def test_learners_in_turn_share_parameters_and_statistics(tmp_path: Path, locked: bool) -> None:
    shared, plain = shared_of(tmp_path, TENSORFLOW, locked), vector(0)
    copies = [torch.zeros(SIZE) for _ in range(3)]
    learners = [shared.make_optimizer(copy, TENSORFLOW, torch.empty(0)) for copy in copies]
    expected = make_optimizer(plain, TENSORFLOW, torch.empty(SIZE))
    for k in range(1, 13):
        learners[k % 3].step(vector(k), 0.01)
        expected.step(vector(k), 0.01)
        assert torch.equal(copies[k % 3], plain)
        assert not torch.equal(copies[(k + 1) % 3], plain), "others learn of it at their own step"
    # Who comes later finds things as they are.
    late = torch.zeros(SIZE)
    optimizer = shared.make_optimizer(late, TENSORFLOW, torch.empty(0))
    assert torch.equal(late, plain)
    assert torch.equal(optimizer.state, expected.state)


def test_a_learner_takes_its_gradient_at_its_own_copy_and_its_step_on_the_shared_one() -> None:
    models = [make_model(VECTOR, DISCRETE) for _ in range(2)]
    plain = a2c_learner(make_model(VECTOR, DISCRETE), SETTINGS)
    begin = plain.flat.values.clone()
    shared = SharedParameters(begin, SETTINGS, None, GIVE_UP_S)
    first, second = (a2c_learner(model, SETTINGS, shared) for model in models)
    first.update(random_trajectory(VECTOR, DISCRETE, 1), 0.01)
    plain.update(random_trajectory(VECTOR, DISCRETE, 1), 0.01)
    assert torch.equal(shared.parameters, plain.flat.values)
    # The second has not seen that: its gradient is taken where both began.
    after_first, state = plain.flat.values.clone(), plain.optimizer.state.clone()
    plain.flat.load(begin)
    plain.update(random_trajectory(VECTOR, DISCRETE, 2), 0.01)
    grads = plain.flat.grads.clone()
    expected = make_optimizer(after_first, SETTINGS, state, fresh=False)
    expected.step(grads, 0.01)
    second.update(random_trajectory(VECTOR, DISCRETE, 2), 0.01)
    assert torch.equal(shared.parameters, after_first)
    assert torch.equal(second.flat.values, after_first)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    shared = shared_of(tmp_path, TENSORFLOW, True)
    before = {name: tensor.clone() for name, tensor in shared.tensors().items()}
    optimizer = shared.make_optimizer(torch.zeros(SIZE), TENSORFLOW, torch.empty(0))
    for bad in (torch.nan, torch.inf):
        gradient = vector(1)
        gradient[-1] = bad
        with pytest.raises(FloatingPointError, match="not finite"):
            optimizer.step(gradient, 0.01)
    assert all(torch.equal(before[name], tensor) for name, tensor in shared.tensors().items())
    with pytest.raises(ValueError, match="in place"):
        optimizer.step(vector(1), 0.01, torch.empty(SIZE))


def test_what_was_saved_is_restored(tmp_path: Path) -> None:
    shared = shared_of(tmp_path, TENSORFLOW, True)
    shared.make_optimizer(torch.zeros(SIZE), TENSORFLOW, torch.empty(0)).step(vector(1), 0.01)
    again = shared_of(tmp_path, TENSORFLOW, True)
    assert not torch.equal(again.parameters, shared.parameters)
    again.restore(shared.tensors())
    assert torch.equal(again.parameters, shared.parameters)
    assert torch.equal(again.optimizer_state, shared.optimizer_state)
    shared.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("locked", [False, True])
def test_learners_count_into_the_moments_of_all(tmp_path: Path, locked: bool) -> None:
    shared, before = shared_of(tmp_path, ADAM, locked), vector(0)
    copies = [torch.zeros(SIZE) for _ in range(2)]
    for copy in copies:
        shared.make_optimizer(copy, ADAM, torch.empty(0))
    for copy, expected in ((copies[0], before + 1.0), (copies[1], before + 2.0)):
        moments = copy[-5:]
        with shared.counting(moments):
            moments.add_(1.0)
        assert torch.equal(moments, expected[-5:])
        assert torch.equal(shared.parameters[-5:], expected[-5:])
        assert torch.equal(shared.parameters[:-5], before[:-5])


@pytest.mark.parametrize("locked", [False, True])
def test_the_moments_of_all_change_a_copy_when_it_counts_and_not_between_steps(
    tmp_path: Path, locked: bool
) -> None:
    moments, lock_file = 5, tmp_path / "chunks" if locked else None
    learned = SIZE - moments
    shared = SharedParameters(vector(0), ADAM, lock_file, GIVE_UP_S, learned)
    before = vector(0)[learned:]
    copies = [torch.zeros(SIZE) for _ in range(2)]
    first, second = (shared.make_optimizer(copy, ADAM, torch.empty(0)) for copy in copies)
    gradient = vector(1)
    gradient[learned:] = 0.0
    first.step(gradient, 0.01)
    second.step(gradient, 0.01)
    with shared.counting(copies[1][learned:]):
        copies[1][learned:].add_(1.0)
    # The first is within an update, whose epochs are all to see what its rollout was acted with.
    first.step(gradient, 0.01)
    assert torch.equal(copies[0][:learned], shared.parameters[:learned])
    assert torch.equal(copies[0][learned:], before)
    assert torch.equal(shared.parameters[learned:], before + 1.0)
    with shared.counting(copies[0][learned:]):
        copies[0][learned:].mul_(2.0)
    assert torch.equal(copies[0], shared.parameters)
    assert torch.equal(copies[0][learned:], 2.0 * (before + 1.0))
    # Who comes back has those of all from its first rollout on.
    late = torch.zeros(SIZE)
    shared.make_optimizer(late, ADAM, torch.empty(0))
    assert torch.equal(late, shared.parameters)


COUNTS = 300


def count_up(shared: SharedParameters, moments: int) -> None:
    torch.set_num_threads(1)
    own = torch.zeros_like(shared.parameters)
    shared.make_optimizer(own, ADAM, torch.empty(0))
    for _ in range(COUNTS):
        with shared.counting(own[-moments:]):
            own[-moments:].add_(1.0)


@pytest.mark.parametrize("moments", [5, 700])
def test_under_locks_no_count_is_lost_wherever_the_moments_lie(
    tmp_path: Path, moments: int
) -> None:
    shared = SharedParameters(torch.zeros(SIZE), ADAM, tmp_path / "chunks", GIVE_UP_S)
    processes = [PROCESSES.Process(target=count_up, args=(shared, moments)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(GIVE_UP_S)
        assert process.exitcode == 0
    assert torch.all(shared.parameters[-moments:] == 3 * COUNTS)
    assert torch.all(shared.parameters[:-moments] == 0)


def step_for_ever(shared: SharedParameters, made: Tensor, rank: int) -> None:
    """Steps of the same direction everywhere: each number says how many reached it."""
    torch.set_num_threads(1)
    own = torch.zeros_like(shared.parameters)
    optimizer = shared.make_optimizer(own, TENSORFLOW, torch.empty(0))
    while True:
        optimizer.step(torch.ones_like(own), 1e-3)
        made[rank] += 1


@pytest.mark.parametrize("locked", [pytest.param(False, marks=pytest.mark.slow), True])
def test_learners_killed_at_random_moments_hold_nobody_up(tmp_path: Path, locked: bool) -> None:
    size = 100_000
    path = tmp_path / "chunks" if locked else None
    shared = SharedParameters(torch.zeros(size), TENSORFLOW, path, GIVE_UP_S)
    made = torch.zeros(3, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
    generator = random.Random(0)

    def start(rank: int) -> multiprocessing.process.BaseProcess:
        process = PROCESSES.Process(target=step_for_ever, args=(shared, made, rank), daemon=True)
        process.start()
        return process

    processes = [start(rank) for rank in range(3)]
    for kill in range(KILLS):
        before, give_up = made.clone(), time.monotonic() + GIVE_UP_S
        while not (made > before).all():
            assert time.monotonic() < give_up, "somebody is held up"
            time.sleep(0.001)
        time.sleep(generator.random() * 0.01)
        rank = kill % 3
        pid = processes[rank].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        processes[rank].join()
        processes[rank] = start(rank)
    for process in processes:
        process.kill()
        process.join()
    assert shared.parameters.isfinite().all()
    assert (shared.parameters < 0).all()
    assert (shared.optimizer_state > 0).all()
    if locked:
        # Steps are not lost: within a chunk numbers differ where a step was cut short, no more.
        for chunk in shared.chunks(shared.parameters):
            assert len(set(chunk.tolist())) <= 2 * KILLS + 3


def test_a_chunk_that_is_held_for_too_long_is_told(tmp_path: Path) -> None:
    holds = PROCESSES.Event()
    path = tmp_path / "chunks"
    shared = SharedParameters(vector(0), TENSORFLOW, path, 0.05)
    holder = PROCESSES.Process(target=hold_for_ever, args=(path, 1, holds), daemon=True)
    holder.start()
    assert holds.wait(GIVE_UP_S)
    optimizer = shared.make_optimizer(torch.zeros(SIZE), TENSORFLOW, torch.empty(0))
    with pytest.raises(TimeoutError, match="lock 1"):
        optimizer.step(vector(1), 0.01)
    holder.kill()
    holder.join()
    optimizer.step(vector(1), 0.01)

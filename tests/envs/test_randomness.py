"""Global generators: the run's seed fixes them, and a caller's states come back."""

# ruff: noqa: NPY002 - the legacy generator is what this is about

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.envs.randomness import (
    get_generator_states,
    seed_generators,
    seeded_generators,
    set_generator_states,
)
from gala_rl.envs.workers import SimulatorProcesses, WorkerTimeouts
from tests.support.made_up_simulators import play

GLOBAL = "tests.environments:DrawingGlobally-v0"


def draws() -> list[float]:
    return [f() for _ in range(3) for f in (random.random, np.random.random, np.random.normal)]


def test_a_callers_states_come_back_even_after_an_error() -> None:
    with seeded_generators(1):
        before = random.getstate(), repr(np.random.get_state())
        with pytest.raises(ZeroDivisionError), seeded_generators(2):
            draws()[0] / 0
        assert (random.getstate(), repr(np.random.get_state())) == before


def test_the_place_of_a_process_fixes_what_it_draws() -> None:
    drawn = []
    for entropy in [(1, 0), (1, 0), (1, 1), (2, 0)]:
        with seeded_generators(*entropy):
            drawn.append(draws())
    assert drawn[0] == drawn[1]
    assert len({tuple(numbers) for numbers in drawn}) == 3


@pytest.mark.parametrize("before", [0, 1, 7])
def test_a_saved_state_goes_on_with_the_same_numbers(before: int) -> None:
    with seeded_generators(5):
        for _ in range(before):
            random.gauss(0, 1)
            np.random.normal()
        state = get_generator_states()
        expected = [random.gauss(0, 1), *draws()]
        seed_generators(6)
        set_generator_states(state)
        assert [random.gauss(0, 1), *draws()] == expected


@pytest.mark.parametrize(("index", "value"), [(624, 625), (3, -1), (700, 2.0**33), (-3, 625)])
def test_numbers_that_are_no_state_are_refused(index: int, value: float) -> None:
    with seeded_generators(5):
        state = get_generator_states()
        state[index] = value
        with pytest.raises((ValueError, OverflowError)):
            set_generator_states(state)


def observations(made: GymnasiumSimulators | SimulatorProcesses) -> NDArray[np.float32]:
    made.reset(3)
    steps = [made.step(np.ones(made.count, dtype=np.int64)).observations for _ in range(60)]
    return np.stack(steps)


def test_simulators_in_processes_draw_by_the_seed_and_their_place() -> None:
    seen = []
    for _ in range(2):
        made = SimulatorProcesses(EnvironmentSource(GLOBAL), 2, 2, WorkerTimeouts(60.0))
        try:
            seen += [observations(made), observations(made)]
        finally:
            made.close()
    np.testing.assert_array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(seen[1], seen[3])
    np.testing.assert_array_equal(seen[0][-1], seen[1][-1])
    assert (seen[0][:, 0] != seen[0][:, 1]).any()


def test_a_saved_simulator_goes_on_with_the_same_global_numbers() -> None:
    with seeded_generators(1):
        made = GymnasiumSimulators(EnvironmentSource(GLOBAL), 2)
        made.reset(0)
        play(made, 5)
        state = made.get_state()
        assert state is not None
        expected = [t.observations for t in play(made, 40)]
        made.set_state(state)
        np.testing.assert_array_equal([t.observations for t in play(made, 40)], expected)

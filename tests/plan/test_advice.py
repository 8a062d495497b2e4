"""Advice follows from speed, noise and the rule for ties, with the settings of gala train."""

import math
from dataclasses import replace

import pytest

from gala_rl.config.train import TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.methods.resolving import resolve
from gala_rl.plan import advice, candidates
from gala_rl.plan.advice import (
    Prediction,
    advise,
    choose,
    noise_scale,
    relative_agent_steps,
    rho,
    speed,
)
from gala_rl.plan.candidates import Machine, default_config, numbers_of_learners
from gala_rl.plan.measuring import Timing
from gala_rl.plan.options import PlanOptions
from gala_rl.theory import named_ball
from tests.plan.made_up import ENV, default_of, measurement

FOUR = Machine(cores=4, gpus=0)


def numbers(prediction: Prediction) -> tuple[int, int]:
    return prediction.config.learners, prediction.config.simulators


def prediction(learners: int, simulators: int, time: float) -> Prediction:
    config = candidates.candidate(default_of(), learners, simulators)
    return Prediction(config, 1.0, 1.0, time, 0.0, None)


@pytest.mark.parametrize(
    ("noise", "overhead_s", "expected"),
    [
        # All simulators help if there is nothing but noise and large batches are cheaper.
        (1.0, 0.1, (4, 128)),
        (0.995, 0.1, (4, 128)),
        # Without overhead, large batches gain nothing.
        (1.0, 0.0, (4, 8)),
        # Without noise, only the number of updates counts.
        (0.0, 0.1, (1, 8)),
        (0.01, 0.0, (1, 8)),
    ],
)
def test_noise_asks_for_large_batches_and_signal_for_small_ones(
    noise: float, overhead_s: float, expected: tuple[int, int]
) -> None:
    given = advise(default_of(4), FOUR, measurement(noise, overhead_s))
    assert numbers(given.advised) == expected


def test_more_noise_never_asks_for_fewer_simulators() -> None:
    totals = [
        advise(default_of(4), FOUR, measurement(noise, 0.02)).advised.config.total_simulators
        for noise in (0.0, 0.2, 0.5, 0.8, 0.95, 1.0)
    ]
    assert totals == sorted(totals)
    assert totals[0] < totals[-1]


def test_the_least_noise_that_is_certain_counts() -> None:
    measured = replace(measurement(1.0, 0.1), least_noise_share=0.5)
    assert advise(default_of(4), FOUR, measured).noise_scale == 16


def test_unknown_noise_ranks_by_speed_alone() -> None:
    unknown = advise(default_of(4), FOUR, measurement(None, 0.1))
    pure = advise(default_of(4), FOUR, measurement(1.0, 0.1))
    assert numbers(unknown.advised) == numbers(pure.advised)
    assert [p.relative_time for p in unknown.best] == [p.relative_time for p in pure.best]
    assert unknown.noise_scale is None
    assert unknown.advised.rho is None


def test_learners_have_a_core_each_as_long_as_there_are_cores() -> None:
    timing = Timing(16, rollout_s=0.03, update_s=0.05)
    assert speed(timing, 1, 5, FOUR) == pytest.approx(16 * 5 / 0.08)
    assert speed(timing, 4, 5, FOUR) == pytest.approx(4 * 16 * 5 / 0.08)
    assert speed(timing, 8, 5, FOUR) == speed(timing, 4, 5, FOUR)


def test_learners_of_a_gpu_update_in_turn() -> None:
    timing = Timing(16, rollout_s=0.03, update_s=0.05)
    assert speed(timing, 1, 5, Machine(4, 1)) == pytest.approx(16 * 5 / 0.08)
    assert speed(timing, 4, 5, Machine(4, 1)) == pytest.approx(16 * 5 / 0.05)
    assert speed(timing, 4, 5, Machine(4, 2)) == pytest.approx(2 * 16 * 5 / 0.05)


def test_the_noise_scale_is_the_batch_that_is_half_noise() -> None:
    assert noise_scale(0.5, 16) == 16
    assert noise_scale(0.0, 16) == 0
    assert noise_scale(1.0, 16) == math.inf
    # It does not depend on the number of simulators with which it is measured.
    scale, simulators = 40.0, 8
    assert noise_scale(scale / (scale + simulators), simulators) == pytest.approx(scale)


def test_agent_steps_grow_with_the_batch_in_units_of_the_noise_scale() -> None:
    assert relative_agent_steps(64, 64, 10.0) == 1
    assert relative_agent_steps(96, 32, 32.0) == pytest.approx(2)
    assert relative_agent_steps(96, 32, 0.0) == pytest.approx(3)
    assert relative_agent_steps(96, 32, math.inf) == relative_agent_steps(96, 32, None) == 1


def test_rho_is_between_that_of_pure_noise_and_that_of_none() -> None:
    assert rho(math.inf, 16, 4) == pytest.approx(0.5)
    assert rho(0.0, 16, 4) == pytest.approx(1)
    assert rho(math.inf, 16, 1) == pytest.approx(1)
    # Half of the second moment is noise: √(1 - 3/4 · 1/2).
    assert rho(16.0, 16, 4) == pytest.approx(math.sqrt(0.625))
    # Larger batches have less noise.
    assert rho(16.0, 64, 4) > rho(16.0, 16, 4)


def test_of_equal_times_the_fewest_simulators_are_chosen() -> None:
    slow, fast = prediction(1, 8, 1.04), prediction(4, 128, 1.0)
    assert choose([slow, fast]) is fast
    hardly = prediction(2, 16, 1.029)
    assert choose([slow, fast, hardly]) is hardly
    as_many = prediction(4, 8, 1.01)
    assert choose([slow, fast, hardly, as_many]) is as_many


def test_the_default_is_what_gala_train_does() -> None:
    machine = Machine(usable_cores(), 0)
    default = default_config(PlanOptions(env=ENV), machine)
    learners = resolve(TrainConfig(env=ENV)).learners
    assert default == resolve(TrainConfig(env=ENV, learners=learners, device="cpu"))
    given = advise(default, machine, measurement(0.5))
    assert given.default.config == default
    assert given.default.relative_time == given.default.relative_agent_steps == 1
    assert default_config(PlanOptions(env=ENV), Machine(5, 0)).learners == 5


def test_there_is_one_row_for_each_number_of_learners_and_the_advised_is_among_them() -> None:
    given = advise(default_of(8), Machine(20, 0), measurement(0.7, 0.01))
    assert [p.config.learners for p in given.best] == [1, 2, 4, 8, 16, 20]
    assert given.advised in (given.default, *given.best)


def test_rows_have_the_settings_that_gala_train_resolves() -> None:
    given = advise(default_of(8), Machine(16, 0), measurement(1.0, 0.1))
    for row in given.best:
        config = row.config
        # The linear rule; one learner has the same rate by the rule of a2c.
        rate = 7e-4 * config.learners * math.sqrt(config.simulators / 16)
        assert config.initial_learning_rate == pytest.approx(rate)
        ring = config.learners <= 8
        assert config.gossip.topology == ("directed-ring" if ring else "rotating-exponential")
        assert config.method == ("a2c" if config.learners == 1 else "gala-a2c")
        ball = named_ball(config.gossip.topology, config.learners)
        assert row.ball_radius == ball.typical_factor
        assert row.rho == pytest.approx(config.learners**-0.5)


def test_numbers_of_learners_are_powers_of_two_and_one_per_core() -> None:
    assert [numbers_of_learners(cores) for cores in (1, 2, 6, 8)] == [
        [1],
        [1, 2],
        [1, 2, 4, 6],
        [1, 2, 4, 8],
    ]


def test_a_default_beyond_the_cores_is_compared_too() -> None:
    given = advise(default_of(2), Machine(1, 0), measurement(1.0, simulators=(16,)))
    (best,) = given.best
    # Two learners take turns on one core: nothing is gained over one.
    assert best.agent_steps_per_s == given.default.agent_steps_per_s
    assert given.advised is best


def test_what_does_not_fit_in_memory_here_is_left_out_unless_it_is_for_another_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(advice, "fits_memory", lambda config: config.total_simulators <= 64)
    noisy = measurement(1.0, 0.1)
    monkeypatch.setattr(candidates, "usable_cores", lambda: 4)
    assert advise(default_of(4), FOUR, noisy).advised.config.total_simulators == 64
    monkeypatch.setattr(candidates, "usable_cores", lambda: 2)
    assert advise(default_of(4), FOUR, noisy).advised.config.total_simulators == 4 * 128


def test_only_measured_numbers_of_simulators_are_compared() -> None:
    given = advise(default_of(2), FOUR, measurement(1.0, 0.1, simulators=(16, 32)))
    assert numbers(given.advised) == (4, 32)

"""A plan says why, what it leaves out, and which command follows it."""

import shlex
from dataclasses import replace

import pytest

from gala_rl.cli.main import main
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.plan import candidates, explanation
from gala_rl.plan.advice import Advice, advise
from gala_rl.plan.candidates import Machine
from gala_rl.plan.explanation import command, notes, reasons
from gala_rl.plan.measuring import Measurement
from tests.plan.made_up import ENV, default_of, measurement

MACHINE = Machine(cores=16, gpus=0)


def advice_of(measured: Measurement, machine: Machine = MACHINE) -> Advice:
    return advise(default_of(8), machine, measured)


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (None, "All gradients were zero, so their noise is unknown: ranked by speed alone."),
        (1.0, "gradients were all noise: ranked by speed alone"),
        (
            0.5,
            "50% or more of a gradient's second moment is noise (50% measured). A batch of 16",
        ),
    ],
)
def test_the_first_reason_is_the_noise(noise: float | None, words: str) -> None:
    measured = measurement(noise, 0.1)
    assert words in reasons(advice_of(measured), measured)[0]


def test_speed_and_agent_steps_are_compared_with_the_default() -> None:
    measured = measurement(1.0, 0.1)
    _, speed, gossip = reasons(advice_of(measured), measured)
    # Agent steps per second of 16 x 128 and 8 x 16, divided by the steps of a rollout.
    faster = 2 * (128 / 0.356) / (16 / 0.132)
    assert f"16 learners x 128 simulators: {faster:.2f} times as many agent steps" in speed
    assert "needs 1.00 times as many" in speed
    assert gossip.startswith("Topology rotating-exponential, since many learners drift apart")
    assert "0.25 (ρ) times as far" in gossip
    assert gossip.endswith("the linear rule assumes 0.25.")


def test_one_learner_has_no_reason_for_a_topology() -> None:
    measured = measurement(0.0)
    advice = advice_of(measured)
    assert advice.advised.config.learners == 1
    assert len(reasons(advice, measured)) == 2


def test_a_default_that_is_advised_is_said_to_be() -> None:
    measured = measurement(1.0, simulators=(16,))
    advice = advise(default_of(2), Machine(2, 0), measured)
    assert advice.advised.config == advice.default.config
    assert reasons(advice, measured)[1].startswith("The default, 2 learners x 16 simulators:")


def test_notes_say_what_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (candidates, explanation):
        monkeypatch.setattr(module, "usable_cores", lambda: 4)
    measured = measurement(0.5)
    assert notes(Machine(4, 0), measured) == []
    (larger,) = notes(Machine(64, 0), measured)
    assert "for 64 cores from measurements on one core" in larger
    assert "which has 4" in larger
    (gpus,) = notes(Machine(4, 2), measured)
    assert "one GPU of a machine: for 2," in gpus
    (few,) = notes(Machine(4, 0), replace(measured, rounds=1))
    assert "that of 1 update only" in few
    (left_out,) = notes(Machine(4, 0), replace(measured, left_out=(64, 128)))
    assert ": 64, 128 simulators per learner" in left_out


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (0.0, f"gala train a2c --env {ENV} --simulators 8"),
        (
            1.0,
            f"gala train gala-a2c --env {ENV} --learners 16 --simulators 128 "
            f"--topology rotating-exponential",
        ),
    ],
)
def test_the_command_trains_the_advised_config(
    noise: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    advice = advice_of(measurement(noise, 0.1))
    assert command(advice, MACHINE) == expected
    started: list[ResolvedConfig] = []

    def start(config: ResolvedConfig, *, dashboard: bool) -> int:
        assert not dashboard
        started.append(config)
        return 0

    monkeypatch.setattr("gala_rl.cli.main._start", start)
    assert main(shlex.split(expected)[1:]) == 0
    (config,) = started
    assert replace(config, device="cpu") == advice.advised.config
    assert config.initial_learning_rate == advice.advised.config.initial_learning_rate


def test_the_command_says_so_if_a_gpu_is_not_to_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    advice = advice_of(measurement(0.0))
    assert command(advice, MACHINE).endswith(" --device cpu")
    assert "--device" not in command(advice, replace(MACHINE, gpus=1))

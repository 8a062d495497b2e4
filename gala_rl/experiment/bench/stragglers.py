"""Stragglers: what training loses to slow learners, beside what is lost with them at best."""

from collections.abc import Mapping, Sequence
from typing import Any

from gala_rl.config import TrainConfig
from gala_rl.experiment.bench import plans
from gala_rl.experiment.bench.results import case, result, settings_of
from gala_rl.experiment.bench.training import measure_training
from gala_rl.experiment.preflight import check_config
from gala_rl.experiment.train import resolve_device

RATIOS = {"of_undisturbed": ("sps", "undisturbed_sps"), "of_ideal": ("sps", "ideal_sps")}


def bench_stragglers(
    config: TrainConfig, slowed: Sequence[int] | None, seconds: float, repeats: int
) -> dict[str, Any]:
    """Measure training while some learners are slowed down from outside, by factors of 2 and 4.

    Args:
        config: of the training.
        slowed: numbers of slowed learners; default: 0 … all but one.
        seconds: of each measurement.
        repeats: rounds of all measurements; ratios need 3.

    Returns:
        See `result`; a case for each number of slowed learners k and factor f, with the agent
        steps a second of all n learners: `sps` measured, `ideal_sps` when nobody loses more than
        the slowed ones (n - k + k / f of n parts of the undisturbed), and `barrier_sps` when all
        go at the pace of the slowest (1 / f of it). The last two are arithmetic on the
        undisturbed rate of the same round.

    Raises:
        UserError: when the config cannot be run.
        LearnerFailure: when a learner died or is too slow to be measured.
    """
    config, chosen = plans.stragglers(config, slowed)
    config = check_config(config)
    plan = [(k, factor) for k in chosen for factor in (plans.SLOWDOWNS if k else (1.0,))]
    rounds: list[list[dict[str, float | None]]] = [[] for _ in plan]
    missing: list[str] = []
    for _ in range(repeats):
        undisturbed = measure_training(config, seconds)
        missing += undisturbed.missing
        for done, (k, factor) in zip(rounds, plan, strict=True):
            training = measure_training(config, seconds, k, factor) if k else undisturbed
            expected = _expected(undisturbed.values, config.resolved_learners, k, factor)
            done.append({**training.values, **expected})
    cases = [
        case({"slowed": k, "factor": factor, "skipped": None}, done, RATIOS)
        for done, (k, factor) in zip(rounds, plan, strict=True)
    ]
    settings = settings_of(config, resolve_device(config).type)
    settings |= {"slowed": chosen, "seconds": seconds, "repeats": repeats}
    return result("stragglers", settings, {"cases": cases}, missing)


def ideal_share(learners: int, slowed: int, factor: float) -> float:
    """What is left of the undisturbed rate if only the slowed lose: (n - k + k / f) / n."""
    return (learners - slowed + slowed / factor) / learners


def barrier_share(slowed: int, factor: float) -> float:
    """What is left of it if every learner waits for the slowest at each update: 1 / f."""
    return 1.0 / factor if slowed else 1.0


def _expected(
    undisturbed: Mapping[str, float | None], learners: int, slowed: int, factor: float
) -> dict[str, float | None]:
    sps = undisturbed["sps"]
    assert sps is not None
    return {
        "undisturbed_sps": sps,
        "ideal_sps": sps * ideal_share(learners, slowed, factor),
        "barrier_sps": sps * barrier_share(slowed, factor),
    }

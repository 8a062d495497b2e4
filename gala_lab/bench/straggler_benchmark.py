"""Stragglers: the rate of training with slow learners, compared with the best possible rate."""

from collections.abc import Mapping, Sequence
from typing import Any

from gala_lab.bench.benchmark_plans import SLOWDOWNS
from gala_lab.bench.results import case, result, settings_of
from gala_lab.bench.training_rate import measure_training
from gala_rl.app.train import resolve_device
from gala_rl.config.resolved import ResolvedConfig

RATIOS = {"of_undisturbed": ("sps", "undisturbed_sps"), "of_ideal": ("sps", "ideal_sps")}
OF_FIRST = {"of_first_method": ("sps", "first_method_sps")}


def bench_stragglers(
    configs: Mapping[str, ResolvedConfig], slowed: Sequence[int], seconds: float, repeats: int
) -> dict[str, Any]:
    """Measure training while some learners are slowed down from outside, by factors of 2 and 4.

    Args:
        configs: config per method, measured in turn, each compared with the first.
        slowed: numbers of slowed learners.
        seconds: length of each measurement.
        repeats: rounds of all measurements; ratios need 3.

    Returns:
        See `result`; a case for each number of slowed learners k and factor f, with the agent
        steps per second of all n learners: `sps` measured, `ideal_sps` if only the slowed ones
        lose (n - k + k / f of n parts of the undisturbed), and `barrier_sps` if all go at the pace
        of the slowest (1 / f of it). The last two are arithmetic on the undisturbed rate of the
        same round. With several methods, a case for each, and `of_first_method`: its rate over
        that of the first method, slowed alike.

    Raises:
        LearnerFailure: when a learner died or is too slow to measure.
    """
    slowings = [(k, factor) for k in slowed for factor in (SLOWDOWNS if k else (1.0,))]
    plan = [(k, factor, method) for k, factor in slowings for method in configs]
    first_method = next(iter(configs))
    rounds: list[list[dict[str, float | None]]] = [[] for _ in plan]
    missing: list[str] = []
    for _ in range(repeats):
        undisturbed = {m: measure_training(c, seconds) for m, c in configs.items()}
        missing += [reason for training in undisturbed.values() for reason in training.missing]
        first: float | None = None
        for done, (k, factor, method) in zip(rounds, plan, strict=True):
            alone, config = undisturbed[method], configs[method]
            training = measure_training(config, seconds, k, factor) if k else alone
            if method == first_method:
                first = training.values["sps"]
            sps = alone.values["sps"]
            assert sps is not None
            expected = {
                "undisturbed_sps": sps,
                "ideal_sps": sps * ideal_share(config.learners, k, factor),
                "barrier_sps": sps * barrier_share(k, factor),
                "first_method_sps": first,
            }
            done.append({**training.values, **expected})
    ratios = RATIOS | OF_FIRST if len(configs) > 1 else RATIOS
    cases = [
        case({"method": method, "slowed": k, "factor": factor, "skipped": None}, done, ratios)
        for done, (k, factor, method) in zip(rounds, plan, strict=True)
    ]
    settings = settings_of(configs[first_method], resolve_device(configs[first_method]).type)
    settings |= {"method": ", ".join(configs), "slowed": list(slowed)}
    settings |= {"seconds": seconds, "repeats": repeats}
    return result("stragglers", settings, {"cases": cases}, missing)


def ideal_share(learners: int, slowed: int, factor: float) -> float:
    """Return the share of the undisturbed rate if only the slowed lose: (n - k + k / f) / n."""
    return (learners - slowed + slowed / factor) / learners


def barrier_share(slowed: int, factor: float) -> float:
    """Return the share of it if every learner waits for the slowest at each update: 1 / f."""
    return 1.0 / factor if slowed else 1.0

"""Stragglers: what training loses to slow learners, beside what is lost with them at best."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gala_lab.bench import plans
from gala_lab.bench.results import case, result, settings_of
from gala_lab.bench.training import measure_training
from gala_rl.app.train import resolve_device
from gala_rl.checks.config import check_config
from gala_rl.config.run import TrainConfig

RATIOS = {"of_undisturbed": ("sps", "undisturbed_sps"), "of_ideal": ("sps", "ideal_sps")}


OF_FIRST = {"of_first_method": ("sps", "first_method_sps")}


def bench_stragglers(
    config: TrainConfig,
    slowed: Sequence[int] | None,
    seconds: float,
    repeats: int,
    methods: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure training while some learners are slowed down from outside, by factors of 2 and 4.

    Args:
        config: of the training.
        slowed: numbers of slowed learners; default: 0 … all but one.
        seconds: of each measurement.
        repeats: rounds of all measurements; ratios need 3.
        methods: to measure in turn, each on its own and beside the first; default: the config's.

    Returns:
        See `result`; a case for each number of slowed learners k and factor f, with the agent
        steps a second of all n learners: `sps` measured, `ideal_sps` when nobody loses more than
        the slowed ones (n - k + k / f of n parts of the undisturbed), and `barrier_sps` when all
        go at the pace of the slowest (1 / f of it). The last two are arithmetic on the
        undisturbed rate of the same round. With several methods, a case for each, and
        `of_first_method`: its rate over that of the first method, slowed alike.

    Raises:
        UserError: when the config cannot be run.
        LearnerFailure: when a learner died or is too slow to be measured.
    """
    config, chosen = plans.stragglers(config, slowed)
    methods = methods or (config.method,)
    configs = {method: check_config(replace(config, method=method)) for method in methods}
    slowings = [(k, factor) for k in chosen for factor in (plans.SLOWDOWNS if k else (1.0,))]
    plan = [(k, factor, method) for k, factor in slowings for method in methods]
    rounds: list[list[dict[str, float | None]]] = [[] for _ in plan]
    missing: list[str] = []
    for _ in range(repeats):
        undisturbed = {m: measure_training(c, seconds) for m, c in configs.items()}
        missing += [reason for training in undisturbed.values() for reason in training.missing]
        first: float | None = None
        for done, (k, factor, method) in zip(rounds, plan, strict=True):
            chosen_config, alone = configs[method], undisturbed[method]
            training = measure_training(chosen_config, seconds, k, factor) if k else alone
            if method == methods[0]:
                first = training.values["sps"]
            expected = _expected(alone.values, chosen_config.learners, k, factor)
            done.append({**training.values, **expected, "first_method_sps": first})
    ratios = RATIOS | OF_FIRST if len(methods) > 1 else RATIOS
    cases = [
        case({"method": method, "slowed": k, "factor": factor, "skipped": None}, done, ratios)
        for done, (k, factor, method) in zip(rounds, plan, strict=True)
    ]
    settings = settings_of(configs[methods[0]], resolve_device(configs[methods[0]]).type)
    settings |= {"method": ", ".join(methods)}
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

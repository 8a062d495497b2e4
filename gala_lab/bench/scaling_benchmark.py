"""Scaling: the rate of training by number of learners on one machine."""

from collections.abc import Sequence
from typing import Any

from gala_lab.bench.benchmark_plans import PlannedCase
from gala_lab.bench.results import case, result, settings_of
from gala_lab.bench.training_rate import measure_training
from gala_rl.app.train import resolve_device

RATIOS = {"speedup": ("sps", "one_learner_sps")}


def bench_scaling(plan: Sequence[PlannedCase], seconds: float, repeats: int) -> dict[str, Any]:
    """Measure training with 1, 2, 4, … learners, with equal simulators in total and per learner.

    Args:
        plan: from `benchmark_plans.scaling`.
        seconds: length of each measurement.
        repeats: rounds of all measurements; the speed-up needs 3.

    Returns:
        See `result`; a case for each number of learners, with the total `sps` in agent steps per
        second, and `speedup` over one learner with as many simulators in all or per learner.

    Raises:
        LearnerFailure: when a learner died or is too slow to measure.
    """
    # The case with one learner per core belongs to both series and is measured once.
    configs = {(p.learners, p.simulators): p.config for p in plan if p.config is not None}
    rounds: list[list[dict[str, float | None]]] = [[] for _ in plan]
    missing: list[str] = []
    for _ in range(repeats):
        measured = {key: measure_training(c, seconds) for key, c in configs.items()}
        missing += [reason for training in measured.values() for reason in training.missing]
        one_learner: dict[str, float | None] = {}
        for done, planned in zip(rounds, plan, strict=True):
            if planned.config is not None:
                values = measured[planned.learners, planned.simulators].values
                base = one_learner.setdefault(planned.share, values["sps"])
                done.append({**values, "one_learner_sps": base})
    cases = [
        case(_labels(planned), done, RATIOS) if done else _labels(planned)
        for done, planned in zip(rounds, plan, strict=True)
    ]
    largest = plan[-1].config
    assert largest is not None
    settings = settings_of(largest, resolve_device(largest).type)
    settings |= {"seconds": seconds, "repeats": repeats}
    return result("scaling", settings, {"cases": cases}, missing)


def _labels(planned: PlannedCase) -> dict[str, Any]:
    return {
        "equal": planned.share,
        "learners": planned.learners,
        "simulators": planned.simulators if planned.skipped is None else None,
        "skipped": planned.skipped,
    }

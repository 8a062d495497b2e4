"""Scaling: what more learners make of the same machine."""

from typing import Any

from gala_lab.bench import plans
from gala_lab.bench.plans import PlannedCase
from gala_lab.bench.results import case, result, settings_of
from gala_lab.bench.training import measure_training
from gala_rl.app.train import resolve_device
from gala_rl.checks.config import check_config
from gala_rl.config.run import TrainConfig

RATIOS = {"speedup": ("sps", "one_learner_sps")}


def bench_scaling(config: TrainConfig, seconds: float, repeats: int) -> dict[str, Any]:
    """Measure training with 1, 2, 4, … learners, at equal simulators in all and a learner.

    Args:
        config: as for `plans.scaling`.
        seconds: of each measurement.
        repeats: rounds of all measurements; the speed-up needs 3.

    Returns:
        See `result`; a case for each number of learners, with the total `sps` in agent steps a
        second, and `speedup` over one learner with as many simulators in all or a learner.

    Raises:
        UserError: when a case cannot be run.
        LearnerFailure: when a learner died or is too slow to be measured.
    """
    resolved = check_config(config)
    plan = plans.scaling(config)
    configs = {_key(p): check_config(p.config) for p in plan if p.skipped is None}
    rounds: list[list[dict[str, float | None]]] = [[] for _ in plan]
    missing: list[str] = []
    for _ in range(repeats):
        # What belongs to both series, a learner a core, is measured once.
        measured = {key: measure_training(c, seconds) for key, c in configs.items()}
        missing += [reason for training in measured.values() for reason in training.missing]
        for done, planned in zip(rounds, plan, strict=True):
            if planned.skipped is None:
                one = next(p for p in plan if p.share == planned.share)
                base = measured[_key(one)].values["sps"]
                done.append({**measured[_key(planned)].values, "one_learner_sps": base})
    cases = [
        case(_labels(planned), done, RATIOS) if done else _labels(planned)
        for done, planned in zip(rounds, plan, strict=True)
    ]
    settings = settings_of(config, resolve_device(resolved).type)
    settings |= {"learners": plan[-1].learners, "seconds": seconds, "repeats": repeats}
    return result("scaling", settings, {"cases": cases}, missing)


def _key(planned: PlannedCase) -> tuple[int, int]:
    return planned.learners, planned.simulators


def _labels(planned: PlannedCase) -> dict[str, Any]:
    learners, simulators = _key(planned)
    return {
        "equal": planned.share,
        "learners": learners,
        "simulators": simulators if planned.skipped is None else None,
        "skipped": planned.skipped,
    }

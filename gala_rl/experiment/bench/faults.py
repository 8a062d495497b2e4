"""Faults: what a run of each method loses when one of its learners is killed."""

import json
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gala_rl.agent import beginning_of
from gala_rl.config import TrainConfig
from gala_rl.errors import LearnerFailure
from gala_rl.experiment.bench import plans
from gala_rl.experiment.bench.results import case, result, settings_of
from gala_rl.experiment.preflight import check_config
from gala_rl.experiment.train import resolve_device
from gala_rl.faults.costs import SOON_S, Sample, costs
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.local import LocalSystem
from gala_rl.systems.status import Status

RATIOS = {"soon_of_before": ("soon_sps", "before_sps")}

_SAMPLE_EVERY_S = 0.05
_PATIENCE_S = 300.0


def bench_faults(
    config: TrainConfig, methods: Sequence[str], plan: str | None, seconds: float, repeats: int
) -> dict[str, Any]:
    """Measure what the first fault of a plan costs each method.

    Args:
        config: of the training; a method with one learner has one whatever it says.
        methods: to measure in turn.
        plan: file; default: the last learner is killed `seconds` after the first update.
        seconds: to measure for, before and after the fault; after it 5 at least.
        repeats: rounds of all measurements; ratios need 3.

    Returns:
        See `result`; a case for each method, with what `costs` tells and `restarts`.

    Raises:
        UserError: when the config or the plan cannot be run.
        LearnerFailure: when learners died for good, or the fault did not come.
    """
    configs = {method: check_config(plans.disturbed(config, method, plan)) for method in methods}
    rounds: list[list[dict[str, float | None]]] = [[] for _ in methods]
    for _ in range(repeats):
        for done, chosen in zip(rounds, configs.values(), strict=True):
            done.append(_measure(chosen, seconds))
    cases = [
        case({"method": method, "learners": configs[method].learners, "skipped": None}, r, RATIOS)
        for method, r in zip(methods, rounds, strict=True)
    ]
    first = configs[methods[0]]
    settings = settings_of(first, resolve_device(first).type) | {"method": ", ".join(methods)}
    settings |= {"plan": plan, "seconds": seconds, "repeats": repeats}
    return result("faults", settings, {"cases": cases}, [])


def _measure(config: TrainConfig, seconds: float) -> dict[str, float | None]:
    config = replace(config, steps=10**15, checkpoint_every=1e9)
    with tempfile.TemporaryDirectory(prefix="gala-bench-") as temporary:
        if config.fault_plan is None:
            last = config.resolved_learners - 1
            kill = {"kind": "kill", "learner": last, "at_s": seconds}
            plan = Path(temporary) / "plan.json"
            plan.write_text(json.dumps({"faults": [kill]}), encoding="utf-8")
            config = replace(config, fault_plan=str(plan))
        folder = RunFolder(Path(temporary) / "run")
        folder.create(config)
        system = LocalSystem(config, folder, resolve_device(config), beginning_of(config), None)
        sampler = _Sampler(system, folder, seconds)
        outcome = system.run(sampler)
        sampler.stop()
        if outcome.failure is not None:
            raise outcome.failure
        if outcome.interrupted:
            raise KeyboardInterrupt
        if sampler.fault is None:
            raise LearnerFailure(f"no fault came within {_PATIENCE_S:.0f} s: see the plan")
        fault_s, struck = sampler.fault["time"], sampler.fault["learner"]
        seen = [s for s in sampler.samples if s.time_s >= fault_s - seconds]
        restarts = float(sum(outcome.status.restarts))
        return {**costs(seen, fault_s, struck), "restarts": restarts}


class _Sampler:
    """Looks at the learners' counters from a thread; as an observer, stops the system in time."""

    def __init__(self, system: LocalSystem, folder: RunFolder, seconds: float) -> None:
        self.samples: list[Sample] = []
        self.fault: dict[str, Any] | None = None
        self._system, self._reader = system, MetricsReader(folder.faults_file)
        self._stay_s = max(seconds, SOON_S) + 1.0
        self._give_up_at = time.monotonic() + seconds + _PATIENCE_S
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="sampler", daemon=True)
        self._thread.start()

    def __call__(self, status: Status) -> None:
        if self.fault is None:
            self.fault = next(iter(self._reader.new_rows()), None)
        now = time.monotonic()
        is_seen = self.fault is not None and time.time() > self.fault["time"] + self._stay_s
        if is_seen or now > self._give_up_at:
            self._over.set()
            self._system.stop()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_SAMPLE_EVERY_S):
            self.samples.append(Sample(time.time(), self._system.agent_steps))

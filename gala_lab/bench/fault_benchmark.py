"""Faults: what a run of each method loses when one of its learners is killed."""

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gala_lab.bench.fault_costs import SOON_S, costs
from gala_lab.bench.results import case, result, settings_of
from gala_lab.bench.training_rate import TIMEOUT_S, raise_if_failed
from gala_rl.agent import initial_parameters_of
from gala_rl.app.train import cluster_of, resolve_device
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import LearnerFailure
from gala_rl.faults.sampler import ProgressSampler
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.local import LocalRun
from gala_rl.run.status import RunStatus

if TYPE_CHECKING:
    from gala_rl.cluster.connection import Connection
    from gala_rl.cluster.driver import ClusterRun
    from gala_rl.cluster.samples import ClusterSampler

RATIOS = {"soon_of_before": ("soon_sps", "before_sps")}


def bench_faults(
    configs: Mapping[str, ResolvedConfig], seconds: float, repeats: int
) -> dict[str, Any]:
    """Measure what the first fault of a plan costs each method.

    Args:
        configs: config per method; without a plan of faults, the last learner is killed
            `seconds` after the first update.
        seconds: to measure for, before and after the fault; after it 5 at least.
        repeats: rounds of all measurements; ratios need 3.

    Returns:
        See `result`; a case for each method, with what `costs` returns, `restarts`, and
        `resolution_s`: the longest time between two samples of a learner. Shorter pauses of other
        learners cannot be seen.

    Raises:
        LearnerFailure: when learners died for good, or the fault did not come.
    """
    rounds: dict[str, list[dict[str, float | None]]] = {method: [] for method in configs}
    for _ in range(repeats):
        for method, config in configs.items():
            rounds[method].append(_measure(config, seconds))
    cases = [
        case(
            {"method": method, "learners": config.learners, "skipped": None}, rounds[method], RATIOS
        )
        for method, config in configs.items()
    ]
    first = next(iter(configs.values()))
    device = resolve_device(first).type if first.cluster is None else first.device
    settings = settings_of(first, device) | {"method": ", ".join(configs)}
    settings |= {"plan": first.fault_plan, "seconds": seconds, "repeats": repeats}
    settings |= {"cluster": first.cluster, "learners_per_node": first.learners_per_node}
    return result("faults", settings, {"cases": cases}, [])


def _measure(config: ResolvedConfig, seconds: float) -> dict[str, float | None]:
    config = replace(config, steps=10**15, checkpoint_every=1e9)
    with tempfile.TemporaryDirectory(prefix="gala-bench-") as temporary:
        if config.fault_plan is None:
            kill = {"kind": "kill", "learner": config.learners - 1, "at_s": seconds}
            plan = Path(temporary) / "plan.json"
            plan.write_text(json.dumps({"faults": [kill]}), encoding="utf-8")
            config = replace(config, fault_plan=str(plan))
        # Ray reports deaths on standard output, which is for the result.
        with redirect_stdout(sys.stderr), cluster_of(config) as connection:
            folder = RunFolder(Path(temporary) / "run")
            folder.create(config if connection is None else connection.config)
            run, sampler = _start(config, folder, connection)
            observer = _FaultObserver(run, sampler, folder, seconds)
            try:
                outcome = run.run(observer)
            finally:
                sampler.stop()
        raise_if_failed(outcome)
        if observer.fault is None:
            raise LearnerFailure(f"no fault came within {TIMEOUT_S:.0f} s: see the plan")
        fault_s, affected = sampler.affected(observer.fault)
        samples = [s for s in sampler.samples() if s.time_s >= fault_s - seconds]
        try:
            found = costs(samples, fault_s, affected)
        except ValueError as error:
            raise LearnerFailure(f"{error}: let the first fault of the plan come later") from error
        restarts = float(sum(outcome.status.restarts))
        return {**found, "resolution_s": sampler.resolution_s(), "restarts": restarts}


def _start(
    config: ResolvedConfig, folder: RunFolder, connection: "Connection | None"
) -> tuple["LocalRun | ClusterRun", "ProgressSampler | ClusterSampler"]:
    """Start learners here or on a cluster, and a sampler of their progress."""
    initial = initial_parameters_of(config)
    if connection is None:
        run = LocalRun(config, folder, resolve_device(config), initial, None)
        return run, ProgressSampler(lambda: run.agent_steps)
    from gala_rl.cluster.driver import ClusterRun
    from gala_rl.cluster.samples import ClusterSampler

    cluster_run = ClusterRun(connection, folder, initial, None)
    return cluster_run, ClusterSampler(connection.nodes, connection.ranks)


class _FaultObserver:
    """Observes a run: waits for the first fault, and stops sampler and run some time after it."""

    def __init__(
        self,
        run: "LocalRun | ClusterRun",
        sampler: "ProgressSampler | ClusterSampler",
        folder: RunFolder,
        seconds: float,
    ) -> None:
        self.fault: dict[str, Any] | None = None
        self._run, self._sampler = run, sampler
        self._reader = MetricsReader(folder.faults_file)
        self._after_s = max(seconds, SOON_S) + 1.0
        self._stop_at = time.monotonic() + seconds + TIMEOUT_S

    def __call__(self, status: RunStatus) -> None:
        if self.fault is None and (rows := self._reader.new_rows()):
            self.fault = rows[0]
            self._stop_at = time.monotonic() + self._after_s
        if time.monotonic() > self._stop_at:
            self._sampler.stop()
            self._run.stop()

"""Faults: what a run of each method loses when one of its learners is killed."""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gala_lab.bench.fault_costs import SOON_S, ProgressSample, costs
from gala_lab.bench.results import case, result, settings_of
from gala_lab.bench.training_rate import TIMEOUT_S, raise_if_failed
from gala_rl.agent import initial_parameters_of
from gala_rl.app.train import cluster_of, resolve_device
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import LearnerFailure
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.local import LocalRun
from gala_rl.run.status import RunStatus

if TYPE_CHECKING:
    from gala_rl.cluster.driver import ClusterRun

_SAMPLE_EVERY_S = 0.05
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
        learners cannot be seen. On a cluster samples are the progress in heartbeats, about five per
        second, so that a late heartbeat looks like a pause.

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
            initial = initial_parameters_of(config)
            run: LocalRun | ClusterRun
            if connection is None:
                run = LocalRun(config, folder, resolve_device(config), initial, None)
            else:
                from gala_rl.cluster import driver

                run = driver.ClusterRun(connection, folder, initial, None)
            observer = _FaultObserver(run, folder, seconds)
            try:
                outcome = run.run(observer)
            finally:
                observer.stop()
        raise_if_failed(outcome)
        if (row := observer.fault) is None:
            raise LearnerFailure(f"no fault came within {TIMEOUT_S:.0f} s: see the plan")
        fault_s: float = row["time"]
        affected: Collection[int] = [row["learner"]] if "learner" in row else ()
        if connection is not None:
            # By this machine's clock, and as late as the progress that came with the row.
            fault_s, affected = observer.fault_s, affected or connection.ranks[row["node"]]
        samples = [s for s in observer.samples if s.time_s >= fault_s - seconds]
        try:
            found = costs(samples, fault_s, affected)
        except ValueError as error:
            raise LearnerFailure(f"{error}: let the first fault of the plan come later") from error
        gaps = [after.time_s - before.time_s for before, after in pairwise(observer.samples)]
        restarts = float(sum(outcome.status.restarts))
        return {**found, "resolution_s": max(gaps), "restarts": restarts}


class _FaultObserver:
    """Samples progress until some time after the first fault, then stops the run."""

    def __init__(self, run: "LocalRun | ClusterRun", folder: RunFolder, seconds: float) -> None:
        self.samples: list[ProgressSample] = []
        self.fault: dict[str, Any] | None = None
        self.fault_s = 0.0
        self._run, self._reader = run, MetricsReader(folder.faults_file)
        self._after_s = max(seconds, SOON_S) + 1.0
        self._stop_at = time.monotonic() + seconds + TIMEOUT_S
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="sampler", daemon=True)
        if isinstance(run, LocalRun):  # On a cluster, progress comes with heartbeats: `__call__`.
            self._thread.start()

    def __call__(self, status: RunStatus) -> None:
        if not self._thread.is_alive() and not self._is_over.is_set():
            self.samples.append(ProgressSample(time.time(), status.agent_steps))
        if self.fault is None and (rows := self._reader.new_rows()):
            self.fault, self.fault_s = rows[0], time.time()
            self._stop_at = time.monotonic() + self._after_s
        if time.monotonic() > self._stop_at:
            self.stop()
            self._run.stop()

    def stop(self) -> None:
        """Stop sampling."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(_SAMPLE_EVERY_S):
            self.samples.append(ProgressSample(time.time(), self._run.agent_steps))

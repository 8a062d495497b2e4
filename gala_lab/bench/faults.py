"""Faults: what a run of each method loses when one of its learners is killed."""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gala_lab.bench import plans
from gala_lab.bench.fault_costs import SOON_S, costs
from gala_lab.bench.results import case, result, settings_of
from gala_rl.agent import initial_parameters_of
from gala_rl.app.train import cluster_of, resolve_device
from gala_rl.checks.config import check_config
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.run import TrainConfig
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
        See `result`; a case for each method, with what `costs` tells, `restarts`, and
        `resolution_s`: the longest time between two looks at a learner. A pause of others that is
        no longer is none that was seen.

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
    device = resolve_device(first).type if first.cluster is None else first.device
    settings = settings_of(first, device) | {"method": ", ".join(methods)}
    settings |= {"plan": plan, "seconds": seconds, "repeats": repeats}
    settings |= {"cluster": first.cluster, "learners_per_node": first.learners_per_node}
    return result("faults", settings, {"cases": cases}, [])


def _measure(config: ResolvedConfig, seconds: float) -> dict[str, float | None]:
    config = replace(config, steps=10**15, checkpoint_every=1e9)
    with tempfile.TemporaryDirectory(prefix="gala-bench-") as temporary:
        if config.fault_plan is None:
            last = config.learners - 1
            kill = {"kind": "kill", "learner": last, "at_s": seconds}
            plan = Path(temporary) / "plan.json"
            plan.write_text(json.dumps({"faults": [kill]}), encoding="utf-8")
            config = replace(config, fault_plan=str(plan))
        # Ray tells of deaths on standard output, which is for the result.
        with redirect_stdout(sys.stderr), cluster_of(config) as connection:
            folder = RunFolder(Path(temporary) / "run")
            folder.create(config if connection is None else connection.config)
            system, sampler = _start(config, folder, connection)
            watch = _FaultObserver(system, sampler, folder, seconds)
            try:
                outcome = system.run(watch)
            finally:
                sampler.stop()
        if outcome.failure is not None:
            raise outcome.failure
        if outcome.interrupted:
            raise KeyboardInterrupt
        if watch.fault is None:
            raise LearnerFailure(f"no fault came within {_PATIENCE_S:.0f} s: see the plan")
        fault_s, affected = sampler.affected(watch.fault)
        seen = [s for s in sampler.samples() if s.time_s >= fault_s - seconds]
        try:
            found = costs(seen, fault_s, affected)
        except ValueError as error:
            raise LearnerFailure(f"{error}: let the first fault of the plan come later") from error
        restarts = float(sum(outcome.status.restarts))
        return {**found, "resolution_s": sampler.resolution_s(), "restarts": restarts}


def _start(
    config: ResolvedConfig, folder: RunFolder, connection: "Connection | None"
) -> tuple["LocalRun | ClusterRun", "ProgressSampler | ClusterSampler"]:
    """Learners here or on a cluster, and who looks how far they are."""
    beginning = initial_parameters_of(config)
    if connection is None:
        system = LocalRun(config, folder, resolve_device(config), beginning, None)
        return system, ProgressSampler(lambda: system.agent_steps)
    from gala_rl.cluster.driver import ClusterRun
    from gala_rl.cluster.samples import ClusterSampler

    there = ClusterRun(connection, folder, beginning, None)
    return there, ClusterSampler(connection.nodes, connection.ranks)


class _FaultObserver:
    """As an observer, waits for the first fault; stops the looks and then the system in time."""

    def __init__(
        self,
        system: "LocalRun | ClusterRun",
        sampler: "ProgressSampler | ClusterSampler",
        folder: RunFolder,
        seconds: float,
    ) -> None:
        self.fault: dict[str, Any] | None = None
        self._system, self._sampler = system, sampler
        self._reader = MetricsReader(folder.faults_file)
        self._stay_s = max(seconds, SOON_S) + 1.0
        self._stop_at = time.monotonic() + seconds + _PATIENCE_S

    def __call__(self, status: RunStatus) -> None:
        if self.fault is None and (rows := self._reader.new_rows()):
            self.fault = rows[0]
            self._stop_at = time.monotonic() + self._stay_s
        if time.monotonic() > self._stop_at:
            self._sampler.stop()
            self._system.stop()

"""The rate of real training, with real processes, from the moment that all learners are warm."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gala_lab.bench.meters import Meters
from gala_lab.bench.throttle import Throttle
from gala_rl.agent import initial_parameters_of
from gala_rl.app.train import resolve_device
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import LearnerFailure
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.local import LocalRun
from gala_rl.run.status import RunOutcome, RunStatus

WARM_UP_UPDATES = 10
"""A learner is warm after this many."""
TIMEOUT_S = 300.0
"""Time to get warm, and time beyond the measurement's, after which the measurement fails."""
_PARTS = ("rollout", "update", "gossip")


@dataclass(frozen=True)
class Measurement:
    """Training over one stretch of time.

    Attributes:
        values: by name; `sps` are agent steps per second of all learners, and of the slowest and
            the fastest; `gossip_share` is gossip's part of the learners' time; None: unknown here.
        missing: why values are None, a line each.
    """

    values: Mapping[str, float | None]
    missing: list[str]


def measure_training(
    config: ResolvedConfig, seconds: float, slowed: int = 0, factor: float = 1.0
) -> Measurement:
    """Train from the beginning in a temporary folder and measure for a while.

    Args:
        config: config of the run; `steps` and `out` are ignored.
        seconds: to measure for, once each learner is warm; longer if a learner makes fewer than
            10 updates in that time.
        slowed: number of learners, the first ones, that are slowed down from then on.
        factor: by which they are slowed.

    Raises:
        LearnerFailure: when a learner died, or is too slow to measure.
        KeyboardInterrupt: when the user interrupts.
    """
    # No checkpoint but the last, which comes after the measurement, and no restart.
    config = replace(
        config, steps=10**15, log_every=WARM_UP_UPDATES, checkpoint_every=1e9, max_restarts=0
    )
    device = resolve_device(config)
    initial = initial_parameters_of(config)
    with tempfile.TemporaryDirectory(prefix="gala-bench-") as temporary:
        folder = RunFolder(Path(temporary) / "run")
        folder.create(config)
        run = LocalRun(config, folder, device, initial, None)
        throttle = Throttle(run.process_ids[:slowed], factor)
        observer = _RateObserver(run, seconds, device, throttle)
        try:
            raise_if_failed(run.run(observer))
        finally:
            throttle.stop()
        rows = [
            row
            for rank in range(config.learners)
            for row in MetricsReader(folder.metrics_file(rank)).new_rows()[1:]
        ]
    return observer.measurement(rows, initial.frames_per_step)


def raise_if_failed(outcome: RunOutcome) -> None:
    """Raise a run's failure, or KeyboardInterrupt if the user interrupted it."""
    if outcome.failure is not None:
        raise outcome.failure
    if outcome.interrupted:
        raise KeyboardInterrupt


class _RateObserver:
    """Observes a run: waits until learners are warm, measures, and stops the run."""

    def __init__(
        self, run: LocalRun, seconds: float, device: torch.device, throttle: Throttle
    ) -> None:
        self._run, self._seconds, self._throttle = run, seconds, throttle
        self._gpu_uuid: str | None = None
        if device.type == "cuda":
            self._gpu_uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        self._give_up_at = time.perf_counter() + TIMEOUT_S
        self._meters: Meters | None = None
        self._begin_s = self._end_s = 0.0
        self._before: list[int] = []
        self._after: list[int] = []

    def __call__(self, status: RunStatus) -> None:
        now = time.perf_counter()
        if self._after:
            return
        if self._meters is None:
            if min(status.updates) >= WARM_UP_UPDATES:
                self._meters = Meters(self._run.process_ids, self._gpu_uuid)
                self._begin_s, self._before = now, status.agent_steps
                self._give_up_at = now + self._seconds + TIMEOUT_S
                self._throttle.start()
        else:
            self._meters.sample()
            has_enough = min(status.updates) >= 2 * WARM_UP_UPDATES
            if now - self._begin_s >= self._seconds and has_enough:
                self._end_s, self._after = now, status.agent_steps
                self._throttle.stop()
        if self._after or now > self._give_up_at:
            self._run.stop()

    def measurement(self, rows: list[dict[str, Any]], frames_per_step: int) -> Measurement:
        """Return what was measured, given the learners' metrics rows since they were warm."""
        if self._meters is None or not self._after:
            raise LearnerFailure(
                f"learners made fewer than {WARM_UP_UPDATES} updates in {TIMEOUT_S:.0f} s: too "
                f"slow to measure; use fewer simulators"
            )
        made = [after - before for before, after in zip(self._before, self._after, strict=True)]
        elapsed = self._end_s - self._begin_s
        spent = {part: sum(row[f"{part}_s"] for row in rows) for part in _PARTS}
        values = {
            "sps": sum(made) / elapsed,
            "sps_per_learner": sum(made) / elapsed / len(made),
            "slowest_learner_sps": min(made) / elapsed,
            "fastest_learner_sps": max(made) / elapsed,
            "gossip_share": spent["gossip"] / sum(spent.values()),
            "rss_mb_per_learner": max(row["rss_mb"] for row in rows),
            "running_share": self._throttle.running_share,
            **self._meters.readings(sum(made) * frames_per_step),
        }
        return Measurement(values, self._meters.missing())

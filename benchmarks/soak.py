"""Soak test: trains for a while and checks whether memory, file handles or threads grow.

python benchmarks/soak.py --minutes 30 --out RESULT.json [arguments of gala train …]
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from gala_rl.records.provenance import provenance

_SAMPLE_S = 5.0
_STOP_S = 120.0
_START_MINUTES = 2.0
"""Processes start: not counted."""
_SIGNIFICANT_T = 3.0
"""A slope this many standard errors from zero is more than noise."""
_NOTICEABLE_MIB_PER_HOUR = 1.0
"""Less is a page now and then, and would take days to matter."""


@dataclass(frozen=True)
class Sample:
    """A sample of one process."""

    minutes: float
    process: str
    memory_mib: float
    handles: int
    threads: int


@dataclass(frozen=True)
class Slope:
    """Slope of memory over time, by least squares.

    Attributes:
        mib_per_hour: the slope.
        standard_error: standard error of the slope.
    """

    mib_per_hour: float
    standard_error: float

    @property
    def is_growth(self) -> bool:
        """Whether it is above zero by more than noise, and by enough to matter."""
        noise = _SIGNIFICANT_T * self.standard_error
        return self.mib_per_hour > max(noise, _NOTICEABLE_MIB_PER_HOUR)


def minute_means(samples: Sequence[Sample]) -> dict[int, float]:
    """Mean memory of each minute: minutes are less alike than neighbouring samples."""
    whole: dict[int, list[float]] = {}
    for sample in samples:
        whole.setdefault(int(sample.minutes), []).append(sample.memory_mib)
    return {minute: statistics.fmean(values) for minute, values in whole.items()}


def second_half(means: Mapping[int, float]) -> dict[int, float]:
    """Return the later half of the minutes: buffers that fill up once at the start are no leak."""
    minutes = sorted(means)
    return {minute: means[minute] for minute in minutes[len(minutes) // 2 :]}


def slope_of(means: Mapping[int, float]) -> Slope:
    """The least-squares line through means by minute."""
    if len(means) < 3:
        raise ValueError(f"{len(means)} minutes are too few for a slope: at least 3")
    x, y = list(means), list(means.values())
    slope, intercept = statistics.linear_regression(x, y)
    left = sum((b - slope * a - intercept) ** 2 for a, b in zip(x, y, strict=True))
    spread = sum((a - statistics.fmean(x)) ** 2 for a in x)
    error = (left / (len(x) - 2) / spread) ** 0.5
    return Slope(60 * slope, 60 * error)


def verdict(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """For each process: its slope, and first and last numbers of handles and threads."""
    rows = []
    for process in sorted({sample.process for sample in samples}):
        own = [s for s in samples if s.process == process and s.minutes >= _START_MINUTES]
        means = minute_means(own)
        slope = slope_of(second_half(means))
        rows.append(
            {
                "process": process,
                "memory_mib": statistics.median(s.memory_mib for s in own),
                **asdict(slope),
                "memory_grows": slope.is_growth,
                "minute_means_mib": [round(mean, 3) for mean in means.values()],
                "handles": [own[0].handles, own[-1].handles],
                "threads": [own[0].threads, own[-1].threads],
            }
        )
    return rows


def own_memory_mib(process: psutil.Process) -> float:
    """What only this process and those that it shares with hold, resident or swapped out.

    Pages of files, such as libraries, are left out where the system tells them apart: it drops
    them and reads them again as it likes.
    """
    status = Path(f"/proc/{process.pid}/status")
    if not status.is_file():
        return float(process.memory_info().rss / 2**20)
    lines = (line.split() for line in status.read_text(encoding="utf-8").splitlines())
    kib = {words[0].rstrip(":"): words[1] for words in lines if len(words) > 1}
    return sum(int(kib[name]) for name in ("RssAnon", "RssShmem", "VmSwap")) / 2**10


def _look_at(process: psutil.Process, minutes: float, name: str) -> Sample:
    with process.oneshot():
        memory = own_memory_mib(process)
        return Sample(minutes, name, memory, process.num_fds(), process.num_threads())


def _learners(supervisor: psutil.Process) -> list[psutil.Process]:
    """Those of its family that learn, oldest first."""
    family = supervisor.children(recursive=True)
    learners = [process for process in family if process.name().startswith("gala-learner-")]
    return sorted(learners, key=psutil.Process.create_time)


def soak(minutes: float, run: Path, arguments: Sequence[str]) -> list[Sample]:
    """Train and sample the processes every few seconds; end with a clean stop."""
    command = [sys.executable, "-m", "gala_lab.main", "train", "gala-a2c", "--out", str(run)]
    training = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL)
    supervisor, samples, start = psutil.Process(training.pid), [], time.monotonic()
    try:
        while (elapsed := (time.monotonic() - start) / 60) < minutes:
            time.sleep(_SAMPLE_S)
            if training.poll() is not None:
                raise RuntimeError(f"training ended by itself with code {training.returncode}")
            samples.append(_look_at(supervisor, elapsed, "supervisor"))
            for rank, learner in enumerate(_learners(supervisor)):
                samples.append(_look_at(learner, elapsed, f"learner {rank}"))
    finally:
        training.send_signal(signal.SIGINT)
        training.wait(_STOP_S)
    return samples


def main() -> int:
    """Returns 1 if anything grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    parser.add_argument("--run", type=Path, help="where to keep the run (default: nowhere)")
    options, arguments = parser.parse_known_args()
    if options.minutes < _START_MINUTES + 6:
        print(f"minutes {options.minutes} is too short: at least {_START_MINUTES + 6}")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        samples = soak(options.minutes, options.run or Path(folder) / "run", arguments)
    rows = verdict(samples)
    result = {"minutes": options.minutes, "processes": rows, **provenance()}
    print(json.dumps(result, indent=2))
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    grows = any(
        row["memory_grows"] or row[what][1] > row[what][0]
        for row in rows
        for what in ("handles", "threads")
    )
    return int(grows)


if __name__ == "__main__":
    sys.exit(main())

"""Meters: processor time, GPU and energy that learners use while they train; imports no torch."""

import importlib
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

POWERCAP = Path("/sys/class/powercap")
_MICRO, _MILLI = 1e-6, 1e-3


class CpuMeter:
    """Processor time of some processes.

    Args:
        process_ids: processes; one that ends keeps its time at the last sample.
    """

    def __init__(self, process_ids: Sequence[int]) -> None:
        self._processes = {pid: psutil.Process(pid) for pid in process_ids}
        self._seconds = dict.fromkeys(process_ids, 0.0)
        self.sample()
        self._start, self._seconds_before = self._now, sum(self._seconds.values())

    def sample(self) -> None:
        """Read the times as they are now."""
        for pid, process in self._processes.items():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._seconds[pid] = times.user + times.system
        self._now = time.perf_counter()

    @property
    def cores_used(self) -> float | None:
        """Mean number of cores kept busy since the start; None before the second sample."""
        elapsed = self._now - self._start
        return (sum(self._seconds.values()) - self._seconds_before) / elapsed if elapsed else None


class RaplMeter:
    """Energy of all processor packages by Linux's RAPL counters (Intel and AMD).

    It counts whatever runs on the machine. Counters wrap around: sample at least once a minute.

    Args:
        root: where the kernel shows its power-capping zones.

    Attributes:
        missing: why there is nothing to read; None if there is.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self.missing: str | None = None
        self._joules = 0.0
        self._last: dict[Path, int] = {}
        self._range: dict[Path, int] = {}
        try:
            # Zones within a package (core, dram) and around all of them (psys) would count twice.
            for zone in sorted(root.glob("intel-rapl:*")):
                if _read(zone / "name").startswith("package"):
                    self._range[zone] = int(_read(zone / "max_energy_range_uj"))
                    self._last[zone] = int(_read(zone / "energy_uj"))
            if not self._last:
                self.missing = f"RAPL cannot be read here: no processor package in {root}"
        except (OSError, ValueError) as error:
            self.missing = f"RAPL cannot be read here: {error}"

    def sample(self) -> None:
        """Add what was used since the last sample."""
        if self.missing is not None:
            return
        try:
            for zone, last in self._last.items():
                now = int(_read(zone / "energy_uj"))
                wrapped = self._range[zone] if now < last else 0
                self._joules += (now - last + wrapped) * _MICRO
                self._last[zone] = now
        except (OSError, ValueError) as error:
            self.missing = f"RAPL cannot be read here: {error}"

    @property
    def joules(self) -> float | None:
        """Energy from the start until the last sample; None where it cannot be read."""
        return None if self.missing else self._joules


class GpuMeter:
    """Utilisation, memory and energy of one GPU by NVML, whatever runs on it.

    Args:
        uuid: identifier of the GPU in NVML; None if none is used.

    Attributes:
        missing: why there is nothing to read; None if there is.
        energy_missing: why there is no energy to read; None if there is.
    """

    def __init__(self, uuid: str | None) -> None:
        self._utilisations: list[float] = []
        self._bytes: list[int] = []
        self._joules: list[float] = []
        self.missing = self.energy_missing = "no GPU is used" if uuid is None else None
        if uuid is None:
            return
        try:
            self._nvml: Any = importlib.import_module("pynvml")
        except ImportError:
            self._give_up("pip install nvidia-ml-py")
            return
        try:
            self._nvml.nvmlInit()
            self._gpu = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
        except self._nvml.NVMLError as error:
            self._give_up(error)
        self.sample()

    def sample(self) -> None:
        """Read utilisation, memory and energy as they are now."""
        if self.missing is not None:
            return
        try:
            utilisation = self._nvml.nvmlDeviceGetUtilizationRates(self._gpu).gpu / 100.0
            used_bytes = self._nvml.nvmlDeviceGetMemoryInfo(self._gpu).used
        except self._nvml.NVMLError as error:
            self._give_up(error)
            return
        self._utilisations.append(utilisation)
        self._bytes.append(used_bytes)
        try:
            self._joules.append(_MILLI * self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu))
        except self._nvml.NVMLError as error:
            self.energy_missing = f"the GPU's energy cannot be read: {error}"

    @property
    def utilisation(self) -> float | None:
        """Mean share of the time in which the GPU was busy, of all samples but the first."""
        later = self._utilisations[1:]
        return sum(later) / len(later) if later and self.missing is None else None

    @property
    def memory_mb(self) -> float | None:
        """Largest memory in use, MiB."""
        return max(self._bytes) / 2**20 if self._bytes and self.missing is None else None

    @property
    def joules(self) -> float | None:
        """Energy between the first and the last sample; None where it cannot be read."""
        return self._joules[-1] - self._joules[0] if self.energy_missing is None else None

    def _give_up(self, error: object) -> None:
        self.missing = self.energy_missing = f"the GPU cannot be watched by NVML: {error}"


class Meters:
    """All meters, started at once.

    Args:
        process_ids: process ids of the learners.
        gpu_uuid: identifier of the GPU that they use, if any.
        powercap: where the kernel shows its power-capping zones.
    """

    def __init__(
        self, process_ids: Sequence[int], gpu_uuid: str | None, powercap: Path = POWERCAP
    ) -> None:
        self._cpu, self._gpu = CpuMeter(process_ids), GpuMeter(gpu_uuid)
        self._rapl = RaplMeter(powercap)

    def sample(self) -> None:
        """Read all of them; a few times per second is often enough."""
        for meter in (self._cpu, self._rapl, self._gpu):
            meter.sample()

    def readings(self, env_frames: int) -> dict[str, float | None]:
        """Return what was used from the start until the last sample.

        Args:
            env_frames: made in that time; energy is per million of them.
        """
        return {
            "cpu_cores_used": self._cpu.cores_used,
            "gpu_utilisation": self._gpu.utilisation,
            "gpu_memory_mb": self._gpu.memory_mb,
            "cpu_joules_per_million_frames": _per_million(self._rapl.joules, env_frames),
            "gpu_joules_per_million_frames": _per_million(self._gpu.joules, env_frames),
        }

    def missing(self) -> list[str]:
        """Return why some readings are None, a line each."""
        reasons = (self._rapl.missing, self._gpu.missing, self._gpu.energy_missing)
        return list(dict.fromkeys(reason for reason in reasons if reason is not None))


def _per_million(joules: float | None, env_frames: int) -> float | None:
    return None if joules is None or not env_frames else joules / env_frames * 1e6


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()

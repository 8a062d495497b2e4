"""Meters on a power-capping tree and a GPU that the test makes up."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from gala_lab.bench.meters import CpuMeter, GpuMeter, Meters, RaplMeter

RANGE_UJ = 1_000_000


def make_zone(root: Path, zone: str, name: str, energy_uj: int) -> Path:
    folder = root / zone
    folder.mkdir()
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    set_energy(folder, energy_uj)
    return folder


def set_energy(zone: Path, energy_uj: int) -> None:
    (zone / "energy_uj").write_text(f"{energy_uj}\n")


def test_energy_is_that_of_all_packages_and_of_nothing_twice(tmp_path: Path) -> None:
    first = make_zone(tmp_path, "intel-rapl:0", "package-0", 100)
    second = make_zone(tmp_path, "intel-rapl:1", "package-1", 200)
    core = make_zone(tmp_path, "intel-rapl:0:0", "core", 0)
    whole = make_zone(tmp_path, "intel-rapl:2", "psys", 0)
    meter = RaplMeter(tmp_path)
    assert (meter.missing, meter.joules) == (None, 0.0)
    for zone, energy_uj in ((first, 1_100), (second, 2_200), (core, 9_000), (whole, 9_000)):
        set_energy(zone, energy_uj)
    meter.sample()
    assert meter.joules == pytest.approx(3_000e-6)


def test_a_counter_that_wraps_around_goes_on(tmp_path: Path) -> None:
    zone = make_zone(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 10)
    meter = RaplMeter(tmp_path)
    for energy_uj in (5, RANGE_UJ - 1, 4):
        set_energy(zone, energy_uj)
        meter.sample()
    assert meter.joules == pytest.approx((15 + RANGE_UJ - 6 + 5) * 1e-6)


def test_where_there_is_no_rapl_the_reason_is_told(tmp_path: Path) -> None:
    meter = RaplMeter(tmp_path / "nothing")
    meter.sample()
    assert meter.joules is None
    assert "RAPL cannot be read here: no processor package" in str(meter.missing)


def test_a_counter_that_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (zone / "energy_uj").unlink()  # root may read whatever its mode
    meter = RaplMeter(tmp_path)
    assert meter.joules is None
    assert "energy_uj" in str(meter.missing)


def test_a_counter_that_goes_away_makes_no_energy_of_half_the_time(tmp_path: Path) -> None:
    zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = RaplMeter(tmp_path)
    (zone / "energy_uj").unlink()
    meter.sample()
    assert meter.joules is None


class NVMLError(Exception):
    """As in pynvml."""


def fake_nvml(**functions: object) -> SimpleNamespace:
    """A GPU that is half busy, in 512 MiB, and uses 2 J between any two looks."""
    energies = iter(range(10_000, 10**9, 2_000))
    usual = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetUtilizationRates": lambda gpu: SimpleNamespace(gpu=50),
        "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(used=512 * 2**20),
        "nvmlDeviceGetTotalEnergyConsumption": lambda gpu: next(energies),
    }
    return SimpleNamespace(**(usual | functions))


def fail(*arguments: object) -> None:
    raise NVMLError("Not Supported")


def test_a_gpu_is_read_by_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    meter = GpuMeter("GPU-0")
    meter.sample()
    meter.sample()
    assert (meter.utilisation, meter.memory_mb, meter.joules) == (0.5, 512.0, 4.0)
    assert (meter.missing, meter.energy_missing) == (None, None)


def test_a_gpu_without_an_energy_counter_keeps_its_other_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nvml = fake_nvml(nvmlDeviceGetTotalEnergyConsumption=fail)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter = GpuMeter("GPU-0")
    meter.sample()
    assert (meter.utilisation, meter.joules) == (0.5, None)
    assert "energy cannot be read: Not Supported" in str(meter.energy_missing)


@pytest.mark.parametrize(
    "nvml", [None, fake_nvml(nvmlInit=fail), fake_nvml(nvmlDeviceGetMemoryInfo=fail)]
)
def test_a_gpu_that_cannot_be_read_says_why(
    monkeypatch: pytest.MonkeyPatch, nvml: SimpleNamespace | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter = GpuMeter("GPU-0")
    meter.sample()
    assert (meter.utilisation, meter.memory_mb, meter.joules) == (None, None, None)
    reason = "nvidia-ml-py" if nvml is None else "Not Supported"
    assert reason in str(meter.missing)


def test_without_a_gpu_nothing_is_loaded() -> None:
    meter = GpuMeter(None)
    assert (meter.utilisation, meter.missing) == (None, "no GPU is used")


def test_processor_time_grows_with_work() -> None:
    meter = CpuMeter([os.getpid()])
    before = psutil.Process().cpu_times()
    while sum(psutil.Process().cpu_times()[:2]) <= sum(before[:2]):
        pass
    meter.sample()
    assert meter.cores_used is not None
    assert meter.cores_used > 0


def test_a_process_that_ends_keeps_the_time_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = CpuMeter([os.getpid()])

    def gone(process: psutil.Process) -> None:
        raise psutil.NoSuchProcess(process.pid)

    monkeypatch.setattr(psutil.Process, "cpu_times", gone)
    meter.sample()
    assert meter.cores_used == 0.0


def test_readings_that_are_missing_are_none_with_a_reason_each(tmp_path: Path) -> None:
    meters = Meters([os.getpid()], None, tmp_path)
    meters.sample()
    readings = meters.readings(env_frames=1000)
    assert {name for name, value in readings.items() if value is None} == set(readings) - {
        "cpu_cores_used"
    }
    assert len(meters.missing()) == 2


def test_energy_is_given_for_a_million_frames(tmp_path: Path) -> None:
    zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meters = Meters([os.getpid()], None, tmp_path)
    set_energy(zone, 500_000)
    meters.sample()
    assert meters.readings(250_000)["cpu_joules_per_million_frames"] == pytest.approx(2.0)
    assert meters.readings(0)["cpu_joules_per_million_frames"] is None

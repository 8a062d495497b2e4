"""Event files are what TensorBoard's own writer would have written."""

import os
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c as reference

from gala_rl.sinks.event_file import EventFile, crc32c


@pytest.mark.parametrize(
    "size", [0, 1, 3, 4, 9, 2047, 2048, 2049, 2051, 2052, 3 * 2048 + 1, 10_000]
)
def test_the_checksum_is_crc_32c(size: int) -> None:
    data = os.urandom(size)
    assert crc32c(data) == reference(data)
    assert crc32c(b"123456789") == 0xE3069283


def points(folder: Path, name: str) -> list[tuple[int, float, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value, event.wall_time) for event in events.Scalars(name)]


def test_numbers_are_read_with_their_steps_and_times(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "new")
    file.add_scalars({"a/b": 1.5, "c": -2.0}, 10, 1000.25)
    file.add_scalars({"a/b": 2.5}, 20, 1001.25)
    file.close()
    assert points(tmp_path / "new", "a/b") == [(10, 1.5, 1000.25), (20, 2.5, 1001.25)]
    assert points(tmp_path / "new", "c") == [(10, -2.0, 1000.25)]


def test_steps_that_are_repeated_are_forgotten_in_this_file_and_earlier_ones(
    tmp_path: Path,
) -> None:
    for values in ([1.0, 2.0, 3.0], [12.0, 13.0]):
        file = EventFile(tmp_path)
        if values[0] > 10.0:
            file.purge_from(20)
        for position, value in enumerate(values):
            file.add_scalars({"a": value}, 10 * (position + 1 + (value > 10.0)), 1000.0)
        file.purge_from(30)
        file.add_scalars({"a": 100.0}, 30, 1000.0)
        file.close()
    assert [point[:2] for point in points(tmp_path, "a")] == [(10, 1.0), (20, 12.0), (30, 100.0)]


def test_a_file_that_cannot_be_written_is_closed(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.close()
    with Path("/dev/full").open("ab") as file._file:
        with pytest.raises(OSError, match="No space left"):
            file.add_scalars({"loss": 1.0}, 1, 2.0)
        assert file._file.closed

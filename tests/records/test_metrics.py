"""Metrics files can be read while they grow and after their writer was killed."""

import json
from pathlib import Path
from typing import Any

import pytest

from gala_rl.records.metrics import MetricsReader, MetricsWriter, mean, score_text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "learner_00.jsonl"


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"updates": number} for number in numbers]


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_row_can_be_read_as_soon_as_it_is_written(path: Path) -> None:
    writer, reader = MetricsWriter(path), MetricsReader(path)
    for number in range(3):
        writer.write({"updates": number})
        assert reader.new_rows() == rows(number)
    writer.close()


def test_rows_are_returned_once(path: Path) -> None:
    append(path, '{"updates": 1}\n{"updates": 2}\n')
    reader = MetricsReader(path)
    assert reader.new_rows() == rows(1, 2)
    assert reader.new_rows() == []
    append(path, '{"updates": 3}\n')
    assert reader.new_rows() == rows(3)


def test_there_is_nothing_to_read_before_the_file_is_there(path: Path) -> None:
    reader = MetricsReader(path)
    assert reader.new_rows() == []
    append(path, '{"updates": 1}\n')
    assert reader.new_rows() == rows(1)


def test_a_cut_last_line_waits_until_it_is_whole(path: Path) -> None:
    append(path, '{"updates": 1}\n{"upda')
    reader = MetricsReader(path)
    assert reader.new_rows() == rows(1)
    assert reader.new_rows() == []
    append(path, 'tes": 2}')
    assert reader.new_rows() == []
    append(path, '\n{"updates": 3}\n')
    assert reader.new_rows() == rows(2, 3)


def test_a_spoiled_line_is_passed_over(path: Path) -> None:
    append(path, '{"updates": 1}\n{"upda\n\n{"updates": 3}\n')
    assert MetricsReader(path).new_rows() == rows(1, 3)


def test_a_writer_that_follows_a_killed_one_loses_no_row_of_its_own(path: Path) -> None:
    append(path, '{"updates": 1}\n{"upda')
    reader = MetricsReader(path)
    reader.new_rows()
    writer = MetricsWriter(path)
    writer.write({"updates": 2})
    writer.close()
    assert reader.new_rows() == rows(2)
    assert MetricsReader(path).new_rows() == rows(1, 2)


def test_a_second_writer_appends_without_an_empty_line(path: Path) -> None:
    for number in (1, 2):
        writer = MetricsWriter(path)
        writer.write({"updates": number})
        writer.close()
    assert [json.loads(line) for line in path.read_text().split("\n")[:-1]] == rows(1, 2)


def test_text_beyond_ascii_survives(path: Path) -> None:
    writer = MetricsWriter(path)
    writer.write({"name": "γ\nλ"})
    writer.close()
    assert MetricsReader(path).new_rows() == [{"name": "γ\nλ"}]


def test_a_number_that_json_does_not_have_is_refused(path: Path) -> None:
    writer = MetricsWriter(path)
    with pytest.raises(ValueError, match="JSON compliant"):
        writer.write({"loss": float("nan")})
    writer.close()
    assert path.read_text() == ""


def test_the_mean_of_nothing_is_none() -> None:
    assert mean([]) is None
    assert mean([1.0, 2.0, 6.0]) == 3.0


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (None, "no game has ended yet"),
        (0.0, "0.00"),
        (0.694, "0.694"),
        (-0.6449, "-0.645"),
        (-0.0391, "-0.0391"),
        (0.00042, "4.20e-04"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (-20.384, "-20.4"),
        (99.96, "100"),
        (487.31, "487"),
        (12_345.6, "12,346"),
    ],
)
def test_a_score_has_three_significant_digits(score: float | None, text: str) -> None:
    assert score_text(score) == text

"""The CSV table: a line per row and learner, which data frames read."""

import csv
from pathlib import Path

from gala_rl.sinks.table import TableSink

FIRST = {"total_agent_steps": 10, "time": 1.5, "learner_00/entropy": 0.5, "charts/SPS": 7.0}
SECOND = {"total_agent_steps": 20, "time": 2.5, "learner_11/entropy": 0.25}
THIRD = {"total_agent_steps": 30, "time": 3.5, "consensus/rms": 0.125}


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_numbers_of_learners_and_of_all_are_in_lines_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    sink = TableSink(path, None)
    sink.start({})
    for row in (FIRST, SECOND, THIRD):
        sink.row(row)
        assert lines(path)[-1]["total_agent_steps"] == str(row["total_agent_steps"])
    sink.close()
    empty = dict.fromkeys(("learner", "entropy", "charts/SPS", "consensus/rms"), "")
    assert lines(path) == [
        empty
        | {"total_agent_steps": "10", "time": "1.5", "learner": "0", "entropy": "0.5"},
        empty | {"total_agent_steps": "10", "time": "1.5", "charts/SPS": "7.0"},
        empty
        | {"total_agent_steps": "20", "time": "2.5", "learner": "11", "entropy": "0.25"},
        empty | {"total_agent_steps": "30", "time": "3.5", "consensus/rms": "0.125"},
    ]  # fmt: skip


def test_a_resumed_run_continues_the_table_without_lines_that_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    sink = TableSink(path, None)
    sink.start({})
    for row in (FIRST, SECOND, THIRD):
        sink.row(row)
    sink.close()
    with path.open("a", encoding="utf-8") as file:
        file.write("15,")  # It was killed while it wrote.
    resumed = TableSink(path, 20)
    resumed.start({})
    resumed.row(SECOND)
    resumed.close()
    assert [line["total_agent_steps"] for line in lines(path)] == ["10", "10", "20"]
    assert lines(path)[-1]["entropy"] == "0.25"

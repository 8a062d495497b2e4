from pathlib import Path

from gala_rl.records.event_log import EventLog, event_rows
from gala_rl.records.metrics import MetricsReader

ALIVE = [True, True]


def rows_of(path: Path) -> list[tuple[list[str], list[bool], list[int]]]:
    rows = event_rows(MetricsReader(path).new_rows())
    return [(row["notices"], row["alive"], row["restarts"]) for row in rows]


def test_a_row_is_written_at_the_start_and_when_something_happens(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.record(0, [], ALIVE, [0, 0])
    log.record(100, [], ALIVE, [0, 0])
    log.record(200, ["learner 1 died"], ALIVE, [0, 1])
    log.record(300, [], ALIVE, [0, 1])
    log.record(400, [], [True, False], [0, 1])
    log.close()
    assert rows_of(path) == [
        ([], ALIVE, [0, 0]),
        (["learner 1 died"], ALIVE, [0, 1]),
        ([], [True, False], [0, 1]),
    ]


def test_equal_notices_are_written_each_time(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for _ in range(2):
        log.record(0, ["learner 0 is late"], ALIVE, [0, 0])
    log.close()
    assert len(rows_of(tmp_path / "events.jsonl")) == 2


def test_damaged_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.record(0, [], ALIVE, [0, 0])
    log.close()
    with path.open("a", encoding="utf-8") as file:
        file.write('{"time": 1.0, "alive": "all"}\n{"time": 1\n')
    assert len(rows_of(path)) == 1

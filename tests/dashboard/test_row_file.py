import itertools
import json
import os
from pathlib import Path

from gala_rl.dashboard.row_file import RowFile

TAIL = 4_000


def write(path: Path, numbers: range, mode: str = "w") -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(json.dumps({"k": k, "text": "x" * 900}) + "\n" for k in numbers)


def numbers(file: RowFile) -> list[int]:
    return [row["k"] for row in file.new_rows().rows]


def test_a_short_file_is_read_completely_and_then_what_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    file = RowFile(path, budget=100, tail_bytes=TAIL)
    assert numbers(file) == []
    write(path, range(50))
    assert numbers(file) == list(range(50))
    assert numbers(file) == []
    write(path, range(50, 53), "a")
    assert numbers(file) == [50, 51, 52]


def test_of_a_long_file_evenly_spaced_rows_and_all_at_the_end_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, range(10_000))
    file = RowFile(path, budget=50, tail_bytes=TAIL)
    found = numbers(file)
    assert found[0] == 0
    assert found == sorted(set(found)), "in order, none twice"
    assert found[-4:] == [9996, 9997, 9998, 9999]
    assert 50 <= len(found) <= 50 + TAIL // 900
    gaps = [later - early for early, later in itertools.pairwise(found[:50])]
    assert max(gaps) <= 201
    assert min(gaps) >= 199
    write(path, range(10_000, 10_002), "a")
    assert numbers(file) == [10_000, 10_001]


def test_what_grew_a_lot_since_the_last_look_is_thinned_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, range(10))
    file = RowFile(path, budget=50, tail_bytes=TAIL)
    numbers(file)
    write(path, range(10, 5_000), "a")
    found = numbers(file)
    assert min(found) == 10
    assert max(found) == 4_999
    assert len(found) < 60


def test_half_a_row_is_read_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    file = RowFile(path, budget=10, tail_bytes=TAIL)
    path.write_text('{"k": 1}\n{"k":', encoding="utf-8")
    assert numbers(file) == [1]
    path.write_text('{"k": 1}\n{"k": 2}\n', encoding="utf-8")
    assert numbers(file) == [2]


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"k": 1}\n\xff\xfe\n[1]\n{"k": 2\n' + b"[" * 5_000 + b'\n{"k": 3}\n')
    assert numbers(RowFile(path, budget=10, tail_bytes=TAIL)) == [1, 3]


def test_a_file_that_was_replaced_or_cut_is_read_anew(tmp_path: Path) -> None:
    path, other = tmp_path / "rows.jsonl", tmp_path / "other.jsonl"
    write(path, range(5))
    file = RowFile(path, budget=100, tail_bytes=TAIL)
    assert file.new_rows().is_replaced is False
    write(other, range(3))
    other.replace(path)
    found = file.new_rows()
    assert found.is_replaced
    assert [row["k"] for row in found.rows] == [0, 1, 2]
    write(path, range(1))
    assert file.new_rows().is_replaced


def test_links_and_pipes_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "secret.jsonl", range(3))
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("link", "pipe"):
        assert numbers(RowFile(tmp_path / f"{name}.jsonl", budget=10, tail_bytes=TAIL)) == []

"""Writes a run's metrics as one CSV table, which spreadsheets and data frames read."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gala_rl.records.files import replace_text
from gala_rl.sinks.sink import Scalars

_OF_LEARNER = re.compile(r"learner_(\d+)/(.*)")
_FIRST_COLUMNS = ("total_agent_steps", "time", "learner")


class TableSink:
    """Writes a table with a line per row and learner; numbers over all learners have no learner.

    Args:
        path: path of the table.
        repeated_from: total agent steps from which a resumed run repeats what it had done before;
            earlier lines from there on are removed. None for a new run.
    """

    def __init__(self, path: Path, repeated_from: int | None) -> None:
        self._path, self._repeated_from = path, repeated_from
        self._columns = list(_FIRST_COLUMNS)
        self._file: io.TextIOWrapper | None = None

    def start(self, config: Mapping[str, Any]) -> None:
        """See `Sink.start`."""
        lines = []
        if self._repeated_from is not None and self._path.is_file():
            lines = [
                line
                for line in self._read()
                if float(line["total_agent_steps"]) < self._repeated_from
            ]
        self._write_anew(lines)

    def row(self, row: Scalars) -> None:
        """See `Sink.row`."""
        for line in _lines(row):
            if added := [name for name in line if name not in self._columns]:
                before = list(self._read())
                self._columns += added
                self._write_anew(before)
            assert self._file is not None
            csv.DictWriter(self._file, self._columns).writerow(line)
            self._file.flush()

    def close(self) -> None:
        """See `Sink.close`."""
        assert self._file is not None
        self._file.close()

    def _read(self) -> Iterator[dict[str, str]]:
        """Yield the lines of the table; a last line that was cut off by a kill is left out."""
        with self._path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            self._columns = list(reader.fieldnames or self._columns)
            yield from (line for line in reader if None not in line.values())

    def _write_anew(self, lines: list[dict[str, str]]) -> None:
        """Write the table with the present columns, and open it for more."""
        if self._file is not None:
            self._file.close()
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(lines)
        replace_text(self._path, text.getvalue())
        self._file = self._path.open("a", newline="", encoding="utf-8")


def _lines(row: Scalars) -> list[dict[str, float]]:
    """Return the lines of a row: one over all learners, and one of a learner, if it has both."""
    shared = {name: row[name] for name in ("total_agent_steps", "time")}
    of_all, of_learners = dict[str, float](), dict[int, dict[str, float]]()
    for name, value in row.items():
        if found := _OF_LEARNER.fullmatch(name):
            of_learners.setdefault(int(found[1]), {})[found[2]] = value
        elif name not in shared:
            of_all[name] = value
    lines = [shared | {"learner": rank} | values for rank, values in of_learners.items()]
    return [*lines, shared | of_all] if of_all else lines

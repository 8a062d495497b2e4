"""Removes from a run's metrics the rows of agent steps that a resumed run repeats."""

import json
from pathlib import Path

from gala_rl.decode import Count, fits
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.files import replace_text
from gala_rl.records.metrics import MetricsReader, Row, drop_superseded, learner_rows
from gala_rl.records.run_folder import RunFolder


def rewind(folder: RunFolder, start: Checkpoint) -> None:
    """Remove metrics rows written after the checkpoint from which learners continue.

    Raises:
        StorageError: when a file cannot be written; the old file stays.
    """
    for file in folder.metrics_files():
        rows, rank = MetricsReader(file).new_rows(), int(file.stem.removeprefix("learner_"))
        _rewrite(file, rows, drop_superseded(learner_rows(rows), start.agent_steps_of(rank)))
    for file in (folder.consensus_file, folder.evaluation_file):
        rows, end = MetricsReader(file).new_rows(), start.resumes_at
        valid = [row for row in rows if fits(Count, row.get("total_agent_steps"))]
        _rewrite(file, rows, [row for row in valid if row["total_agent_steps"] <= end])


def _rewrite(file: Path, rows: list[Row], chosen: list[Row]) -> None:
    if len(chosen) < len(rows):
        replace_text(file, "".join(json.dumps(row) + "\n" for row in chosen))

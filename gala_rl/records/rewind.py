"""Takes out of a run's metrics what a resume does anew, so that no reader sees it twice."""

import json
from pathlib import Path

from gala_rl.errors import StorageError
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.metrics import MetricsReader, Row, kept, of_learners
from gala_rl.records.plausible import is_count
from gala_rl.records.run_folder import RunFolder


def rewind(folder: RunFolder, start: Checkpoint) -> None:
    """Remove the rows that learners wrote beyond the checkpoint from which they go on.

    Raises:
        StorageError: when a file cannot be written; it is as it was then.
    """
    for file in folder.metrics_files():
        rows, rank = MetricsReader(file).new_rows(), int(file.stem.removeprefix("learner_"))
        _rewrite(file, rows, kept(of_learners(rows), start.agent_steps_of(rank)))
    rows, end = MetricsReader(folder.consensus_file).new_rows(), start.resumes_at
    counted = [row for row in rows if is_count(row.get("total_agent_steps"))]
    _rewrite(folder.consensus_file, rows, [r for r in counted if r["total_agent_steps"] <= end])


def _rewrite(file: Path, rows: list[Row], chosen: list[Row]) -> None:
    """Leave the chosen rows of a file; a reader finds the old file or the new one, whole."""
    if len(chosen) == len(rows):
        return
    aside = file.with_name(file.name + ".partial")
    try:
        with aside.open("w", encoding="utf-8") as new:
            new.writelines(json.dumps(row) + "\n" for row in chosen)
        aside.replace(file)
    except OSError as error:
        raise StorageError(f"{file} cannot be written ({error.strerror})") from error

"""What a run has written down, as tests of runs read it."""

from typing import Any

from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder


def newest(folder: RunFolder) -> checkpoint.Checkpoint:
    """The newest whole checkpoint, which there has to be."""
    saved = checkpoint.newest(folder.checkpoints)
    assert saved is not None
    return saved


def ascending_rows(folder: RunFolder, rank: int) -> list[dict[str, Any]]:
    """A learner's metrics, in which no update comes twice or before an earlier one."""
    rows = MetricsReader(folder.metrics_file(rank)).new_rows()
    assert [row["updates"] for row in rows] == sorted({row["updates"] for row in rows})
    return rows


def sizes(folder: RunFolder) -> list[tuple[int, int]]:
    """Numbers of learners before and after each change, in order."""
    return [(change["from"], change["to"]) for change in folder.read_scales()]

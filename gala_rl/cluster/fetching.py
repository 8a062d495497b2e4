"""What nodes write, fetched into the run's folder: files as they grow, and parts of checkpoints."""

import time
from collections.abc import Sequence

import ray

from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.cluster.protocol import NodeStatus
from gala_rl.errors import StorageError
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

_FETCH_S = 2.0
"""No further part is fetched in a look that has taken so long: other nodes wait to be asked."""


def append_news(folder: RunFolder, post: NodeHandle, report: NodeStatus) -> None:
    """Add what a node has written since the last report to the run's files.

    Raises:
        StorageError: when they cannot be written.
    """
    for name in post.read:
        if not (content := report.news.get(name)):
            continue
        path = folder.path / name
        try:
            with path.open("ab") as file:
                file.write(content)
        except OSError as error:
            raise StorageError(f"{path} cannot be written ({error.strerror})") from error
        post.read[name] += len(content)


def fetch_part(folder: RunFolder, request: str, post: NodeHandle, rank: int) -> bool:
    """Fetch a learner's part of a checkpoint in the making; returns whether there is one.

    Raises:
        ray.exceptions.RayError: when its node cannot be reached.
        StorageError: when it cannot be written.
    """
    if (files := post.part(request, rank)) is None:
        return False
    checkpoint.copy_part(checkpoint.partial_folder(folder.checkpoints, request), files)
    return True


def fetch_written(
    folder: RunFolder, board: SharedCounters, posts: Sequence[NodeHandle], gossips: bool
) -> None:
    """Fetch parts of the checkpoint that is wanted, of those that have written theirs.

    What has come is noted on the board. So is what is not waited for: if learners gossip, those of
    a lost node, which can begin with another's part. What fails is tried again at the next look.

    Args:
        folder: of the run.
        board: the driver's.
        posts: of all nodes.
        gossips: whether learners do.

    Raises:
        StorageError: when a part cannot be written.
    """
    wanted, until = board.checkpoint_wanted, time.monotonic() + _FETCH_S
    if not board.awaits_checkpoint(wanted):
        return
    for post in posts:
        for rank in post.ranks:
            if board.get(rank, LearnerCounter.CHECKPOINT_WRITTEN) >= wanted:
                continue
            if gossips if post.is_lost else _has_come(folder, wanted, post, rank):
                board.set(rank, LearnerCounter.CHECKPOINT_WRITTEN, wanted)
            if time.monotonic() > until:
                return


def _has_come(folder: RunFolder, wanted: int, post: NodeHandle, rank: int) -> bool:
    if post.latest is None or post.latest.written[rank - post.share.start] < wanted:
        return False
    try:
        return fetch_part(folder, str(wanted), post, rank)
    except ray.exceptions.RayError:
        return False

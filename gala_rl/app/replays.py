"""Lines about the replays of a run that starts or is resumed."""

from collections.abc import Iterator

from gala_rl.checks.replay import saved_bytes
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.replay_file import CHECKSUM, open_replay

_AGAIN = "learners first collect as many agent steps again as at the start (--min-replay)"


def replay_lines(config: ResolvedConfig, start: Checkpoint | None) -> Iterator[str]:
    """Yield what the user should know about replays in checkpoints.

    Args:
        config: resolved config of the run.
        start: checkpoint to continue from; None for a new run.
    """
    algorithm = config.algorithm
    if not algorithm.saves_replay:
        if start is not None and algorithm.learns_action_values:
            yield f"the replay is not saved: {_AGAIN}"
        return
    size = saved_bytes(config) / 2**30
    yield (
        f"the newest checkpoint has the replay too: up to {size:,.2f} GiB, and twice that while "
        f"the next one is written"
    )
    if start is None:
        return
    for rank in start.learners():
        try:
            open_replay(start.path, rank, start.counters(rank).get(CHECKSUM))
        except UserError as error:
            yield f"{error}: {_AGAIN}"

"""Implements `gala train --resume`: continue a run, or start it anew without a checkpoint.

A run may be killed before its first checkpoint, or while its folder is created. The same command
then starts it again, and moves the files of the earlier attempt to a separate folder.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gala_rl.checks.config import check_config, check_new_config
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.records.run_folder import KEPT_ON_RESTART, RunFolder

_MADE_FIRST = {
    *("checkpoints", "metrics", "logs"),
    *("topology.json", "faults.json", "config.json.partial"),
}
"""Names in the folder of a run that was killed before it had written its config."""


def is_started(config: TrainConfig) -> bool:
    """Return whether the config's `out` holds a run, perhaps one killed before its config exists.

    Raises:
        UserError: when `out` is not given.
    """
    if config.out is None:
        raise UserError("--resume needs to know which run: give its folder with --out")
    folder = RunFolder(Path(config.out))
    if folder.exists or not folder.path.is_dir():
        return folder.exists
    names = {path.name for path in folder.path.iterdir()}
    return bool(names - KEPT_ON_RESTART) and names <= _MADE_FIRST | KEPT_ON_RESTART


def is_resumable(run: str | Path) -> bool:
    """Return whether a run is complete, or has an undamaged checkpoint to continue from."""
    folder = RunFolder(Path(run))
    made = folder.checkpointed_agent_steps()
    if made is None:
        return False
    steps = folder.read_config().steps
    if steps is not None and made >= steps:
        return True
    # Imported late, since it imports PyTorch, which is not needed without checkpoints.
    from gala_rl.records import checkpoint

    try:
        return checkpoint.newest(folder.checkpoints) is not None
    except UserError:
        return False


def start_anew(
    config: TrainConfig, settings: Mapping[str, Any], steps: int | None
) -> tuple[ResolvedConfig, Path]:
    """Move aside the files of an attempt that cannot be continued, so that its run starts again.

    Args:
        config: config that the user has given, with `out`.
        settings: settings of the algorithm that the user has given.
        steps: new total of agent steps; None: as before.

    Returns:
        The config of the earlier attempt, if it was written, else the given one, resolved; and the
        folder to which the files were moved.

    Raises:
        UserError: when the run cannot be started, or another process is training it; then nothing
            has been moved.
    """
    assert config.out is not None
    folder = RunFolder(Path(config.out))
    folder.check_plain()
    if not folder.exists:
        return check_new_config(config, settings), _set_aside(folder)
    before = folder.read_config()
    resolved = check_config(before if steps is None else replace(before, steps=steps))
    aside = _set_aside(folder)
    # The topology and fault plan of the run have been moved too.
    return RunFolder(aside).with_own_files(replace(resolved, out=config.out)), aside


def _set_aside(folder: RunFolder) -> Path:
    """Move all files of an attempt into a new folder within `earlier`; return that folder."""
    with folder.lock():
        try:
            folder.earlier.mkdir(exist_ok=True)
            aside = folder.earlier / str(1 + sum(1 for _ in folder.earlier.iterdir()))
            aside.mkdir()
            left = [path for path in folder.path.iterdir() if path.name not in KEPT_ON_RESTART]
            # Config, topology and fault plan last: if this is interrupted, the run is still known.
            for path in sorted(left, key=lambda path: path.suffix == ".json"):
                path.rename(aside / path.name)
        except OSError as error:
            raise UserError(
                f"run folder {folder.path} cannot be written ({error.strerror}): choose another "
                f"--out"
            ) from error
    return aside

"""Continue a run by `gala train --resume`, or start it anew where there is nothing to continue.

A run may be killed before its first checkpoint, or while its folder is created. The same command
then starts it again, and keeps in a folder of its own what was there.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gala_rl.checks.config import check_config, check_new_config
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.run import TrainConfig
from gala_rl.errors import UserError
from gala_rl.records.run_folder import KEPT_ON_RESTART, RunFolder

_MADE_FIRST = {
    *("checkpoints", "metrics", "logs"),
    *("topology.json", "faults.json", "config.json.partial"),
}
"""Names that a run may leave if it is killed before it has written its config."""


def is_started(config: TrainConfig) -> bool:
    """Return whether the config's `out` holds a run, or what is left of one that had just begun.

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
    """Return whether a run is complete, or has a whole checkpoint to continue from."""
    folder = RunFolder(Path(run))
    made = folder.checkpointed_agent_steps()
    if made is None or made >= folder.read_config().steps:
        return made is not None
    # Imports PyTorch, which a run without checkpoints need not wait for.
    from gala_rl.records import checkpoint

    try:
        return checkpoint.newest(folder.checkpoints) is not None
    except UserError:
        return False


def start_anew(
    config: TrainConfig, settings: Mapping[str, Any], steps: int | None
) -> tuple[ResolvedConfig, Path]:
    """Make room for a run in whose folder an earlier attempt has left no whole checkpoint.

    Args:
        config: what the user has given, with the run's folder.
        settings: settings of the algorithm that the user has given.
        steps: new total of agent steps; None: as before.

    Returns:
        The config that the run was started with, as far as that is known, and the folder to which
        everything was moved.

    Raises:
        UserError: when the run cannot be started so, or another process trains it; then nothing
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
    # Files that the run was given were moved too.
    return RunFolder(aside).with_own_files(replace(resolved, out=config.out)), aside


def _set_aside(folder: RunFolder) -> Path:
    """Move everything that an attempt has left into a folder of its own; return that folder."""
    with folder.lock():
        try:
            folder.earlier.mkdir(exist_ok=True)
            aside = folder.earlier / str(1 + sum(1 for _ in folder.earlier.iterdir()))
            aside.mkdir()
            left = [path for path in folder.path.iterdir() if path.name not in KEPT_ON_RESTART]
            # Its config, and the files that it names, are moved last: they say what the run was.
            for path in sorted(left, key=lambda path: path.suffix == ".json"):
                path.rename(aside / path.name)
        except OSError as error:
            raise UserError(
                f"run folder {folder.path} cannot be written ({error.strerror}): choose another "
                f"--out"
            ) from error
    return aside

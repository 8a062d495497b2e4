"""`gala train --resume`: whether there is a run to continue, and room for one that starts anew.

A run may be killed before its first checkpoint, or while its folder is created. The same command
then starts it again, and what was there is kept aside.
"""

import dataclasses
from pathlib import Path

from gala_rl.app.preflight import check_config
from gala_rl.config.run import TrainConfig
from gala_rl.errors import UserError
from gala_rl.records.run_folder import STAYS, RunFolder

_MADE_FIRST = {
    *("checkpoints", "metrics", "logs"),
    *("topology.json", "faults.json", "config.json.partial"),
}
"""What there may be of a run that was killed before it had written its config."""


def is_started(config: TrainConfig) -> bool:
    """Whether there is a run in the config's `out`, or what is left of one that has just begun.

    Raises:
        UserError: when `out` is not given.
    """
    if config.out is None:
        raise UserError("--resume needs to know which run: give its folder with --out")
    folder = RunFolder(Path(config.out))
    if folder.exists or not folder.path.is_dir():
        return folder.exists
    names = {path.name for path in folder.path.iterdir()}
    return bool(names - STAYS) and names <= _MADE_FIRST | STAYS


def is_resumable(run: str | Path) -> bool:
    """Whether a run is complete, or has a whole checkpoint to be continued from."""
    folder = RunFolder(Path(run))
    made = folder.checkpointed_agent_steps()
    if made is None or made >= folder.read_config().steps:
        return made is not None
    # PyTorch comes with it, which a run without checkpoints need not wait for here.
    from gala_rl.records import checkpoint

    try:
        return checkpoint.newest(folder.checkpoints) is not None
    except UserError:
        return False


def start_anew(config: TrainConfig, steps: int | None) -> tuple[TrainConfig, Path]:
    """Make room for a run in whose folder an earlier attempt has left no whole checkpoint.

    Args:
        config: what the user has given, with the run's folder.
        steps: new total of agent steps; None: as before.

    Returns:
        What the run was started with, as far as that is known, and where all that was there is now.

    Raises:
        UserError: when the run cannot be started so, or another process trains it; then nothing
            has been moved.
    """
    assert config.out is not None
    folder = RunFolder(Path(config.out))
    folder.check_plain()
    is_known = folder.exists
    check_config(folder.read_config() if is_known else config)
    aside = _set_aside(folder)
    if is_known:
        # Files that it was given are now read from there.
        config = dataclasses.replace(RunFolder(aside).read_config(), out=config.out)
    if steps is not None:
        config = dataclasses.replace(config, steps=steps)
    return config, aside


def _set_aside(folder: RunFolder) -> Path:
    """Move all that an attempt has left into a folder of its own, and return that."""
    with folder.hold():
        try:
            folder.earlier.mkdir(exist_ok=True)
            aside = folder.earlier / str(1 + sum(1 for _ in folder.earlier.iterdir()))
            aside.mkdir()
            left = [path for path in folder.path.iterdir() if path.name not in STAYS]
            # Its config, and what that refers to, go last: they say what the run was.
            for path in sorted(left, key=lambda path: path.suffix == ".json"):
                path.rename(aside / path.name)
        except OSError as error:
            raise UserError(
                f"run folder {folder.path} cannot be written ({error.strerror}): choose another "
                f"--out"
            ) from error
    return aside

"""Checkpoints: a folder of safetensors and JSON, whole or absent, checksummed, never pickled.

    checkpoints/step_000000800000/
        learner_00.safetensors   tensors of learner 0
        learner_00.json          its counters
        …
        shared.safetensors       tensors that belong to all learners, where there are any
        manifest.json            counters of the run, and the SHA-256 of every other file

Learners write their parts into a hidden folder, each on its own, counters last: a part without
them does not count. When all are there the manifest is added, everything is flushed to disk, and
the folder gets its name.
"""

import hashlib
import json
import logging
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gala_rl.errors import StorageError, UserError
from gala_rl.records.atomic_replace import finish_replacing, flush_to_disk, put_in_place
from gala_rl.records.plausible import are_counts, is_count
from gala_rl.records.run_folder import checkpoint_folders, read_json

FORMAT = 1
_SHARED = "shared.safetensors"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LearnerState:
    """One learner's part of a checkpoint.

    Attributes:
        tensors: parameters, optimiser state, random states, what the simulators can save.
        counters: plain JSON values.
    """

    tensors: dict[str, Tensor]
    counters: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose checksums have been found right.

    Attributes:
        path: its folder.
        agent_steps: of all learners together.
        manifest: as written.
    """

    path: Path
    agent_steps: int
    manifest: dict[str, Any]

    def learners(self) -> list[int]:
        """Ranks that have a part in it."""
        return sorted(int(name) for name in self.manifest["learners"])

    def load(self, learner: int) -> LearnerState:
        """One learner's part."""
        tensors = self._tensors(f"learner_{learner:02d}.safetensors")
        return LearnerState(self.shared() | tensors, self.counters(learner))

    def counters(self, learner: int) -> dict[str, Any]:
        """The counters of one learner's part."""
        return read_json(self.path / f"learner_{learner:02d}.json")

    def mixed_versions(self, learner: int) -> dict[int, int]:
        """Versions that a learner had mixed, by sender; at most that of the sender's own part.

        Parts are written one after another. A sender whose part is the older one goes on from it,
        and what it sends from then on is new.
        """
        mixed = {int(j): version for j, version in self.counters(learner)["mixed_versions"].items()}
        sent = {j: self.counters(j)["version"] for j in mixed.keys() & set(self.learners())}
        return {j: min(version, sent.get(j, version)) for j, version in mixed.items()}

    def agent_steps_of(self, learner: int) -> int:
        """Agent steps from which a learner goes on: those of its part, if it has one."""
        made = self.manifest["learner_agent_steps"]
        if learner in self.learners():
            return int(self.counters(learner)["agent_steps"])
        return int(made[learner]) if learner < len(made) else 0

    @property
    def resumes_at(self) -> int:
        """Agent steps of all learners together from which they go on."""
        return sum(map(self.agent_steps_of, range(len(self.manifest["learner_agent_steps"]))))

    def shared(self) -> dict[str, Tensor]:
        """Tensors that belong to all learners."""
        return self._tensors(_SHARED) if _SHARED in self.manifest["sha256"] else {}

    def _tensors(self, name: str) -> dict[str, Tensor]:
        try:
            return load_file(self.path / name)
        except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError) as e:
            raise UserError(f"checkpoint {self.path} is damaged: {name}: {e!r}") from e


def partial_folder(checkpoints: Path, request: str) -> Path:
    """Where the parts of a checkpoint in the making are gathered."""
    return checkpoints / f".partial-{request}"


def counters_in_the_making(folder: Path, learner: int) -> Path:
    """Where the last file of a learner's part is written, until it is whole."""
    return folder / f".learner_{learner:02d}.json"


def write_part(folder: Path, learner: int, state: LearnerState) -> None:
    """Write one learner's part into the folder of a checkpoint in the making.

    Raises:
        StorageError: when it cannot be written; it does not count then.
    """
    stem = folder / f"learner_{learner:02d}"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    with _storage_errors(folder):
        folder.mkdir(exist_ok=True)
        save_file(tensors, stem.with_suffix(".safetensors"))
        aside = counters_in_the_making(folder, learner)
        aside.write_text(json.dumps(state.counters), encoding="utf-8")
        aside.replace(stem.with_suffix(".json"))


def copy_part(folder: Path, files: dict[str, bytes]) -> None:
    """Add one learner's part, written elsewhere, to the folder of a checkpoint in the making.

    Raises:
        ValueError: when a name leads out of the folder.
        StorageError: when it cannot be written; it does not count then.
    """
    if any(Path(name).name != name for name in files):
        raise ValueError(f"{sorted(files)} are no files of a checkpoint")
    with _storage_errors(folder):
        folder.mkdir(exist_ok=True)
        # Counters last: a part without them does not count.
        for name in sorted(files, key=lambda name: name.endswith(".json")):
            aside = folder / f".{name}"
            aside.write_bytes(files[name])
            aside.replace(folder / name)


def write_shared(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write what belongs to all learners into the folder of a checkpoint in the making.

    Raises:
        StorageError: when it cannot be written.
    """
    with _storage_errors(folder):
        save_file(tensors, folder / _SHARED)


def parts(folder: Path) -> list[str]:
    """Names of the learners whose part in the making is whole, such as "00"."""
    return sorted(path.stem.removeprefix("learner_") for path in folder.glob("learner_*.json"))


def drop_parts(folder: Path, learners: int) -> None:
    """Remove the parts of others than the first so many learners from one in the making."""
    with _storage_errors(folder):
        for name in parts(folder):
            if int(name) >= learners:
                (folder / f"learner_{name}.json").unlink()


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"checkpoint {folder} cannot be written ({reason})") from error


def complete(folder: Path, agent_steps: int, learner_steps: list[int], kept: int) -> Path:
    """Turn the whole parts of a folder into a checkpoint and drop the oldest ones.

    One that holds the same stays instead: nothing was learned since.

    Args:
        folder: from `partial_folder`.
        agent_steps: of all learners together.
        learner_steps: agent steps by rank.
        kept: number of newest whole checkpoints to keep.

    Returns:
        The checkpoint's folder.

    Raises:
        StorageError: when it cannot be written; the older ones are all there then.
    """
    learners = parts(folder)
    files = sorted(folder / name for learner in learners for name in _files_of(int(learner)))
    if (folder / _SHARED).is_file():
        files.append(folder / _SHARED)
    final = folder.parent / f"step_{agent_steps:012d}"
    with _storage_errors(final):
        for stray in set(folder.iterdir()) - set(files):
            stray.unlink()
        manifest = {
            "format": FORMAT,
            "agent_steps": agent_steps,
            "learner_agent_steps": learner_steps,
            "learners": learners,
            "sha256": {file.name: _sha256(file) for file in files},
        }
        finish_replacing(final)
        if final.exists() and _holds(final, manifest):
            discard(folder)
            return final
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        for path in [*files, folder / "manifest.json", folder]:
            flush_to_disk(path)
        put_in_place(folder, final)
        for there in checkpoint_folders(final.parent):
            # Damaged ones do not count, and go when they are the oldest.
            if kept == 0:
                shutil.rmtree(there)
            elif there == final or _is_whole(there):
                kept -= 1
    return final


def discard(folder: Path) -> None:
    """Forget a checkpoint in the making."""
    shutil.rmtree(folder, ignore_errors=True)


def newest(checkpoints: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole; damaged ones are reported and passed over.

    Raises:
        UserError: when there are checkpoints but none is whole.
    """
    folders = checkpoint_folders(checkpoints)
    damage = ""
    for folder in folders:
        try:
            return open_checkpoint(folder)
        except UserError as error:
            damage = str(error)
            _log.warning("%s; trying the one before", error)
    if folders:
        raise UserError(f"no checkpoint in {checkpoints} is whole: {damage}")
    return None


def open_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint, after holding every file against its checksum.

    Raises:
        UserError: when something is missing, damaged or of another format.
    """
    try:
        _check_plain(folder / "manifest.json")
        manifest = read_json(folder / "manifest.json")
        found = manifest["format"]
        if found == FORMAT:
            _check_content(folder, manifest)
            return Checkpoint(folder, manifest["agent_steps"], manifest)
    except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = error if isinstance(error, (UserError, OSError, ValueError)) else repr(error)
        raise UserError(f"checkpoint {folder} is damaged: {what}") from error
    raise UserError(f"checkpoint {folder} has format {short(found)}, this version reads {FORMAT}")


def _holds(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether it is whole and of this content; as many steps may be those of earlier parts."""
    return _is_whole(folder) and open_checkpoint(folder).manifest == manifest


def _is_whole(folder: Path) -> bool:
    try:
        open_checkpoint(folder)
    except UserError:
        return False
    return True


def _check_content(folder: Path, manifest: dict[str, Any]) -> None:
    for name, expected in manifest["sha256"].items():
        if Path(name).name != name:
            raise ValueError(f"{name} is in another folder")
        _check_plain(folder / name)
        if _sha256(folder / name) != expected:
            raise ValueError(f"{name} has changed")
    steps, learners = manifest["learner_agent_steps"], manifest["learners"]
    if not (is_count(manifest["agent_steps"]) and are_counts(steps) and learners):
        raise ValueError("its manifest does not count")
    for name in learners:
        rank = int(name) if isinstance(name, str) else -1
        if not 0 <= rank < len(steps) or not _files_of(rank) <= set(manifest["sha256"]):
            raise ValueError(f"learner {short(name)} is not in it")


def _check_plain(file: Path) -> None:
    """Refuse what is no file of the checkpoint's own: a link, a pipe, a device that never ends."""
    if not stat.S_ISREG(file.lstat().st_mode):
        raise ValueError(f"{file.name} is not a plain file")


def _files_of(learner: int) -> set[str]:
    return {f"learner_{learner:02d}{suffix}" for suffix in (".safetensors", ".json")}


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

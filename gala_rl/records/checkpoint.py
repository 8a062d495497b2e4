"""Writes and reads checkpoints: folders of safetensors and JSON, checksummed, never pickled.

    checkpoints/step_000000800000/
        learner_00.safetensors   tensors of learner 0
        learner_00.json          its counters
        …
        shared.safetensors       tensors that all learners share, if any
        manifest.json            counters of the run, and the SHA-256 of the files above

A checkpoint is complete or absent: each learner writes its part into a hidden folder, counters
last, since a part without counters is not used. Once all parts are written, the manifest is added,
everything is flushed to disk, and the folder is renamed.
"""

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Annotated, Any, TypedDict

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gala_rl.decode import Count, Rule, decode
from gala_rl.errors import UserError
from gala_rl.records.files import (
    check_plain,
    finish_replacing,
    flush_to_disk,
    put_in_place,
    read_json,
    storage_errors,
)
from gala_rl.records.replay_file import drop_replays, replay_file
from gala_rl.records.run_folder import checkpoint_folders

FORMAT = 1
_SHARED = "shared.safetensors"
_MANIFEST = "manifest.json"

_log = logging.getLogger(__name__)


class Manifest(TypedDict):
    """Content of `manifest.json`.

    Attributes:
        format: version of the format.
        agent_steps: agent steps of all learners together.
        learner_agent_steps: agent steps by rank.
        learners: ranks of learners that have a part, such as "00".
        sha256: SHA-256 by file name.
    """

    format: int
    agent_steps: Count
    learner_agent_steps: list[Count]
    learners: Annotated[list[str], Rule("a list of learners", bool)]
    sha256: dict[str, str]


@dataclass(frozen=True)
class LearnerState:
    """One learner's part of a checkpoint.

    Attributes:
        tensors: parameters, optimiser state, random states, and the simulators' state, if any.
        counters: plain JSON values.
    """

    tensors: dict[str, Tensor]
    counters: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint, whose checksums have been verified.

    Attributes:
        path: its folder.
        manifest: content of `manifest.json`.
    """

    path: Path
    manifest: Manifest

    @property
    def agent_steps(self) -> int:
        """Agent steps of all learners together."""
        return self.manifest["agent_steps"]

    def learners(self) -> list[int]:
        """Return the ranks of the learners that have a part in the checkpoint."""
        return sorted(map(int, self.manifest["learners"]))

    def load(self, learner: int) -> LearnerState:
        """Return one learner's part, with the tensors that all learners share."""
        tensors = self._tensors(f"learner_{learner:02d}.safetensors")
        return LearnerState(self.shared() | tensors, self.counters(learner))

    def counters(self, learner: int) -> dict[str, Any]:
        """Return the counters of one learner's part."""
        return read_json(self.path / f"learner_{learner:02d}.json")

    def mixed_versions(self, learner: int) -> dict[int, int]:
        """Return the versions that a learner had mixed, by sender.

        Versions are capped at those of the senders' parts. Parts are written one after another, so
        a learner may have mixed a version later than its sender's own, older part. The sender
        continues from that part and sends such versions again.
        """
        mixed = {int(j): version for j, version in self.counters(learner)["mixed_versions"].items()}
        sent = {j: self.counters(j)["version"] for j in mixed.keys() & set(self.learners())}
        return {j: min(version, sent.get(j, version)) for j, version in mixed.items()}

    def agent_steps_of(self, learner: int) -> int:
        """Return the agent steps from which a learner continues: those of its part, if any."""
        steps = self.manifest["learner_agent_steps"]
        if learner in self.learners():
            return int(self.counters(learner)["agent_steps"])
        return steps[learner] if learner < len(steps) else 0

    @property
    def resumes_at(self) -> int:
        """Total agent steps from which the learners continue."""
        return sum(map(self.agent_steps_of, range(len(self.manifest["learner_agent_steps"]))))

    def shared(self) -> dict[str, Tensor]:
        """Return the tensors that all learners share."""
        return self._tensors(_SHARED) if _SHARED in self.manifest["sha256"] else {}

    def _tensors(self, name: str) -> dict[str, Tensor]:
        try:
            return load_file(self.path / name)
        except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError) as e:
            raise UserError(f"checkpoint {self.path} is damaged: {name}: {e!r}") from e


def partial_folder(checkpoints: Path, request: str) -> Path:
    """Return the folder to which the parts of a checkpoint are written until it is complete."""
    return checkpoints / f".partial-{request}"


def partial_counters(folder: Path, learner: int) -> Path:
    """Return the temporary file to which the counters of a part are written before a rename."""
    return folder / f".learner_{learner:02d}.json"


def write_part(folder: Path, learner: int, state: LearnerState) -> None:
    """Write one learner's part into a partial folder.

    Raises:
        StorageError: when it cannot be written; the part is not used then.
    """
    stem = folder / f"learner_{learner:02d}"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
        save_file(tensors, stem.with_suffix(".safetensors"))
        counters = partial_counters(folder, learner)
        counters.write_text(json.dumps(state.counters), encoding="utf-8")
        counters.replace(stem.with_suffix(".json"))


def copy_part(folder: Path, files: dict[str, bytes]) -> None:
    """Add one learner's part, written on another machine, to a partial folder.

    Args:
        folder: from `partial_folder`.
        files: contents by name.

    Raises:
        ValueError: when a name leads out of the folder.
        StorageError: when it cannot be written; the part is not used then.
    """
    if any(Path(name).name != name for name in files):
        raise ValueError(f"{sorted(files)} are not files of a checkpoint")
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
        # Counters last: a part without them is not used.
        for name in sorted(files, key=lambda name: name.endswith(".json")):
            partial = folder / f".{name}"
            partial.write_bytes(files[name])
            partial.replace(folder / name)


def write_shared(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write the tensors that all learners share into a partial folder.

    Raises:
        StorageError: when it cannot be written.
    """
    with storage_errors(folder):
        save_file(tensors, folder / _SHARED)


def parts(folder: Path) -> list[str]:
    """Return the learners whose parts in a partial folder are complete, such as "00"."""
    return sorted(path.stem.removeprefix("learner_") for path in folder.glob("learner_*.json"))


def drop_parts(folder: Path, learners: int) -> None:
    """Remove from a partial folder the parts of all but the first `learners` learners."""
    with storage_errors(folder):
        for name in parts(folder):
            if int(name) >= learners:
                (folder / f"learner_{name}.json").unlink()


def complete(folder: Path, agent_steps: int, learner_steps: list[int], kept: int) -> Path:
    """Turn the complete parts in a partial folder into a checkpoint, and remove old ones.

    Only the newest checkpoint has replays. An existing checkpoint with the same content is left as
    it is.

    Args:
        folder: from `partial_folder`.
        agent_steps: agent steps of all learners together.
        learner_steps: agent steps by rank.
        kept: number of newest complete checkpoints that are not removed.

    Returns:
        The checkpoint's folder.

    Raises:
        StorageError: when it cannot be written; nothing older is removed then.
    """
    learners = parts(folder)
    files = sorted(folder / name for learner in learners for name in _files_of(int(learner)))
    if (folder / _SHARED).is_file():
        files.append(folder / _SHARED)
    final = folder.parent / f"step_{agent_steps:012d}"
    replays = [path for name in learners if (path := replay_file(folder, int(name))).is_file()]
    with storage_errors(final):
        for stray in set(folder.iterdir()) - {*files, *replays}:
            stray.unlink()
        manifest: Manifest = {
            "format": FORMAT,
            "agent_steps": agent_steps,
            "learner_agent_steps": learner_steps,
            "learners": learners,
            "sha256": {file.name: _sha256(file) for file in files},
        }
        finish_replacing(final)
        # Compare parts, not names: they may be newer than those of a checkpoint of as many steps.
        is_same = final.exists() and (same := _try_open(final)) and same.manifest == manifest
        if is_same and all((final / replay.name).exists() for replay in replays):
            discard(folder)
            return final
        (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        for path in [*files, *replays, folder / _MANIFEST, folder]:
            flush_to_disk(path)
        put_in_place(folder, final)
        for existing in checkpoint_folders(final.parent):
            if existing != final:
                drop_replays(existing)
            # Damaged checkpoints do not count towards `kept`.
            if kept == 0:
                shutil.rmtree(existing)
            elif existing == final or _try_open(existing) is not None:
                kept -= 1
    return final


def discard(folder: Path) -> None:
    """Remove a partial folder, if it exists."""
    shutil.rmtree(folder, ignore_errors=True)


def newest(checkpoints: Path) -> Checkpoint | None:
    """Return the newest undamaged checkpoint, None without checkpoints; log damaged ones.

    Raises:
        UserError: when all checkpoints are damaged.
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
    """Open a checkpoint after checking every file's checksum.

    Raises:
        UserError: when something is missing, damaged or of another format.
    """
    try:
        check_plain(folder / _MANIFEST)
        content = read_json(folder / _MANIFEST)
        if content.get("format", FORMAT) == FORMAT:
            manifest = decode(Manifest, content, _MANIFEST)
            _check_files(folder, manifest)
            return Checkpoint(folder, manifest)
    except (UserError, OSError, ValueError) as error:
        raise UserError(f"checkpoint {folder} is damaged: {error}") from error
    found = short(content["format"])
    raise UserError(f"checkpoint {folder} has format {found}, this version reads {FORMAT}")


def _try_open(folder: Path) -> Checkpoint | None:
    try:
        return open_checkpoint(folder)
    except UserError:
        return None


def _check_files(folder: Path, manifest: Manifest) -> None:
    for name, expected in manifest["sha256"].items():
        if Path(name).name != name:
            raise ValueError(f"{name} is in another folder")
        check_plain(folder / name)
        if _sha256(folder / name) != expected:
            raise ValueError(f"{name} has changed")
    for name in manifest["learners"]:
        rank, ranks = int(name), len(manifest["learner_agent_steps"])
        if not 0 <= rank < ranks or not _files_of(rank) <= manifest["sha256"].keys():
            raise ValueError(f"learner {short(name)} is not in it")


def _files_of(learner: int) -> set[str]:
    return {f"learner_{learner:02d}{suffix}" for suffix in (".safetensors", ".json")}


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

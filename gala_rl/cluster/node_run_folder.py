"""A node's copy of the run folder, and functions of the driver that collect files from it."""

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import ray

from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.cluster.protocol import NodeSpec, NodeStatus
from gala_rl.errors import StorageError, UserError
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.log import FaultMonitor
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.learner_spec import FINAL
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

_PREFIX = "gala-node-"
_NEW_S = 60.0
_READ_BYTES = 1 << 22
"""Most bytes read from a file per call, since a learner may print without end."""
_FETCH_S = 2.0
"""Longest time for fetching parts per poll, since heartbeats to other nodes wait meanwhile."""


class NodeRunFolder:
    """A temporary run folder. If its node is killed, a later node on the machine removes it.

    Args:
        spec: spec of the node.

    Attributes:
        folder: the folder, laid out as a run folder.
        checkpoint: checkpoint to continue from; None without one.
        faults: monitor of the fault plan; None without a plan.
    """

    def __init__(self, spec: NodeSpec) -> None:
        _remove_abandoned()
        self.folder = RunFolder(Path(tempfile.mkdtemp(prefix=_PREFIX)))
        self._lock = ExitStack()
        self._lock.enter_context(self.folder.lock())
        self._files = [
            str(path.relative_to(self.folder.path))
            for rank in spec.ranks[spec.node]
            for path in (self.folder.metrics_file(rank), self.folder.log_file(rank))
        ]
        self._faults_name = str(self.folder.faults_file.relative_to(self.folder.path))
        if self._faults_name in spec.files:
            self._files.append(self._faults_name)
        self.folder.checkpoints.mkdir()
        for name in self._files:
            (self.folder.path / name).parent.mkdir(exist_ok=True)
        for name, content in spec.files.items():
            (self.folder.path / name).write_bytes(content)
        self.checkpoint = self._unpack_checkpoint(spec)
        self.faults = self._make_fault_monitor(spec)

    def appended(self, offsets: dict[str, int]) -> dict[str, bytes]:
        """Return the bytes appended to the learners' files, by path.

        Args:
            offsets: size in bytes of the driver's copy of each file, by path.
        """
        appended = {name: self._read(name, offsets.get(name, 0)) for name in self._files}
        if self.faults is not None:
            name = self._faults_name
            self.faults.clock.record_copied(offsets[name])
            # Whole rows only: the driver's file also has rows of other nodes.
            appended[name] = appended[name][: appended[name].rfind(b"\n") + 1]
        return {name: content for name, content in appended.items() if content}

    def checkpoint_part(self, request: str, rank: int) -> dict[str, bytes] | None:
        """Return the files of a learner's part of a checkpoint, by name; None without a part."""
        partial = checkpoint.partial_folder(self.folder.checkpoints, request)
        if f"{rank:02d}" not in checkpoint.parts(partial):
            return None
        return {file.name: file.read_bytes() for file in partial.glob(f"learner_{rank:02d}.*")}

    def forget_parts(self, except_for: int) -> None:
        """Remove parts of checkpoints that the driver will not fetch any more."""
        checkpoints = self.folder.checkpoints
        kept = [checkpoint.partial_folder(checkpoints, r) for r in (FINAL, str(except_for))]
        for partial in checkpoints.glob(".partial-*"):
            if partial not in kept:
                checkpoint.discard(partial)

    def remove(self) -> None:
        """Remove the folder."""
        self._lock.close()
        shutil.rmtree(self.folder.path, ignore_errors=True)

    def _make_fault_monitor(self, spec: NodeSpec) -> FaultMonitor | None:
        if self._faults_name not in spec.files:
            return None
        clock = FaultClock(spec.ranks[-1].stop, copied_bytes=len(spec.files[self._faults_name]))
        clock.start_at(spec.elapsed_s)
        return FaultMonitor(clock, self.folder.faults_file)

    def _unpack_checkpoint(self, spec: NodeSpec) -> Path | None:
        if not spec.checkpoint:
            return None
        partial = checkpoint.partial_folder(self.folder.checkpoints, "start")
        checkpoint.copy_part(partial, spec.checkpoint)
        return checkpoint.complete(partial, sum(spec.agent_steps), spec.agent_steps, 1)

    def _read(self, name: str, begin: int) -> bytes:
        path = self.folder.path / name
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            file.seek(begin)
            return file.read(_READ_BYTES)


def checkpoint_files(start: Checkpoint, ranks: Sequence[int]) -> dict[str, bytes]:
    """Return the files of a checkpoint that a node with these learners needs, by name."""
    saved = start.learners()
    needed = {rank for rank in ranks if rank in saved} | {saved[0]}
    stems = [f"learner_{rank:02d}" for rank in needed]
    files = {path.name: path.read_bytes() for path in start.path.iterdir() if path.stem in stems}
    for rank in needed:
        # Computed here, since a node does not have the parts of all senders.
        counters = start.counters(rank) | {"mixed_versions": start.mixed_versions(rank)}
        files[f"learner_{rank:02d}.json"] = json.dumps(counters).encode()
    return files


def append_files(folder: RunFolder, node: NodeHandle, status: NodeStatus) -> None:
    """Append the bytes in a node's status to the files of the run.

    Raises:
        StorageError: when they cannot be written.
    """
    for name in node.offsets:
        if not (content := status.appended.get(name)):
            continue
        path = folder.path / name
        try:
            with path.open("ab") as file:
                file.write(content)
        except OSError as error:
            raise StorageError(f"{path} cannot be written ({error.strerror})") from error
        node.offsets[name] += len(content)


def fetch_part(folder: RunFolder, request: str, node: NodeHandle, rank: int) -> bool:
    """Fetch a learner's part of a checkpoint in progress; return whether there is one.

    Raises:
        ray.exceptions.RayError: when its node cannot be reached.
        StorageError: when it cannot be written.
    """
    if (files := node.checkpoint_part(request, rank)) is None:
        return False
    checkpoint.copy_part(checkpoint.partial_folder(folder.checkpoints, request), files)
    return True


def fetch_written_parts(
    folder: RunFolder, counters: SharedCounters, nodes: Sequence[NodeHandle], gossips: bool
) -> None:
    """Fetch the parts of the requested checkpoint that learners have written.

    Sets the counters of learners whose parts have arrived or are given up: parts of a lost node, if
    learners gossip and can start from another learner's part. A fetch that fails is repeated in the
    next poll.

    Args:
        folder: folder of the run.
        counters: counters of the driver.
        nodes: all nodes.
        gossips: whether learners gossip.

    Raises:
        StorageError: when a part cannot be written.
    """
    number, deadline = counters.requested_checkpoint, time.monotonic() + _FETCH_S
    if not counters.awaits_checkpoint(number):
        return
    for node in nodes:
        for rank in node.ranks:
            if counters.get(rank, LearnerCounter.CHECKPOINT_WRITTEN) >= number:
                continue
            if gossips if node.is_lost else _try_fetch(folder, number, node, rank):
                counters.set(rank, LearnerCounter.CHECKPOINT_WRITTEN, number)
            if time.monotonic() > deadline:
                return


def _try_fetch(folder: RunFolder, number: int, node: NodeHandle, rank: int) -> bool:
    if node.latest is None or node.latest.written[rank - node.share.start] < number:
        return False
    try:
        return fetch_part(folder, str(number), node, rank)
    except ray.exceptions.RayError:
        return False


def _remove_abandoned() -> None:
    """Remove the folders of killed nodes on this machine."""
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            # A new folder may not be locked yet.
            if time.time() - old.stat().st_mtime > _NEW_S:
                RunFolder(old).check_unlocked()
                shutil.rmtree(old, ignore_errors=True)
        except (OSError, UserError):
            continue

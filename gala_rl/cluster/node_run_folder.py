"""A node's own copy of the run's folder: what its learners read and write, until it is fetched."""

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from gala_rl.cluster.protocol import NodeSpec
from gala_rl.errors import UserError
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.monitor import FaultMonitor
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.learner_spec import FINAL

_PREFIX = "gala-node-"
_FRESH_S = 60.0
_READ_BYTES = 1 << 22
"""Of a file at once, so that a learner that prints without end costs no memory here."""


class NodeRunFolder:
    """A temporary folder; goes with its node, or with the next one here if that was killed.

    Args:
        orders: what the node is started with.

    Attributes:
        folder: shaped as that of a run.
        start: the checkpoint to continue from, if there is one.
        faults: the watch over those of a plan; None if there is no plan.
    """

    def __init__(self, orders: NodeSpec) -> None:
        _sweep()
        self.folder = RunFolder(Path(tempfile.mkdtemp(prefix=_PREFIX)))
        self._held = ExitStack()
        self._held.enter_context(self.folder.hold())
        self._files = [
            str(path.relative_to(self.folder.path))
            for rank in orders.ranks[orders.node]
            for path in (self.folder.metrics_file(rank), self.folder.log_file(rank))
        ]
        self._faults_name = str(self.folder.faults_file.relative_to(self.folder.path))
        if self._faults_name in orders.files:
            self._files.append(self._faults_name)
        self.folder.checkpoints.mkdir()
        for name in self._files:
            (self.folder.path / name).parent.mkdir(exist_ok=True)
        for name, content in orders.files.items():
            (self.folder.path / name).write_bytes(content)
        self.start = self._unpack_checkpoint(orders)
        self.faults = self._watch_faults(orders)

    def news(self, read: dict[str, int]) -> dict[str, bytes]:
        """What was added to the learners' files, by path.

        Args:
            read: bytes of each that are known already.
        """
        added = {name: self._read(name, read.get(name, 0)) for name in self._files}
        if self.faults is not None:
            name = self._faults_name
            self.faults.clock.note_kept(read[name])
            # Rows of other nodes are going to be beside them, so they go whole.
            added[name] = added[name][: added[name].rfind(b"\n") + 1]
        return {name: content for name, content in added.items() if content}

    def part(self, request: str, rank: int) -> dict[str, bytes] | None:
        """A learner's part of a checkpoint in the making, by name of the file; None without one."""
        partial = checkpoint.partial_folder(self.folder.checkpoints, request)
        if f"{rank:02d}" not in checkpoint.parts(partial):
            return None
        return {file.name: file.read_bytes() for file in partial.glob(f"learner_{rank:02d}.*")}

    def forget_parts(self, but: int) -> None:
        """Remove checkpoints in the making that nobody will fetch any more."""
        kept = [checkpoint.partial_folder(self.folder.checkpoints, r) for r in (FINAL, str(but))]
        for partial in self.folder.checkpoints.glob(".partial-*"):
            if partial not in kept:
                checkpoint.discard(partial)

    def remove(self) -> None:
        """Remove the folder."""
        self._held.close()
        shutil.rmtree(self.folder.path, ignore_errors=True)

    def _watch_faults(self, orders: NodeSpec) -> FaultMonitor | None:
        if self._faults_name not in orders.files:
            return None
        clock = FaultClock(orders.ranks[-1].stop, kept_bytes=len(orders.files[self._faults_name]))
        clock.begin_at(orders.elapsed_s)
        return FaultMonitor(clock, self.folder.faults_file)

    def _unpack_checkpoint(self, orders: NodeSpec) -> Path | None:
        if not orders.parts:
            return None
        partial = checkpoint.partial_folder(self.folder.checkpoints, "start")
        checkpoint.copy_part(partial, orders.parts)
        return checkpoint.complete(partial, sum(orders.agent_steps), orders.agent_steps, 1)

    def _read(self, name: str, begin: int) -> bytes:
        path = self.folder.path / name
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            file.seek(begin)
            return file.read(_READ_BYTES)


def files_of(start: Checkpoint, ranks: Sequence[int]) -> dict[str, bytes]:
    """Return the files of a checkpoint that a node with these learners needs, by name."""
    saved = start.learners()
    wanted = {rank for rank in ranks if rank in saved} | {saved[0]}
    stems = [f"learner_{rank:02d}" for rank in wanted]
    files = {path.name: path.read_bytes() for path in start.path.iterdir() if path.stem in stems}
    for rank in wanted:
        # A node does not have the parts of all senders.
        counters = start.counters(rank) | {"mixed_versions": start.mixed_versions(rank)}
        files[f"learner_{rank:02d}.json"] = json.dumps(counters).encode()
    return files


def _sweep() -> None:
    """Remove what killed nodes have left on this machine."""
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            # Whoever has just made a folder is about to hold it.
            if time.time() - old.stat().st_mtime > _FRESH_S:
                RunFolder(old).check_free()
                shutil.rmtree(old, ignore_errors=True)
        except (OSError, UserError):
            continue

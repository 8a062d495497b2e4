"""A node: the learners of one machine of a cluster, supervised there, as a Ray actor."""

import os
import platform
import shutil
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import ray
import torch

from gala_rl import config as configs
from gala_rl.agent import beginning_of, message_size
from gala_rl.cluster.courier import Courier
from gala_rl.cluster.wire import Orders, Parcel, Report, Wishes
from gala_rl.config import TrainConfig
from gala_rl.envs import check_environment
from gala_rl.errors import UserError
from gala_rl.gossip import SharedMailboxes
from gala_rl.gossip.journal import Journal
from gala_rl.gossip.topology import make as make_topology
from gala_rl.optimizers import state_size
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.assignment import Assignment
from gala_rl.systems.board import Board, Cell
from gala_rl.systems.crew import Crew

PACKAGES = ("gala-rl", "torch", "gymnasium", "ale-py")
_LOOK_EVERY_S = 0.1
_IDLE_S = 0.001
_DRIVER_SILENT_S = 60.0
"""Learners are stopped when the driver has not asked for a report for so long."""


class RayCall:
    """A call to another node's actor; see `Call`."""

    def __init__(self, reference: Any) -> None:
        self._reference = reference

    def outcome(self) -> bool | None:
        """See `Call`."""
        ended, _ = ray.wait([self._reference], timeout=0)
        if not ended:
            return None
        try:
            ray.get(self._reference)
        except ray.exceptions.RayError:
            return False
        return True


CONCURRENCY_GROUPS = {"gossip": 1, "reports": 1}
"""Neither waits for the other, nor for a node that starts or ends its learners."""


class Node:
    """Owns what the learners of a machine share, their crew, and the courier to other nodes."""

    def __init__(self) -> None:
        self._crew: Crew | None = None
        self._courier: Courier | None = None
        self._ending = False
        self._threads: list[threading.Thread] = []

    def probe(self, values: dict[str, Any]) -> dict[str, Any]:
        """What has to be equal on all nodes, or why learners cannot run here.

        Args:
            values: the run's config, as `config.to_dict`.
        """
        try:
            config = configs.from_dict(values)
            check_environment(config.env, config.atari)
            _device(config)
            versions = {name: metadata.version(name) for name in PACKAGES}
            parameters = beginning_of(config).parameters
        except (UserError, metadata.PackageNotFoundError) as error:
            return {"host": platform.node(), "error": str(error)}
        return {
            "host": platform.node(),
            "python": platform.python_version(),
            **versions,
            "parameters": parameters.numel(),
        }

    def set_up(self, orders: Orders, others: list[Any]) -> None:
        """Start the learners.

        Args:
            orders: what to do.
            others: the actors of all nodes, by index.
        """
        self._folder = RunFolder(Path(tempfile.mkdtemp(prefix="gala-node-")))
        self._write_files(orders)
        config = self._config = self._folder.read_config()
        self._ranks = orders.ranks[orders.node]
        size = beginning_of(config).parameters.numel()
        count = config.resolved_learners
        topology = make_topology(config.gossip.topology, count)
        self._mailboxes = SharedMailboxes(count, message_size(config, size))
        self._journal = Journal(count, topology.largest_in_degree) if count > 1 else None
        self._board = Board(count, size, state_size(config.resolved_algorithm, size))
        for rank in range(count):
            self._board.set(rank, Cell.AGENT_STEPS, orders.agent_steps[rank])
            self._board.set(rank, Cell.UPDATES, orders.updates[rank])
        self._start_from = self._unpack_checkpoint(orders)
        self._driver_asked_at = time.monotonic()
        self._courier = Courier(
            orders.node,
            orders.ranks,
            topology,
            mailboxes=self._mailboxes,
            board=self._board,
            precision=config.message_precision,
            silence_s=config.gossip.deadline,
            post=lambda other, parcel: RayCall(
                others[other].deliver.options(concurrency_group="gossip").remote(parcel)
            ),
        )
        for work in (self._keep, self._carry):
            self._threads.append(threading.Thread(target=work, name=work.__name__, daemon=True))
            self._threads[-1].start()

    def deliver(self, parcel: Parcel) -> None:
        """Take in what another node has sent."""
        if self._courier is not None:
            self._courier.take(parcel)

    def report(self, wishes: Wishes) -> Report | None:
        """What has happened since the last one; None if this node was not set up, or not again."""
        if (crew := self._crew) is None:
            return None
        self._driver_asked_at = time.monotonic()
        if wishes.stop:
            self._board.ask_to_stop()
        if wishes.checkpoint > self._board.checkpoint_wanted:
            self._board.ask_for_checkpoint(wishes.checkpoint)
        done, written = crew.done, self._column(Cell.CHECKPOINT_WRITTEN)
        failure = crew.failure
        return Report(
            agent_steps=self._column(Cell.AGENT_STEPS),
            updates=self._column(Cell.UPDATES),
            alive=crew.alive,
            restarts=crew.restarts,
            notices=crew.take_notices(),
            news={name: self._read(name, wishes.read.get(name, 0)) for name in self._files()},
            written=written,
            done=done,
            failure=None if failure is None else (type(failure).__name__, str(failure)),
        )

    def part(self, request: str, rank: int) -> dict[str, bytes] | None:
        """A learner's part of a checkpoint in the making, by name of the file; None without one."""
        partial = checkpoint.partial_folder(self._folder.checkpoints, request)
        files = sorted(partial.glob(f"learner_{rank:02d}.*"))
        if f"learner_{rank:02d}.json" not in [file.name for file in files]:
            return None
        return {file.name: file.read_bytes() for file in files}

    def end(self) -> None:
        """Kill who still lives and remove this node's files."""
        self._ending = True
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self._folder.path, ignore_errors=True)

    def _keep(self) -> None:
        """The thread that starts learners: the kernel ends them with it, so it lives as long."""
        device = _device(self._config)
        crew = Crew(
            Assignment(
                config=self._config,
                folder=self._folder,
                rank=rank,
                device=device,
                mailboxes=self._mailboxes,
                board=self._board,
                journal=self._journal,
                common=None,
                faults=None,
                supervisor=os.getpid(),
                checkpoint=self._start_from,
            )
            for rank in self._ranks
        )
        self._crew = crew
        try:
            while not self._ending:
                time.sleep(_LOOK_EVERY_S)
                crew.look_after()
                if time.monotonic() - self._driver_asked_at > _DRIVER_SILENT_S:
                    self._board.ask_to_stop()
        finally:
            crew.end()

    def _carry(self) -> None:
        courier = self._courier
        assert courier is not None
        looked_at = 0.0
        while not self._ending:
            if not courier.carry():
                time.sleep(_IDLE_S)
            if time.monotonic() - looked_at > _LOOK_EVERY_S:
                courier.mind_silence()
                looked_at = time.monotonic()

    def _write_files(self, orders: Orders) -> None:
        for name, content in orders.files.items():
            path = self._folder.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for folder in (self._folder.checkpoints, *map(self._parent, self._files(orders))):
            folder.mkdir(parents=True, exist_ok=True)

    def _parent(self, name: str) -> Path:
        return (self._folder.path / name).parent

    def _unpack_checkpoint(self, orders: Orders) -> Path | None:
        if not orders.parts:
            return None
        partial = checkpoint.partial_folder(self._folder.checkpoints, "start")
        partial.mkdir()
        for name, content in orders.parts.items():
            (partial / name).write_bytes(content)
        return checkpoint.complete(partial, sum(orders.agent_steps), orders.agent_steps, 1)

    def _files(self, orders: Orders | None = None) -> list[str]:
        """Files that learners here add to, relative to the run's folder."""
        ranks = self._ranks if orders is None else orders.ranks[orders.node]
        paths = [
            path
            for rank in ranks
            for path in (self._folder.metrics_file(rank), self._folder.log_file(rank))
        ]
        return [str(path.relative_to(self._folder.path)) for path in paths]

    def _read(self, name: str, begin: int) -> bytes:
        path = self._folder.path / name
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            file.seek(begin)
            return file.read()

    def _column(self, cell: Cell) -> list[int]:
        column = self._board.column(cell)
        return [column[rank] for rank in self._ranks]


def _device(config: TrainConfig) -> str:
    if config.device == "cpu" or not torch.cuda.is_available():
        if config.device == "cuda":
            raise UserError("there is no GPU that PyTorch can use: choose --device cpu")
        return "cpu"
    return "cuda"

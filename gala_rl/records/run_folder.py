"""The folder of a run: its paths, its lock, its config, and checks before writing to it."""

import dataclasses
import fcntl
import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar

from gala_rl.config import train as configs
from gala_rl.config.changes import differences
from gala_rl.config.train import TrainConfig
from gala_rl.decode import Count, Number, decode
from gala_rl.errors import StorageError, UserError
from gala_rl.gossip import topology
from gala_rl.methods import algorithms_of
from gala_rl.records.files import REPLACEMENT, read_json, write_json
from gala_rl.records.provenance import provenance, timestamp

_CHECKPOINT = re.compile(f"step_[0-9]{{12,19}}({REPLACEMENT})?")
_METRICS = re.compile("learner_([0-9]{2,4}).jsonl")
_Config = TypeVar("_Config", bound=TrainConfig)

KEPT_ON_RESTART = {".lock", "earlier"}
"""Names in a run's folder that are not moved away when the run is started anew."""

Scale = TypedDict("Scale", {"from": Count, "to": Count, "agent_steps": Count})
"""A change of the number of learners, and the total agent steps at that time."""


class _ConfigFile(TypedDict):
    """Keys of `config.json` that are read; `from_dict` checks the config."""

    config: NotRequired[Any]
    resumes: NotRequired[list[dict[str, Any]]]
    scales: NotRequired[list[Scale]]


class _Summary(TypedDict):
    elapsed_s: NotRequired[Number | None]
    mean_return: NotRequired[Number | None]


@dataclass
class RunFolder:
    """A run's folder, which need not exist yet: its paths, and operations on its files.

    Attributes:
        path: the folder.
        config_file: everything that is needed to repeat the run.
        summary_file: how the run ended.
        topology_file: copy of the file of edges, if the run has one.
        fault_plan_file: copy of the fault plan, if the run has one.
        lock_file: locked by the process that trains the run.
        checkpoints: a folder per checkpoint.
        initial_file: parameters of another run, from which the learners have started.
        evaluation_file: JSON lines with the evaluations while it trains.
        evaluation_log: output of the processes of these evaluations.
        consensus_file: JSON lines with the distances between learners.
        events_file: JSON lines with notices, and with deaths and restarts of learners.
        faults_file: JSON lines with the injected faults that have happened.
        tensorboard: event files.
        table_file: metrics as CSV, if `log` has it.
        defects: details of violated guarantees, to be reported; exists only if there are any.
        earlier: a folder per earlier attempt at the run, with its files.
        scale_request: request of `gala scale`; exists while that command waits.
        scale_refusal: why the last such request was refused.
    """

    path: Path

    def __post_init__(self) -> None:
        self.config_file = self.path / "config.json"
        self.summary_file = self.path / "summary.json"
        self.topology_file = self.path / "topology.json"
        self.fault_plan_file = self.path / "faults.json"
        self.lock_file = self.path / ".lock"
        self.checkpoints = self.path / "checkpoints"
        self.initial_file = self.path / "initial.safetensors"
        self.evaluation_file = self.path / "metrics" / "evaluation.jsonl"
        self.evaluation_log = self.path / "logs" / "evaluation.log"
        self.consensus_file = self.path / "metrics" / "consensus.jsonl"
        self.events_file = self.path / "metrics" / "events.jsonl"
        self.faults_file = self.path / "metrics" / "faults.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.table_file = self.path / "metrics.csv"
        self.defects = self.path / "defects"
        self.earlier = self.path / "earlier"
        self.scale_request = self.path / ".scale.json"
        self.scale_refusal = self.path / ".scale-refused.json"

    def metrics_file(self, learner: int) -> Path:
        """JSON lines with one learner's metrics."""
        return self.path / "metrics" / f"learner_{learner:02d}.jsonl"

    def metrics_files(self) -> list[Path]:
        """Existing metrics files, by rank."""
        files = (self.path / "metrics").glob("learner_*.jsonl")
        ranks = {int(digits[1]): f for f in files if (digits := _METRICS.fullmatch(f.name))}
        return [file for _, file in sorted(ranks.items())]

    @property
    def config_files(self) -> tuple[Path, ...]:
        """The config, and copies of the files that it names, whether they exist or not."""
        return self.config_file, self.topology_file, self.fault_plan_file, self.initial_file

    def log_file(self, learner: int) -> Path:
        """Output of one learner's process, tracebacks included."""
        return self.path / "logs" / f"learner_{learner:02d}.log"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self.config_file.is_file()

    def check_unused(self) -> None:
        """Raise a UserError if a run in this folder would overwrite anything."""
        self._check_name()
        if self.exists:
            raise UserError(
                f"run folder {self.path} already holds a run: choose another --out, or continue "
                f"that run with: {self.command_to_continue()}"
            )
        names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else {""}
        if self.path.exists() and names - KEPT_ON_RESTART:
            raise UserError(f"run folder {self.path} is not empty: choose another --out")
        ancestor = next(p for p in self.path.absolute().parents if p.exists())
        if not ancestor.is_dir() or not os.access(ancestor, os.W_OK | os.X_OK):
            raise UserError(
                f"run folder {self.path} cannot be written in {ancestor}: choose another --out"
            )

    def check_plain(self) -> None:
        """Raise a UserError if the folder holds links, pipes or devices."""
        self._check_name()
        for path in self.path.rglob("*"):
            if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
                raise UserError(f"{path} is a link or a device: replace it with a plain file")

    def _check_name(self) -> None:
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"run folder {self.path} is not UTF-8: choose another name") from error

    def checkpointed_agent_steps(self) -> int | None:
        """Return the agent steps of the newest checkpoint, by its name; None without one."""
        folders = checkpoint_folders(self.checkpoints)
        return agent_steps_of(folders[0]) if folders else None

    def command_to_continue(self) -> str:
        """Return the command that continues the run, or restarts it if it has no checkpoint yet.

        Raises:
            UserError: when there is no run or its config cannot be read.
        """
        run = shlex.quote(str(self.path))
        if checkpoint_folders(self.checkpoints):
            return f"gala resume {run}"
        return f"gala train {self.read_config().method} --resume --out {run}"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run against training by other processes; the lock ends with this process.

        Raises:
            UserError: when another process has the lock.
        """
        with self.lock_file.open("a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"run {self.path} is being trained by another process: wait for it or stop it"
                ) from error
            yield

    def check_unlocked(self) -> None:
        """Raise a UserError if another process is training the run."""
        if self.lock_file.is_file():
            with self.lock():
                pass

    @property
    def is_locked(self) -> bool:
        """Whether a process is training the run."""
        try:
            self.check_unlocked()
        except UserError:
            return True
        return False

    def create(self, config: TrainConfig) -> None:
        """Create the folder, with `config.json` and copies of the files that the config names.

        Raises:
            UserError: when the folder is in use or cannot be written.
        """
        self.check_unused()
        try:
            for folder in (self.checkpoints, self.path / "metrics", self.path / "logs"):
                folder.mkdir(parents=True)
            if topology.is_path(config.gossip.topology_name):
                shutil.copyfile(config.gossip.topology_name, self.topology_file)
            if config.fault_plan is not None:
                shutil.copyfile(config.fault_plan, self.fault_plan_file)
        except OSError as error:
            raise UserError(
                f"run folder {self.path} cannot be written ({error.strerror}): choose another --out"
            ) from error
        try:
            write_json(self.config_file, {"config": configs.to_dict(config), **provenance()})
        except StorageError as error:
            raise UserError(f"{error}: choose another --out") from error

    def _read_config_file(self) -> _ConfigFile:
        return decode(_ConfigFile, read_json(self.config_file), str(self.config_file))

    def record_resume(self, config: TrainConfig) -> None:
        """Record that the run is resumed now, with its config and what has changed in it.

        Raises:
            UserError: when the folder cannot be written.
        """
        content, before = self._read_config_file(), self.read_config()
        content["config"] = configs.to_dict(config)
        entry = {
            **provenance(),
            "agent_steps": self.checkpointed_agent_steps(),
            "changes": differences(before, config),
        }
        content["resumes"] = [*content.get("resumes", []), entry]
        try:
            write_json(self.config_file, {**content})
        except StorageError as error:
            raise UserError(f"{error}: make room, then resume again") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.config_file} holds what no run writes ({error})") from error

    def record_scale(self, before: int, learners: int, agent_steps: int, capacity: int) -> None:
        """Record a change of the number of learners.

        Args:
            before: number of learners up to now.
            learners: number of learners from now on.
            agent_steps: agent steps of all learners together, now.
            capacity: number of learners for which the run has room.

        Raises:
            StorageError: when the folder cannot be written.
        """
        content = self._read_config_file()
        change = {"time": timestamp(), "from": before, "to": learners, "agent_steps": agent_steps}
        config = content["config"] | {"learners": learners, "max_learners": capacity}
        scales = [*content.get("scales", []), change]
        write_json(self.config_file, {**content, "config": config, "scales": scales})

    def read_scales(self) -> list[Scale]:
        """Return all changes of the number of learners.

        Raises:
            UserError: when they cannot be read.
        """
        return self._read_config_file().get("scales", [])

    def max_learners_so_far(self, config: TrainConfig) -> int:
        """Return the largest number of learners that the run has or has had, given its config."""
        return max([config.learners or 1, *(change["from"] for change in self.read_scales())])

    def read_config(self) -> TrainConfig:
        """Return the run's config; files that it names are the copies in this folder.

        Raises:
            UserError: when there is no run or its config cannot be read.
        """
        if not self.exists:
            raise UserError(f"{self.path} holds no run: there is no {self.config_file.name} in it")
        values: Any = self._read_config_file().get("config", {})
        return self.with_own_files(configs.from_dict(values, algorithms_of(values)))

    def with_own_files(self, config: _Config) -> _Config:
        """Return the config with this folder's copies of the files that it names."""
        if self.fault_plan_file.is_file():
            config = dataclasses.replace(config, fault_plan=str(self.fault_plan_file))
        if self.initial_file.is_file():
            config = dataclasses.replace(config, init_from=str(self.initial_file))
        if not self.topology_file.is_file():
            return config
        gossip = dataclasses.replace(config.gossip, topology=str(self.topology_file))
        return dataclasses.replace(config, gossip=gossip)

    def read_summary(self) -> dict[str, Any]:
        """Return the summary of the run, empty if the run has not ended yet.

        Raises:
            UserError: when it cannot be read.
        """
        summary = read_json(self.summary_file) if self.summary_file.is_file() else {}
        decode(_Summary, summary, str(self.summary_file))
        return summary


def checkpoint_folders(checkpoints: Path) -> list[Path]:
    """Return the folders of checkpoints, newest first, by name."""
    named = (path for path in checkpoints.glob("step_*") if _CHECKPOINT.fullmatch(path.name))
    return sorted(named, reverse=True)


def agent_steps_of(checkpoint: Path) -> int:
    """Return the agent steps of a checkpoint, by the name of its folder."""
    return int(checkpoint.name.removeprefix("step_").removesuffix(REPLACEMENT))


def default_run_folder(config: TrainConfig, stamp: str) -> Path:
    """Return the folder of a run without `out`: runs/METHOD-ENV-STAMP."""
    name = f"{config.method}-{config.env}-{stamp}"
    return Path("runs") / name.replace("/", "_").replace(":", "_")

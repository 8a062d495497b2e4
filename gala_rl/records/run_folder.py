"""The folder of a run: where everything is, made once and never overwritten."""

import dataclasses
import fcntl
import json
import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gala_rl.config import run as configs
from gala_rl.config.run import TrainConfig
from gala_rl.errors import StorageError, UserError
from gala_rl.gossip import topology
from gala_rl.methods import ALGORITHMS
from gala_rl.records.plausible import are_counts, is_number
from gala_rl.records.provenance import provenance, timestamp

REPLACING = "-new"
"""What the name of a checkpoint that replaces another ends with until that is gone."""
_CHECKPOINT = re.compile(f"step_[0-9]{{12,19}}({REPLACING})?")
_METRICS = re.compile("learner_([0-9]{2,4}).jsonl")
_MOST_JSON_BYTES = 1 << 24
_Config = TypeVar("_Config", bound=TrainConfig)

STAYS = {".lock", "earlier"}
"""What a run's folder keeps when the run is started anew."""


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run's folder; makes no promise that they exist."""

    path: Path

    @property
    def config_file(self) -> Path:
        """Everything needed to repeat the run."""
        return self.path / "config.json"

    @property
    def summary_file(self) -> Path:
        """How it ended."""
        return self.path / "summary.json"

    @property
    def checkpoints(self) -> Path:
        """One folder a checkpoint."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.path / "tensorboard"

    @property
    def scale_request(self) -> Path:
        """There while somebody waits for the run to go on with another number of learners."""
        return self.path / ".scale.json"

    @property
    def scale_refusal(self) -> Path:
        """Why the last request was refused, for whoever waits for it."""
        return self.path / ".scale-refused.json"

    def metrics_file(self, learner: int) -> Path:
        """JSON lines of one learner."""
        return self.path / "metrics" / f"learner_{learner:02d}.jsonl"

    def metrics_files(self) -> list[Path]:
        """JSON lines of each learner that has written any, by rank."""
        files = (self.path / "metrics").glob("learner_*.jsonl")
        ranks = {int(digits[1]): f for f in files if (digits := _METRICS.fullmatch(f.name))}
        return [file for _, file in sorted(ranks.items())]

    @property
    def consensus_file(self) -> Path:
        """JSON lines of how far the learners are apart."""
        return self.path / "metrics" / "consensus.jsonl"

    @property
    def defects(self) -> Path:
        """What should not have happened, kept to be reported; there if there is any."""
        return self.path / "defects"

    def log_file(self, learner: int) -> Path:
        """What one learner's process printed, with its tracebacks."""
        return self.path / "logs" / f"learner_{learner:02d}.log"

    @property
    def earlier(self) -> Path:
        """What was there when the run was started anew, a folder an attempt."""
        return self.path / "earlier"

    @property
    def exists(self) -> bool:
        """Whether a run is there."""
        return self.config_file.is_file()

    def check_unused(self) -> None:
        """Raise a UserError if there is anything at the path that a run could overwrite."""
        self._check_name()
        if self.exists:
            raise UserError(
                f"run folder {self.path} already holds a run: choose another --out, or continue "
                f"that run with: {self.command_to_go_on()}"
            )
        names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else {""}
        if self.path.exists() and names - STAYS:
            raise UserError(f"run folder {self.path} is not empty: choose another --out")
        ancestor = next(p for p in self.path.absolute().parents if p.exists())
        if not ancestor.is_dir() or not os.access(ancestor, os.W_OK | os.X_OK):
            raise UserError(
                f"run folder {self.path} cannot be written in {ancestor}: choose another --out"
            )

    @property
    def topology_file(self) -> Path:
        """The run's own copy of the edges it was given, where it was given a file."""
        return self.path / "topology.json"

    @property
    def fault_plan_file(self) -> Path:
        """The run's own copy of the faults that it was given, if it was."""
        return self.path / "faults.json"

    @property
    def faults_file(self) -> Path:
        """JSON lines of the faults that have happened."""
        return self.path / "metrics" / "faults.jsonl"

    def checkpointed_agent_steps(self) -> int | None:
        """Agent steps at the newest checkpoint, by its name; None without one."""
        folders = checkpoint_folders(self.checkpoints)
        names = [folder.name.removeprefix("step_").removesuffix(REPLACING) for folder in folders]
        return int(names[0]) if names else None

    def command_to_go_on(self) -> str:
        """The command that continues the run, or starts it anew if it has no checkpoint yet.

        Raises:
            UserError: when there is no run or its config cannot be read.
        """
        run = shlex.quote(str(self.path))
        if checkpoint_folders(self.checkpoints):
            return f"gala resume {run}"
        return f"gala train {self.read_config().method} --resume --out {run}"

    def create(self, config: TrainConfig) -> None:
        """Make the folder and write `config.json`, and what it refers to.

        Raises:
            UserError: when the folder is in use or cannot be written.
        """
        self.check_unused()
        try:
            for folder in (self.checkpoints, self.path / "metrics", self.path / "logs"):
                folder.mkdir(parents=True)
            if not topology.is_name(config.gossip.topology):
                shutil.copyfile(config.gossip.topology, self.topology_file)
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

    @property
    def lock_file(self) -> Path:
        """Locked by the process that trains the run."""
        return self.path / ".lock"

    def check_free(self) -> None:
        """Raise a UserError if the run is being trained by another process."""
        if self.lock_file.is_file():
            with self.hold():
                pass

    @property
    def is_held(self) -> bool:
        """Whether a process trains the run."""
        try:
            self.check_free()
        except UserError:
            return True
        return False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep every other process from training the run; the lock ends with this process.

        Raises:
            UserError: when another process trains it.
        """
        with self.lock_file.open("a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"run {self.path} is being trained by another process: wait for it or stop it"
                ) from error
            yield

    def note_resume(self, config: TrainConfig) -> None:
        """Record that the run goes on, perhaps with more agent steps, and on what.

        Raises:
            UserError: when the folder cannot be written.
        """
        content = read_json(self.config_file)
        resumes = [*entries(self.config_file, content, "resumes"), provenance()]
        content |= {"config": configs.to_dict(config), "resumes": resumes}
        try:
            write_json(self.config_file, content)
        except StorageError as error:
            raise UserError(f"{error}: make room, then resume again") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.config_file} holds what no run writes ({error})") from error

    def note_scale(self, before: int, learners: int, agent_steps: int, capacity: int) -> None:
        """Record that the run goes on with another number of learners, and for how many it is made.

        Raises:
            StorageError: when the folder cannot be written.
        """
        content = read_json(self.config_file)
        change = {"time": timestamp(), "from": before, "to": learners, "agent_steps": agent_steps}
        content["config"] |= {"learners": learners, "max_learners": capacity}
        write_json(self.config_file, content | {"scales": [*self.read_scales(), change]})

    def read_scales(self) -> list[dict[str, Any]]:
        """Every change of the number of learners: `time`, `from`, `to` and `agent_steps`.

        Raises:
            UserError: when what is there is none.
        """
        scales = entries(self.config_file, read_json(self.config_file), "scales")
        for change in scales:
            if not are_counts([change.get(name) for name in ("from", "to", "agent_steps")]):
                raise UserError(f"{self.config_file} has {change!r:.80} in 'scales': no change")
        return scales

    def learners_ever(self, config: TrainConfig) -> int:
        """Number of learners that the run has or has had, given its config."""
        before: list[int] = [change["from"] for change in self.read_scales()]
        return max([config.learners or 1, *before])

    def read_config(self) -> TrainConfig:
        """The config of the run in this folder; files that it was given are read from there too.

        Raises:
            UserError: when there is no run or its config cannot be read.
        """
        if not self.exists:
            raise UserError(f"{self.path} holds no run: there is no {self.config_file.name} in it")
        config = configs.from_dict(read_json(self.config_file).get("config", {}), ALGORITHMS)
        return self.with_own_files(config)

    def with_own_files(self, config: _Config) -> _Config:
        """The config with the copies that this folder has of the files that it was given."""
        if self.fault_plan_file.is_file():
            config = dataclasses.replace(config, fault_plan=str(self.fault_plan_file))
        if not self.topology_file.is_file():
            return config
        gossip = dataclasses.replace(config.gossip, topology=str(self.topology_file))
        return dataclasses.replace(config, gossip=gossip)

    def read_summary(self) -> dict[str, Any]:
        """The summary of the run, empty if it has not ended yet.

        Raises:
            UserError: when it cannot be read.
        """
        summary = read_json(self.summary_file) if self.summary_file.is_file() else {}
        if not all(is_number(summary.get(name) or 0) for name in ("elapsed_s", "mean_return")):
            raise UserError(f"{self.summary_file} does not tell numbers: remove it")
        return summary

    def check_plain(self) -> None:
        """Raise a UserError if writing in the folder could write, or wait, somewhere else."""
        self._check_name()
        for path in self.path.rglob("*"):
            if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
                raise UserError(f"{path} is no file of the run's own: put in its place what it is")

    def _check_name(self) -> None:
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"run folder {self.path} is not UTF-8: choose another name") from error


def checkpoint_folders(checkpoints: Path) -> list[Path]:
    """Folders of checkpoints, by their names; the newest first."""
    named = (path for path in checkpoints.glob("step_*") if _CHECKPOINT.fullmatch(path.name))
    return sorted(named, reverse=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that a reader finds the old file or the new one, whole.

    Raises:
        StorageError: when it cannot be written; the old file is there then.
    """
    aside = path.with_name(path.name + ".partial")
    try:
        with aside.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror})") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: when the file is not one.
    """
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise ValueError(f"more than {_MOST_JSON_BYTES:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def entries(path: Path, content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects in what was read from a file; empty if it is not there.

    Raises:
        UserError: when it is something else.
    """
    found = content.get(name, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise UserError(f"{path} cannot be read: {name} must be a list of objects")
    return found

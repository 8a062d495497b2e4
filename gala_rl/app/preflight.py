"""Checks commands before they start; imports no torch, so that mistakes are reported at once."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from gala_rl.app.early_stop import check_may_go_on
from gala_rl.app.game_limit import max_steps_rows
from gala_rl.checks import check_rows
from gala_rl.checks.config import check_config, check_new_config, check_resolved
from gala_rl.checks.initial import check_init
from gala_rl.checks.replay import disk_rows
from gala_rl.config.changes import changed
from gala_rl.config.fields import check
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.faults.plan import read_plan
from gala_rl.gossip.topology import resolve_when
from gala_rl.graph import graph_of
from gala_rl.methods.resolving import capacity, resolve, why_not_scaled
from gala_rl.records.replay_file import replays_bytes
from gala_rl.records.run_folder import RunFolder, default_run_folder
from gala_rl.records.selection import NEWEST, steps_of


def check_start(
    config: TrainConfig, settings: Mapping[str, Any] = MappingProxyType({})
) -> ResolvedConfig:
    """Check a new run; return its config, resolved, if it can be started on this machine.

    Args:
        config: config of the run.
        settings: settings of the algorithm, by name; the others are the method's own.

    Raises:
        UserError: naming the first thing that is wrong and its remedy.
    """
    resolved = check_new_config(config, settings)
    check_rows(disk_rows(resolved, Path(config.out or default_run_folder(config, "new"))))
    check_init(resolved)
    if config.out is not None:
        RunFolder(Path(config.out)).check_unused()
    return resolved


def check_resume(
    run: str | Path,
    changes: Mapping[str, Any] = MappingProxyType({}),
    checkpoint: str | int = NEWEST,
) -> ResolvedConfig:
    """Check a run to resume; return its config with other values of some settings.

    Args:
        run: folder of the run.
        changes: new values by name, such as "steps" or "algorithm.learning_rate".
        checkpoint: "newest", "best" or agent steps: where it goes on.

    Raises:
        UserError: when there is nothing to continue, nothing left to do, or a setting that may not
            change.
    """
    folder = RunFolder(Path(run))
    before = folder.read_config()
    folder.check_plain()
    folder.check_unlocked()
    summary = folder.read_summary()
    config = changed(before, changes)
    resolved = check_config(config)
    check_rows(disk_rows(resolved, folder.path, replays_bytes(folder.checkpoints)))
    made = steps_of(folder, checkpoint)
    if made is None:
        command = folder.command_to_continue()
        raise UserError(f"{run} has no checkpoint yet: start it anew: {command}")
    if made >= resolved.steps:
        raise UserError(
            f"{run} is complete: it has made {made:,} of {resolved.steps:,} agent steps; "
            f"go on with a larger --steps"
        )
    if checkpoint == NEWEST:
        check_may_go_on(run, summary, before, config)
    return resolved


def check_scale(run: str | Path, learners: int) -> ResolvedConfig:
    """Check a change of the number of learners of a run; return the run's current config.

    Raises:
        UserError: when it is impossible, or when the run is not being trained.
    """
    folder = RunFolder(Path(run))
    config = resolve(folder.read_config())
    most, reason = capacity(config), why_not_scaled(config)
    check_rows(
        [
            (reason, f"run {run} cannot be scaled: {reason}"),
            (
                learners > most,
                f"learners {learners:,} is too many for run {run}: it was started with room for "
                f"{most:,}; a new run has more with --max-learners",
            ),
            (
                learners == config.learners,
                f"learners {learners} is what run {run} has: give another number",
            ),
        ]
    )
    scaled = dataclasses.replace(config, learners=learners)
    check(scaled)
    check_resolved(scaled)
    if not folder.is_locked:
        raise UserError(
            f"run {run} is not being trained: start it with {folder.command_to_continue()} first"
        )
    return config


def check_unchanged(run: str | Path, config: TrainConfig, given: Mapping[str, Any]) -> None:
    """Check that given settings are equal to those of the run to be continued.

    Args:
        run: folder of the run.
        config: config with the given settings, except those of the algorithm.
        given: values of the given settings by name, such as "seed" or "algorithm.discount".

    Raises:
        UserError: when one differs; only `steps` and `out` may.
    """
    folder = RunFolder(Path(run))
    if not folder.exists:
        return
    old = folder.read_config()
    same = {"steps", "out"}
    if config.learners in [change["from"] for change in folder.read_scales()[:1]]:
        same.add("learners")  # The run was started with them, and has been scaled since.
    learners = old.learners or 1
    if graph_of(config, learners).rounds == graph_of(old, learners).rounds:
        same.add("gossip.topology")  # Equal graphs may have different names.
    if _when(config) == _when(old):
        same.add("gossip.when")
    if _faults(config) == _faults(old):
        same.add("fault_plan")
    if old.init_from is not None:
        same.add("init_from")  # The run has a copy of its own.
    for name, value in {"method": config.method, **given}.items():
        if name not in same and value != (before := _value_of(old, name)):
            remedy = "leave it out, or choose another --out"
            if isinstance(value, bool):
                option = name.rpartition(".")[2].replace("_", "-")
                flag = f"--{option}" if value else f"--no-{option}"
                raise UserError(f"run {run} was started without {flag}: {remedy}")
            raise UserError(
                f"{name} {value} is not what run {run} was started with ({before}): {remedy}"
            )


def _when(config: TrainConfig) -> object:
    return resolve_when(config.gossip.when, config.gossip.topology_name)


def _faults(config: TrainConfig) -> object:
    return None if config.fault_plan is None else read_plan(config.fault_plan)


def _value_of(config: Any, name: str) -> Any:
    for part in name.split("."):
        # None: another algorithm may lack the setting.
        config = getattr(config, part, None)
    return config


Policy = Literal["greedy", "sample"]
"""How actions are chosen: the best ones, or random ones as in training."""

ExportFormat = Literal["onnx", "torch"]
"""Format of an exported policy."""

EXPORT_SUFFIXES: dict[ExportFormat, str] = {"onnx": ".onnx", "torch": ".pt2"}
_ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def check_export(run: str | Path, file: str | Path, format: ExportFormat, learner: str) -> None:
    """Raise a UserError if the policy of a run cannot be exported."""
    check_evaluation(run, 1, learner)
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    folder, suffix = Path(file).parent, EXPORT_SUFFIXES[format]
    check_rows(
        [
            (learner == "all", "learner 'all' are several networks: give a rank or mean"),
            (
                format == "onnx" and bool(missing),
                f"format onnx needs {', '.join(missing)}: pip install 'gala-rl[export]', or use "
                f"--format torch",
            ),
            (Path(file).suffix != suffix, f"file {file}: choose a name that ends in {suffix}"),
            (not folder.is_dir(), f"file {file}: folder {folder} does not exist, create it first"),
            (Path(file).is_dir(), f"file {file} is a folder: choose another --out"),
        ]
    )


def check_evaluation(
    run: str | Path,
    episodes: int,
    learner: str,
    seed: int = 0,
    max_steps: int | None = None,
    checkpoint: str | int = NEWEST,
) -> None:
    """Raise a UserError if a run cannot be evaluated."""
    folder = RunFolder(Path(run))
    ranks = [str(rank) for rank in range(folder.max_learners_so_far(folder.read_config()))]
    check_rows(
        [
            (
                steps_of(folder, checkpoint) is None,
                f"{run} has no checkpoint yet: nothing to evaluate",
            ),
            (episodes < 1, f"episodes {episodes} is too small: it must be at least 1"),
            (
                not 0 <= seed < 2**31,
                f"seed {seed} is impossible: it must be from 0 to {2**31 - 1}",
            ),
            *max_steps_rows(max_steps),
            (
                learner not in (*ranks, "all", "mean"),
                f"learner {learner!r} is unknown: choose {', '.join(ranks)}, all or mean",
            ),
        ]
    )

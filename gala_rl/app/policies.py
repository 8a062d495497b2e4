"""Reads the policies of a run: one of its checkpoints, and each learner's network in it."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gala_rl.agent import build_model
from gala_rl.checks.checkpoint import check_vector
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError
from gala_rl.flat import FlatParameters
from gala_rl.methods.resolving import resolve
from gala_rl.models.network import Network
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.records.selection import NEWEST, selected

MEAN = "mean"


def selected_checkpoint(
    run: str | Path, choice: str | int = NEWEST
) -> tuple[ResolvedConfig, Checkpoint]:
    """Return the config of a run, and one of its checkpoints; see `open_selected`.

    Raises:
        UserError: when there is no run or no such checkpoint.
    """
    config = resolve(RunFolder(Path(run)).read_config())
    return config, open_selected(run, choice)


def open_selected(run: str | Path, choice: str | int = NEWEST) -> Checkpoint:
    """Return a checkpoint of a run.

    Args:
        run: folder of the run.
        choice: "newest", "best" or agent steps.

    Raises:
        UserError: when there is no such checkpoint.
    """
    folder = RunFolder(Path(run))
    path = selected(folder, choice)
    if path is not None:
        return checkpoint.open_checkpoint(path)
    saved = checkpoint.newest(folder.checkpoints)
    if saved is None:
        raise UserError(f"{run} has no checkpoint yet: nothing to play")
    return saved


def parameters_of(saved: Checkpoint, learner: str, size: int) -> dict[str, Tensor]:
    """Return parameter vectors [P], P = `size`, by their name in the results.

    Args:
        saved: the checkpoint.
        learner: a rank, "all" for each learner, or "mean" for the average of their parameters.
        size: number of parameters, padding included.

    Raises:
        UserError: when the checkpoint has no such learner, or vectors of another size.
    """
    ranks = saved.learners()

    def read(rank: int) -> Tensor:
        tensors = saved.load(rank).tensors
        check_vector(saved, tensors, "parameters", size)
        return tensors["parameters"]

    if learner == MEAN:
        return {MEAN: torch.stack([read(rank) for rank in ranks]).mean(dim=0)}
    if learner == "all":
        return {str(rank): read(rank) for rank in ranks}
    if not learner.isdigit() or int(learner) not in ranks:
        raise UserError(
            f"learner {learner!r} is not in {saved.path}: choose one of "
            f"{', '.join(map(str, ranks))}, all or mean"
        )
    return {learner: read(int(learner))}


def network_of(config: ResolvedConfig, saved: Checkpoint, learner: str) -> Network:
    """Return the network of one learner, or of the learners' mean, on the CPU.

    Raises:
        UserError: as `parameters_of`, and for "all", which are several networks.
    """
    if learner == "all":
        raise UserError("learner 'all' are several networks: give a rank or mean")
    environment = config.environment
    network = build_model(config, environment.observation, environment.action)
    flat = FlatParameters(network)
    flat.load(parameters_of(saved, learner, flat.values.numel())[learner])
    return network


def in_float32(config: ResolvedConfig) -> ResolvedConfig:
    """Return the config with a network that computes in float32, whatever it was trained in."""
    return replace(config, precision="float32")

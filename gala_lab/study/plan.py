"""The plan of a study: its cells, their seeds, and its file with a row per finished run."""

import dataclasses
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gala_lab.study.cell import Cell
from gala_lab.study.options import NEED_HALVES, RANDOM_MATCHING, StudyOptions
from gala_rl.config import fields
from gala_rl.errors import StorageError, UserError
from gala_rl.gossip.topology import NAMES
from gala_rl.records.run_folder import RunFolder
from gala_rl.spaces import SHALLOW_SIDE

TOPOLOGIES = (*NAMES, RANDOM_MATCHING)

ROWS = "rows.jsonl"
"""File in the folder of a study: a row per finished run."""
_SETTINGS = {entry.name for entry in dataclasses.fields(Cell)}
_BATCH_SIMULATORS = 1_024
"""Maximum number of simulators that are trained together, so that their data fit into the cache."""


def cells_of(options: StudyOptions) -> list[Cell]:
    """Return the cells, each once, in the order of the options.

    Raises:
        UserError: when a cell cannot be trained.
    """
    found: dict[Cell, None] = {}
    for env, learners in itertools.product(options.envs, options.learners):
        if options.simulators_total % learners:
            raise UserError(
                f"simulators_total {options.simulators_total} cannot be shared by {learners} "
                f"learners: use a multiple of {learners}"
            )
        for optimizer, rate in itertools.product(options.optimizers, options.rates):
            values: dict[str, Any] = {
                "env": env,
                "algorithm": options.algorithm,
                "learners": learners,
                "simulators": options.simulators_total // learners,
                "steps": options.steps,
                "rate": rate,
                "optimizer": optimizer,
            }
            # One learner does not gossip, so settings of gossip make no further cells.
            ways = [{}] if learners == 1 else _ways_of_gossip(options)
            found |= dict.fromkeys(Cell(**values | way) for way in ways)
    for cell in found:
        _check(cell)
    return list(found)


def _ways_of_gossip(options: StudyOptions) -> list[dict[str, Any]]:
    axes = {
        "topology": options.topologies,
        "second_moment": options.second_moments,
        "bias_correction": options.bias_corrections,
        "delay": options.delays,
        "missed": options.missed,
        "warm_up": options.warm_ups,
    }
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _check(cell: Cell) -> None:
    fields.check(cell)
    environment = cell.config.environment
    if environment.action.sizes or not environment.action.is_discrete:
        raise UserError(f"env {cell.env!r} has no single discrete action: a study needs one")
    sides = environment.observation.shape
    if environment.observation.has_pixels and (len(sides) != 3 or min(sides[1:]) >= SHALLOW_SIDE):
        raise UserError(f"env {cell.env!r} has large images: a study takes vectors or small ones")
    if cell.second_moment in NEED_HALVES and cell.simulators < 2 and cell.learners > 1:
        raise UserError(
            f"second_moment {cell.second_moment} needs two half-batches: one simulator per learner "
            f"has none; use more --simulators-total"
        )
    if cell.topology not in TOPOLOGIES:
        raise UserError(
            f"topology {cell.topology!r} is unknown: use one of {', '.join(TOPOLOGIES)}"
        )
    if cell.rounds < 1:
        raise UserError(
            f"steps {cell.steps:,} is too small: an update of all learners takes "
            f"{cell.learners * cell.config.update_agent_steps:,}"
        )


@dataclass(frozen=True)
class Batch:
    """Seeds of a cell that are trained together."""

    cell: Cell
    seeds: range


def batches_of(cells: Sequence[Cell], seeds: int, done: Sequence[dict[str, Any]]) -> list[Batch]:
    """Return the batches left to train: the first of every cell, then the second, and so on.

    Args:
        cells: cells of the study.
        seeds: number of seeds per cell, from 0.
        done: rows of finished runs.
    """
    finished = {_key(row["cell"], row["seed"]) for row in done}
    left: list[list[Batch]] = []
    for cell in cells:
        size = max(1, _BATCH_SIMULATORS // (cell.learners * cell.simulators))
        parts = [range(first, min(first + size, seeds)) for first in range(0, seeds, size)]
        left.append(
            [
                Batch(cell, part)
                for part in parts
                if any(_key(asdict(cell), seed) not in finished for seed in part)
            ]
        )
    return [batch for part in itertools.zip_longest(*left) for batch in part if batch is not None]


def prepare(folder: Path) -> None:
    """Create the folder of a study; raise a UserError if it holds something else."""
    file = folder / ROWS
    if not file.is_file():
        RunFolder(folder).check_unused()
    elif (content := file.read_bytes()) and not content.endswith(b"\n"):
        # After a power cut the last row may be incomplete: that run is trained again.
        os.truncate(file, content.rfind(b"\n") + 1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"folder {folder} cannot be written ({error.strerror}): choose another --out"
        ) from error


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of finished runs; those of a later batch replace earlier ones.

    Raises:
        UserError: when the file holds something else.
    """
    file = folder / ROWS
    if not file.is_file():
        return []
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            # A setting that is missing would be taken for today's default.
            Cell(**{name: row["cell"][name] for name in _SETTINGS | set(row["cell"])})
            rows[_key(row["cell"], row["seed"])] = row
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{file}, line {number} is not a row of this version of gala-rl: choose another "
                f"folder"
            ) from error
    return list(rows.values())


def append_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of finished runs.

    Raises:
        StorageError: when they cannot be written.
    """
    try:
        with (folder / ROWS).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    except OSError as error:
        raise StorageError(f"{folder / ROWS} cannot be written: {error.strerror}") from error


def _key(cell: dict[str, Any], seed: int) -> str:
    return json.dumps([cell, seed], sort_keys=True)

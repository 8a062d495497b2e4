"""Trains the batches of a study, in this process or in several, and keeps a row per run."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gala_lab.study.plan import Batch, append_rows
from gala_rl.processes.spawn import end_with_parent
from gala_rl.records.provenance import provenance

Work = Callable[[Batch], list[dict[str, Any]]]
"""Trains a batch; returns a row per seed."""


def train_all(folder: Path, batches: list[Batch], at_once: int, console: Console) -> bool:
    """Train all batches; write their rows as soon as they are trained.

    Args:
        folder: folder of the study.
        batches: batches left to train.
        at_once: number of processes; 1: train in this process.
        console: shows progress.

    Returns:
        Whether the user stopped it.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("runs", total=sum(len(batch.seeds) for batch in batches))
        work = partial(_rows_of, origin=provenance())
        found = map(work, batches) if at_once == 1 else _in_processes(work, batches, at_once)
        try:
            for rows in found:
                append_rows(folder, rows)
                progress.advance(task, len(rows))
        except KeyboardInterrupt:
            return True
    return False


def _in_processes(work: Work, batches: list[Batch], count: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each batch as soon as it is trained."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=end_with_parent)
    try:
        for future in as_completed([pool.submit(work, batch) for batch in batches]):
            yield future.result()
    finally:
        processes = list(pool._processes.values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()


def _rows_of(batch: Batch, *, origin: dict[str, Any]) -> list[dict[str, Any]]:
    from gala_lab.study.training import train

    start, used = time.time(), time.process_time()
    results = train(batch.cell, batch.seeds)
    shared = {
        "cell": asdict(batch.cell),
        "trained_with": [batch.seeds.start, batch.seeds.stop],
        "seconds": round(time.time() - start, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
        "commit": origin["commit"],
        "started": origin["started"],
        "machine": origin["machine"],
    }
    return [{**shared, **result._asdict()} for result in results]

"""Serves the page of a run that is about to start, from a process of its own."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from gala_rl.dashboard.serve import OpenPort, listen, serve
from gala_rl.errors import UserError


@contextlib.contextmanager
def dashboard_beside(run: Path, port: int) -> Iterator[str]:
    """Serve the page of one run while the block runs; yield the address of the page.

    Args:
        run: folder of the run, which need not exist yet.
        port: port to listen at; any free one if it is in use.
    """
    try:
        opened = listen("127.0.0.1", port)
    except UserError:
        opened = listen("127.0.0.1", 0)
    # Spawned, so that it inherits neither the parent's memory nor its open files.
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(opened, run.absolute()), name="dashboard", daemon=True
    )
    try:
        process.start()
        opened.socket.close()
        yield opened.address
    finally:
        process.terminate()
        process.join()


def _serve(opened: OpenPort, run: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        serve(opened, [run])


def _end_with_parent() -> None:
    """End this process when its parent has ended, killed or not."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)

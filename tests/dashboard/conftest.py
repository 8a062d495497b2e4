"""A dashboard's server, in a thread of the test."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from gala_rl.dashboard.hub import Hub
from gala_rl.dashboard.serve import OpenPort, listen
from gala_rl.dashboard.server import make_app


@contextlib.contextmanager
def serving(path: Path, host: str = "127.0.0.1", *, with_token: bool = False) -> Iterator[OpenPort]:
    """Serve the runs in a folder at a free port."""
    listener = listen(host, 0, with_token=with_token)
    config = uvicorn.Config(
        make_app(Hub([path]), listener.guard),
        log_level="error",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener.socket]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield listener
    finally:
        server.should_exit = True
        thread.join()
        listener.socket.close()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Address of a dashboard of the runs in the test's folder."""
    with serving(tmp_path) as listener:
        yield listener.address

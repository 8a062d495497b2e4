"""The command `gala dashboard`: shows runs on a live page in the browser."""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from gala_rl.cli.console import say
from gala_rl.cli.options import count
from gala_rl.cli.parser import add_command
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError, counted

DEFAULT_PORT = 8787
_Config = TypeVar("_Config", bound=TrainConfig)
_LARGEST_PORT = 65_535


def add_dashboard(commands: Any) -> None:
    """Add `dashboard` to the commands of `gala`."""
    parser = add_command(
        commands,
        "dashboard",
        "show runs on a live page in the browser",
        _dashboard,
        "gala dashboard runs",
        "gala dashboard runs/first runs/second --port 8000",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        default=["runs"],
        metavar="RUN|FOLDER",
        help="folder of a run, or of several, also of those that start later (default: runs)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address of this machine to listen at; others than loopback need the token that is "
        "printed (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--port",
        type=count,
        default=DEFAULT_PORT,
        metavar="N",
        help=f"port to listen at; 0: any free one (default: {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--token",
        action="store_true",
        help="require a token on loopback, too, where other users of this machine could connect",
    )


def with_folder(config: _Config) -> _Config:
    """Return the config with a folder for the run, so that it is known before the run starts."""
    from gala_rl.records.run_folder import default_run_folder

    folder = config.out or default_run_folder(config, time.strftime("%Y%m%d-%H%M%S"))
    return replace(config, out=str(folder))


@contextmanager
def shown(run: str, *, is_wanted: bool) -> Iterator[None]:
    """Serve the page of a run while the block trains it, and say where, if that is wanted."""
    if not is_wanted:
        yield
        return
    with _needed_packages():
        from gala_rl.dashboard.beside import dashboard_beside
    with dashboard_beside(Path(run), DEFAULT_PORT) as address:
        say(f"dashboard at {address} while the run trains; afterwards: gala dashboard {run}")
        yield


@contextmanager
def _needed_packages() -> Iterator[None]:
    """Report a package that is missing, as a mistake with its remedy."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"the dashboard needs {error.name}: pip install 'gala-rl[dashboard]'"
        ) from error


def _dashboard(options: argparse.Namespace) -> int:
    if options.port > _LARGEST_PORT:
        raise UserError(f"port {options.port} is too large: choose one up to {_LARGEST_PORT}")
    with _needed_packages():
        from gala_rl.dashboard.serve import listen, serve
    from gala_rl.dashboard.hub import find_runs

    paths = [Path(run) for run in options.runs]
    found = find_runs(paths)
    listener = listen(options.host, options.port, with_token=options.token)
    say(f"{counted(len(found), 'run')} at {listener.address} (Ctrl-C ends)")
    serve(listener, paths)
    return 0

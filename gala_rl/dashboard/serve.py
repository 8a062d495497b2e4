"""Opens the port and serves the page until it is interrupted."""

import contextlib
import ipaddress
import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvicorn

from gala_rl.dashboard.hub import Hub
from gala_rl.dashboard.server import Guard, make_app
from gala_rl.errors import UserError

_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}
_NICENESS = 10
"""Training comes first on the cores."""


@dataclass(frozen=True)
class OpenPort:
    """An open port.

    Attributes:
        socket: bound and listening.
        address: address of the page, with the token if one is needed.
        guard: decides which requests are answered.
    """

    socket: socket.socket
    address: str
    guard: Guard


def listen(host: str, port: int, *, with_token: bool = False) -> OpenPort:
    """Open a port.

    Args:
        host: name or address of an interface; any but loopback needs a token, which is made here.
        port: 0: any free one.
        with_token: whether a token is needed on a loopback address too.

    Raises:
        UserError: when the host is not of this machine, or the port is in use.
    """
    try:
        family, _, _, _, bound = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family)
    except (OSError, UnicodeError) as error:
        raise UserError(f"host {host!r} is unknown: give an address of this machine") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(bound)
        listener.listen()
    except OSError as error:
        listener.close()
        raise UserError(
            f"port {port} of {host} cannot be opened ({error.strerror}): choose another --port, or "
            f"--port 0 for any free one"
        ) from error
    name, port = listener.getsockname()[:2]
    ip = ipaddress.ip_address(name)
    token = secrets.token_urlsafe(16) if with_token or not ip.is_loopback else None
    shown = socket.gethostname() if ip.is_unspecified else name
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
    hosts = _LOOPBACK_NAMES if ip.is_loopback else _names_of_this_machine() | {host.lower()}
    guard = Guard(frozenset(hosts), port, token)
    return OpenPort(listener, address if token is None else f"{address}?token={token}", guard)


def serve(listener: OpenPort, paths: Sequence[Path]) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        listener: from `listen`.
        paths: folders of runs, or folders to search for runs.
    """
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    config = uvicorn.Config(
        make_app(Hub(paths), listener.guard),
        log_level="error",
        access_log=False,
        lifespan="off",
        # Streams never end by themselves.
        timeout_graceful_shutdown=1,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener.socket])


def _names_of_this_machine() -> set[str]:
    addresses = {
        address.address.partition("%")[0]
        for interface in psutil.net_if_addrs().values()
        for address in interface
        if address.family in (socket.AF_INET, socket.AF_INET6)
    }
    names = {socket.gethostname().lower(), socket.getfqdn().lower()}
    return _LOOPBACK_NAMES | names | {address.lower() for address in addresses}

"""The web application: the page, its files, and the stream of changes.

Only GET is answered, nothing is written, and no path comes from the browser: it names runs by
number. A request is refused if its host is not this server's, since another site could have given
its own name our address (DNS rebinding), or if it comes from a page of another origin.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from gala_rl.dashboard.hub import MOST_SHOWN, Hub, Received

_FILES = {
    "": ("index.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "uPlot.css": ("uplot/uPlot.min.css", "text/css"),
    "uPlot.js": ("uplot/uPlot.iife.min.js", "text/javascript"),
    **{
        f"{name}.js": (f"{name}.js", "text/javascript")
        for name in (
            "charts",
            "curves",
            "format",
            "learners",
            "main",
            "picker",
            "timeline",
            "topology",
        )
    },
}
"""Files of the page and their types, by path."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_MOST_STREAMS = 32
_EVERY_S = 1.0

Handler = Callable[[Request], Awaitable[Response]]


class Guard:
    """Decides which requests are answered.

    Args:
        hosts: names and addresses of this server, in lower case.
        port: its port.
        token: token that a browser has to send once; None: none is needed.
    """

    def __init__(self, hosts: frozenset[str], port: int, token: str | None) -> None:
        self._hosts, self._token = hosts, token
        # Cookies do not tell ports apart.
        self._cookie = f"gala-dashboard-{port}"

    def refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that is refused, None if it is not.

        A request with the right token in its address is answered by a redirect to the address
        without it.
        """
        host = request.headers.get("host", "")
        if _name_of(f"//{host}") not in self._hosts:
            return _plain("this server does not answer to that host name", 421)
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            return _plain("requests from pages of other origins are refused", 403)
        if self._token is None:
            return None
        if _is_equal(request.query_params.get("token"), self._token):
            response = RedirectResponse("/", 303)
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return response
        if _is_equal(request.cookies.get(self._cookie), self._token):
            return None
        return _plain("open the address that gala dashboard has printed, with its token", 401)


def make_app(hub: Hub, guard: Guard) -> Starlette:
    """Return the application.

    Args:
        hub: reads the runs.
        guard: decides which requests are answered.
    """
    streams: set[object] = set()

    async def events(request: Request) -> Response:
        if len(streams) >= _MOST_STREAMS:
            return _plain(f"{_MOST_STREAMS} pages are open already: close one", 503)
        texts = request.query_params.getlist("run")[:MOST_SHOWN]
        shown = [int(text) for text in texts if text.isascii() and text.isdigit()]
        return StreamingResponse(
            _changes(hub, shown, streams), media_type="text/event-stream", headers=_HEADERS
        )

    routes = [Route("/events", _guarded(guard, events))]
    routes += [Route(f"/{path}", _guarded(guard, _sender(*_FILES[path]))) for path in _FILES]
    return Starlette(routes=routes)


async def _changes(hub: Hub, shown: list[int], streams: set[object]) -> AsyncIterator[str]:
    """Yield a message a second: what has changed, or a comment that keeps the connection alive."""
    received, stream = Received(), object()
    streams.add(stream)
    try:
        while True:
            text = await run_in_threadpool(hub.changes, shown, received)
            yield f"data: {text}\n\n" if text else ": nothing new\n\n"
            await asyncio.sleep(_EVERY_S)
    finally:
        streams.discard(stream)


def _guarded(guard: Guard, handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        return guard.refusal(request) or await handler(request)

    return handle


def _sender(file: str, kind: str) -> Handler:
    content = resources.files("gala_rl.dashboard").joinpath("static", file).read_bytes()

    async def send(_: Request) -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return send


def _plain(text: str, status: int) -> Response:
    return PlainTextResponse(text + "\n", status, headers=_HEADERS)


def _name_of(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _is_equal(given: str | None, token: str) -> bool:
    return given is not None and secrets.compare_digest(given.encode(), token.encode())

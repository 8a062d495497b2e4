import http.client
import json
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gala_rl.dashboard.serve import listen
from gala_rl.errors import UserError
from tests.dashboard.conftest import serving
from tests.support.dashboard_runs import make_run

STATIC = Path(__file__).parents[2] / "gala_rl" / "dashboard" / "static"
Answer = tuple[int, dict[str, str], str]


def get(address: str, path: str = "/", method: str = "GET", **headers: str) -> Answer:
    """Status, headers and text of an answer; of a stream, only its first message."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        response = connection.getresponse()
        is_stream = "event-stream" in response.getheader("content-type", "")
        content = response.readline() if is_stream else response.read()
        names = {name.lower(): value for name, value in response.getheaders()}
        return response.status, names, content.decode()
    finally:
        connection.close()


def test_the_page_and_all_its_files_are_served_and_nothing_else(address: str) -> None:
    status, headers, page = get(address)
    assert status == 200
    assert "script-src 'self'" in headers["content-security-policy"]
    linked = re.findall(r'(?:src|href)="([^"#:]+)"', page)
    scripts = [path.name for path in STATIC.glob("*.js")]
    imported = re.findall(
        r'from "\./(\w+\.js)"', "".join(p.read_text() for p in STATIC.glob("*.js"))
    )
    assert set(imported) | set(linked) >= set(scripts), "no script without a use"
    for name in {*linked, *imported}:
        assert get(address, f"/{name}")[0] == 200, name
    for path in ("/config.json", "/../pyproject.toml", "/%2e%2e/page.css", "/static/page.css"):
        assert get(address, path)[0] == 404, path


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_get_is_answered(address: str, method: str) -> None:
    assert get(address, method=method)[0] == 405
    assert get(address, "/events", method=method)[0] == 405


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:80",
        "localhost.evil.example",
        "10.0.0.1",
        "",
        "[::",
        "@",
    ],
)
def test_foreign_hosts_are_refused(address: str, host: str) -> None:
    for path in ("/", "/events", "/main.js"):
        assert get(address, path, Host=host)[0] == 421


def test_names_of_loopback_are_accepted_with_any_port(address: str) -> None:
    for host in ("localhost", "LOCALHOST:9000", "127.0.0.1:1", "[::1]:80"):
        assert get(address, Host=host)[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://["]
)
def test_pages_of_other_origins_are_refused(address: str, origin: str) -> None:
    assert get(address, "/events", Origin=origin)[0] == 403


def test_the_page_itself_may_ask(address: str) -> None:
    assert get(address, "/events", Origin=address.rstrip("/"))[0] == 200


def test_the_stream_begins_with_the_runs_that_were_asked_for(tmp_path: Path, address: str) -> None:
    make_run(tmp_path / "run", learners=2, duration_s=20)
    status, headers, line = get(address, "/events?run=0&run=x&run=-1&run=99&run=%C2%B2")
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert set(json.loads(line.removeprefix("data: "))["data"]) == {"0"}


def test_with_a_token_nothing_is_served_without_it(tmp_path: Path) -> None:
    with serving(tmp_path, with_token=True) as listener:
        address = listener.address
        token = address.partition("?token=")[2]
        assert len(token) > 20
        for path in (
            "/",
            "/events",
            "/main.js",
            "/?token=",
            f"/?token={token[:-1]}",
            "/?token=%C3%A9",
        ):
            assert get(address, path)[0] == 401, path
        status, headers, _ = get(address, f"/?token={token}")
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert get(address, Cookie=cookie.partition(";")[0])[0] == 200
        assert get(address, Cookie=cookie.partition("=")[0] + "=wrong")[0] == 401
        assert get(address, Cookie=cookie.partition(";")[0], Host="evil.example")[0] == 421


def test_any_address_but_loopback_has_a_token() -> None:
    for host, has_token in (("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)):
        listener = listen(host, 0)
        listener.socket.close()
        assert ("?token=" in listener.address) is has_token


def test_a_port_in_use_and_an_unknown_host_are_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 .* choose another --port"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match=r"host 'no\.such\.host\.invalid' is unknown"):
        listen("no.such.host.invalid", 0)


def test_the_page_never_parses_what_it_shows_as_html() -> None:
    sources = {path.name: path.read_text("utf-8") for path in STATIC.glob("*.js")}
    assert len(sources) >= 8
    risky = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function"
    )
    assert [name for name, text in sources.items() if risky.search(text)] == []


def test_the_page_asks_no_other_server() -> None:
    for path in STATIC.rglob("*.*"):
        addresses = set(re.findall(r"https?://[\w./-]+", path.read_text("utf-8")))
        assert addresses <= {"http://www.w3.org/2000/svg", "https://github.com/leeoniya/uPlot"}

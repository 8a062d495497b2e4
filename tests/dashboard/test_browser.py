"""The page in a headless Chromium: make test-browser."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gala_rl.records.files import read_json, write_json
from gala_rl.records.run_folder import RunFolder
from tests.dashboard.conftest import serving
from tests.support.dashboard_runs import add_events, append, distance_row, learner_row, make_run

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("GALA_CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
WIDE, NARROW = 1440, 390
PATIENCE_MS = 60_000
MOST_HEAP_BYTES = 100 * 2**20
SECRET = "<img src=x onerror=\"document.title='broken'\">"

Page = Any
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "install chromium, or name it: GALA_CHROMIUM=/path/to/chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Open]:
    """Opens the page and waits until it is drawn; its errors fail the test."""
    errors: list[str] = []
    with contextlib.ExitStack() as contexts:

        def open_one(hash: str = "", width: int = WIDE, scheme: str = "light") -> Page:
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            contexts.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(f"{address}#{hash}")
            page.wait_for_selector("body[data-drawn]")
            return page

        yield open_one
    assert errors == []


def wait_for_text(page: Page, selector: str, text: str) -> None:
    page.locator(selector, has_text=text).first.wait_for()


def tile(page: Page, name: str) -> str:
    text: str = page.locator(".tile", has_text=name).locator("dd").first.inner_text()
    return text


def keep_writing(folder: RunFolder, learners: int, seconds: int, start: float) -> None:
    """Append rows as if training had gone on for so long."""
    chance = random.Random(1)
    for at in range(600, 600 + seconds, 2):
        for rank in range(learners):
            row = learner_row(rank, start, at, 600.0, learners, chance)
            append(folder.metrics_file(rank), row)
        append(folder.consensus_file, distance_row(start, at, 600.0, learners, chance))


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_of_a_run_is_shown_and_fits(
    tmp_path: Path, open_page: Open, width: int, scheme: str
) -> None:
    folder = make_run(tmp_path / "ring", learners=4)
    add_events(folder, learners=4)
    page = open_page(width=width, scheme=scheme)
    assert page.locator("h1").inner_text() == "ring"
    titles = page.locator("h2").all_inner_texts()
    for title in ("Mean return", "Who hears whom", "Distance between learners", "Speed", "Entropy"):
        assert title in titles
    assert page.locator(".plot canvas").count() >= 8
    assert page.locator("#graph .node").count() == 4
    assert page.locator("#graph .node.dead").count() == 1
    assert page.locator("#graph .edge").count() == 4
    assert page.locator("#learner-table tbody tr").count() == 4
    wait_for_text(page, "#event-list", "learner 3 gave no sign of life for 120 s: killed")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_the_page_follows_a_run_until_its_end_and_its_deletion(
    tmp_path: Path, open_page: Open
) -> None:
    run = tmp_path / "live"
    command = [sys.executable, "-m", "gala_lab.main", "train", "gala-a2c", "--env", "CartPole-v1"]
    size = ["--learners", "2", "--simulators", "4", "--steps", "100k", "--out", str(run)]
    process = subprocess.Popen(
        command + size,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    give_up = time.monotonic() + 120
    while not RunFolder(run).metrics_files():
        assert time.monotonic() < give_up
        time.sleep(0.2)
    page = open_page()
    page.wait_for_selector(".tiles")
    seen = set()
    while process.poll() is None:
        seen.add(tile(page, "Agent steps"))
        time.sleep(0.5)
    assert process.wait() == 0
    wait_for_text(page, "#subtitle", "finished")
    assert len(seen) > 1, "it was updated while the run went on"
    total = read_json(run / "summary.json")["agent_steps"]
    wait_for_text(page, ".tile", f"{total / 1000:.0f}k")
    wait_for_text(page, "#event-list", "run finished")
    shutil.rmtree(run)
    wait_for_text(page, "#notice", "The folder of live was deleted")
    assert page.locator(".plot canvas").count() >= 8, "what was read is still shown"


def test_a_damaged_row_does_not_stop_the_updates(tmp_path: Path, open_page: Open) -> None:
    folder = make_run(tmp_path / "run", learners=2)
    start = time.time() - 600
    page = open_page()
    for file in (folder.metrics_file(0), folder.consensus_file):
        with file.open("a", encoding="utf-8") as lines:
            lines.write('{"time": 1e999, "edges": 3}\n\0\0{"ti\n')
    keep_writing(folder, 2, 60, start)
    wait_for_text(page, ".tile", "11 min")


def test_sixty_four_learners_and_their_deaths(tmp_path: Path, open_page: Open) -> None:
    folder = make_run(tmp_path / "many", learners=64, duration_s=300)
    add_events(folder, learners=64, dead=17)
    page = open_page()
    assert page.locator("#graph .node").count() == 64
    assert page.locator("#graph .node.dead").count() == 1
    assert page.locator("#learner-table tbody tr").count() == 64
    wait_for_text(page, "#topology-about", "64 learners · 64 edges · 1 dead")


def test_a_run_of_a_weeks_length_takes_little_memory(tmp_path: Path, open_page: Open) -> None:
    # A row per learner and minute; a real run's are thinned to as many when they are read.
    folder = make_run(tmp_path / "week", learners=2, duration_s=7 * 86_400, row_every_s=60)
    page = open_page()
    wait_for_text(page, ".tile", "7 d")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    metrics = session.send("Performance.getMetrics")["metrics"]
    heap = next(metric["value"] for metric in metrics if metric["name"] == "JSHeapTotalSize")
    assert heap < MOST_HEAP_BYTES
    page.get_by_role("radio", name="Time").check(force=True)
    wait_for_text(page, "footer", "is the mean over 15 min of training")
    assert folder.exists


def test_what_runs_contain_is_text_and_never_html(tmp_path: Path, open_page: Open) -> None:
    folder = make_run(tmp_path / "<b>run<", learners=2, duration_s=20)
    content = read_json(folder.config_file)
    content["config"] |= {"env": SECRET, "method": SECRET, SECRET: SECRET}
    write_json(folder.config_file, content)
    at = {"time": time.time(), "total_agent_steps": 1, "alive": [True] * 2, "restarts": [0] * 2}
    append(folder.events_file, at | {"notices": [SECRET]})
    make_run(tmp_path / "other", learners=1, duration_s=20, ago_s=5)
    page = open_page("run=0&run=1")
    wait_for_text(page, "#event-list", SECRET)
    wait_for_text(page, "#settings-body", SECRET)
    page.get_by_text("other", exact=True).first.click()
    wait_for_text(page, "#subtitle", SECRET)
    assert page.locator("img").count() == 0
    assert page.locator("h1 b").count() == 0
    assert page.title() != "broken"


def test_several_runs_are_overlaid_with_the_differences_of_their_settings(
    tmp_path: Path, open_page: Open
) -> None:
    for number in range(3):
        make_run(tmp_path / f"run-{number}", learners=2, duration_s=60, number=number)
    page = open_page("run=0")
    for number, name in ((2, "run-1"), (3, "run-2")):
        page.locator("#picker .chip", has_text=name).click()
        wait_for_text(page, "h1", f"{number} runs")
    assert page.locator("#chart-return .legend .item").count() == 3
    assert page.locator("#now tbody tr").count() == 3
    wait_for_text(page, "#settings-body th", "seed")
    assert page.locator("#settings-body tbody tr").count() == 1
    page.locator("#now").get_by_role("button", name="run-0").click()
    wait_for_text(page, "#learners h2", "Learners of run-0")


def test_the_keyboard_reaches_charts_learners_and_axis(tmp_path: Path, open_page: Open) -> None:
    make_run(tmp_path / "run", learners=4, duration_s=100)
    page = open_page()
    page.locator("#chart-return .plot").focus()
    page.keyboard.press("ArrowLeft")
    wait_for_text(page, "#spoken", "mean of the learners")
    label = page.locator("#chart-return .plot").get_attribute("aria-label")
    assert label.startswith("Mean return, raw score")
    page.locator("#graph .node").first.focus()
    page.keyboard.press("ArrowRight")
    wait_for_text(page, "#spoken", "learner 1, training")
    wait_for_text(page, "#graph-detail", "hears 0")
    page.get_by_role("radio", name="Agent steps").focus()
    page.keyboard.press("ArrowRight")
    wait_for_text(page, "#chart-return .legend", "over time in training")


def test_the_page_says_when_the_dashboard_has_ended_and_goes_on_when_it_is_back(
    tmp_path: Path, browser: Any
) -> None:
    make_run(tmp_path / "run", learners=2, duration_s=60)
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    with serving(tmp_path) as listener:
        page.goto(listener.address)
        page.wait_for_selector(".tiles")
    wait_for_text(page, "#notice", "The dashboard does not answer")
    assert page.locator(".tiles").count() == 1
    context.close()


def test_a_token_in_the_address_opens_the_page(tmp_path: Path, browser: Any) -> None:
    make_run(tmp_path / "run", learners=2, duration_s=60)
    context = browser.new_context()
    page = context.new_page()
    with serving(tmp_path, with_token=True) as listener:
        page.goto(listener.address)
        page.wait_for_selector(".tiles")
        assert "token" not in page.url
    context.close()


def test_a_gossip_free_run_has_no_graph_of_edges(tmp_path: Path, open_page: Open) -> None:
    folder = make_run(tmp_path / "single", learners=1, duration_s=60, method="a2c")
    folder.consensus_file.unlink()
    page = open_page()
    assert not page.locator("#topology").is_visible()
    assert not page.locator("#chart-distance").is_visible()
    assert json.loads(page.evaluate("() => JSON.stringify(document.title)")).startswith("single")

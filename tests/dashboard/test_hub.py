import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gala_rl.dashboard.hub import Hub, Received, find_runs
from gala_rl.errors import UserError
from tests.support.dashboard_runs import append, learner_row, make_run


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call read the folders anew."""
    for name in ("_REFRESH_EVERY_S", "_SEARCH_EVERY_S"):
        monkeypatch.setattr(f"gala_rl.dashboard.hub.{name}", -1.0)


def message(hub: Hub, shown: list[int], has: Received) -> dict[str, Any]:
    text = hub.changes(shown, has)
    content: dict[str, Any] = json.loads(text) if text else {}
    return content


def test_runs_are_found_at_and_below_the_given_folders(tmp_path: Path) -> None:
    for name in ("a", "study/one", "study/deep/er/two", "study/deep/er/too/deep"):
        make_run(tmp_path / name, learners=1, duration_s=0)
    found = find_runs([tmp_path / "a", tmp_path / "study"])
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names == ["a", "study/one", "study/deep/er/two"]


def test_a_link_to_another_folder_is_not_followed(tmp_path: Path) -> None:
    make_run(tmp_path / "private" / "run", learners=1, duration_s=0)
    make_run(tmp_path / "runs" / "own", learners=1, duration_s=0)
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "private" / "run")
    assert find_runs([tmp_path / "runs"]) == [tmp_path / "runs" / "own"]


def test_folders_without_runs_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*nowhere: give the folder of a run"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"there is no run in .*: a run is a folder with a config"):
        find_runs([tmp_path])


def test_first_everything_is_sent_and_then_what_is_new(tmp_path: Path, impatient: None) -> None:
    folder = make_run(tmp_path / "run", learners=2, duration_s=100)
    hub, has = Hub([tmp_path]), Received()
    first = message(hub, [0], has)
    assert [run["name"] for run in first["runs"]] == ["run"]
    assert set(first["data"]["0"]) == {"overview", "learners", "edges", "events", "curves"}
    assert message(hub, [0], has) == {}
    row = json.loads(folder.metrics_file(0).read_text(encoding="utf-8").splitlines()[-1])
    append(folder.metrics_file(0), row | {"time": row["time"] + 3, "agent_steps": 10**6})
    second = message(hub, [0], has)
    assert set(second) == {"data"}
    curves = second["data"]["0"]["curves"]
    length = len(first["data"]["0"]["curves"]["columns"]["seconds"])
    assert length - 10 < curves["from"] < length
    assert len(json.dumps(second)) < len(json.dumps(first)) / 4


def test_a_run_that_starts_later_is_listed(tmp_path: Path, impatient: None) -> None:
    make_run(tmp_path / "first", learners=1, duration_s=10, ago_s=100)
    hub, has = Hub([tmp_path]), Received()
    message(hub, [], has)
    make_run(tmp_path / "second", learners=1, duration_s=10)
    assert [run["name"] for run in message(hub, [], has)["runs"]] == ["second", "first"]
    shutil.rmtree(tmp_path / "first")
    assert message(hub, [], has) == {}, "a deleted run is not forgotten"


def test_runs_of_equal_names_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for parent in ("x", "y"):
        make_run(tmp_path / parent / "run", learners=1, duration_s=0)
    listed = message(Hub([tmp_path]), [], Received())["runs"]
    assert {run["name"] for run in listed} == {"x/run", "y/run"}


def test_numbers_of_no_run_are_ignored(tmp_path: Path) -> None:
    make_run(tmp_path / "run", learners=1, duration_s=0)
    assert set(message(Hub([tmp_path]), [0, 7, -1], Received())["data"]) == {"0"}


def test_what_a_page_has_missed_is_sent_too(tmp_path: Path, impatient: None) -> None:
    folder = make_run(tmp_path / "run", learners=1, duration_s=100)
    hub, early, late = Hub([tmp_path]), Received(), Received()
    message(hub, [0], early)
    message(hub, [0], late)
    import random

    start = json.loads(folder.metrics_file(0).read_text(encoding="utf-8").splitlines()[0])["time"]
    for at in range(102, 160, 2):
        append(folder.metrics_file(0), learner_row(0, start, at, 200, 1, random.Random(at)))
        message(hub, [0], early)
    missed = message(hub, [0], late)["data"]["0"]["curves"]
    assert missed["from"] <= 50
    assert len(missed["columns"]["seconds"]) >= 29

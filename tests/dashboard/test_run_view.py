import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from gala_rl.dashboard.run_view import RunView, short
from gala_rl.records.files import read_json, write_json
from gala_rl.records.run_folder import RunFolder
from tests.support.dashboard_runs import add_events, append, make_run


def view_of(folder: RunFolder) -> RunView:
    view = RunView(folder.path, folder.path.name)
    view.refresh()
    return view


def states(view: RunView) -> list[str]:
    return [learner["state"] for learner in view.learners()]


def newest(view: RunView) -> float:
    """Agent steps of all learners at the end of the curves."""
    steps = view.curves(0)["agent_steps"][-1]
    assert steps is not None
    return steps


def last_row(folder: RunFolder, rank: int) -> dict[str, Any]:
    line = folder.metrics_file(rank).read_text(encoding="utf-8").splitlines()[-1]
    row: dict[str, Any] = json.loads(line)
    return row


def test_a_run_in_training_is_shown_and_followed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", duration_s=100)
    view = view_of(folder)
    assert view.overview()["state"] == "training"
    assert view.overview()["settings"]["gossip.topology"] == "directed-ring"
    assert states(view) == ["training"] * 4
    version = view.version
    assert newest(view) == pytest.approx(500_000, rel=0.05)
    view.refresh()
    assert view.version == version, "nothing new"
    row = last_row(folder, 0)
    append(folder.metrics_file(0), row | {"time": row["time"] + 4, "agent_steps": 10**6})
    view.refresh()
    assert newest(view) > 1_300_000
    assert view.learners()[0]["agent_steps"] == 10**6


def test_nothing_is_written_into_the_folder(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", duration_s=20)
    add_events(folder, learners=4)
    before = {path: path.lstat() for path in folder.path.rglob("*")}
    view = view_of(folder)
    view.learners(), view.edges(), view.events(), view.overview()
    after = {path: path.lstat() for path in folder.path.rglob("*")}
    assert {p: (s.st_mtime_ns, s.st_size) for p, s in after.items()} == {
        p: (s.st_mtime_ns, s.st_size) for p, s in before.items()
    }


def test_edges_have_rate_and_age_and_learners_distance_and_bound(tmp_path: Path) -> None:
    view = view_of(make_run(tmp_path / "run", duration_s=60))
    edges = view.edges()
    assert [edge[:2] for edge in edges] == [[0, 1], [1, 2], [2, 3], [3, 0]]
    for _, _, rate, age, lag, skipped in edges:
        assert rate is not None
        assert 1 <= rate <= 15
        assert age is not None
        assert 0.003 < age < 1
        assert lag is not None
        assert skipped == 0.1
    for learner in view.learners():
        assert 0 < learner["distance"] < learner["bound"]
    assert view.overview()["per_edge"] is True


def test_edges_without_records_are_those_of_the_topology(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", learners=3, duration_s=20)
    folder.consensus_file.unlink()
    assert view_of(folder).edges() == [
        [0, 1, None, None, None, None],
        [1, 2, None, None, None, None],
        [2, 0, None, None, None, None],
    ]


def test_dead_restarting_and_silent_learners_are_told_apart(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", learners=4, duration_s=100)
    add_events(folder, learners=4, dead=3, restarted=1)
    row = last_row(folder, 0)
    alive, once = [True, True, True, False], [0, 1, 1, 0]
    at = {"time": row["time"] + 0.5, "total_agent_steps": 0, "notices": []}
    append(folder.events_file, at | {"alive": alive, "restarts": once})
    assert states(view_of(folder)) == ["training", "training", "restarting", "dead"]


def test_a_run_that_has_ended_or_was_killed_is_told_apart(tmp_path: Path) -> None:
    ended = make_run(tmp_path / "ended", duration_s=20, ended=True)
    assert view_of(ended).state == "finished"
    write_json(ended.summary_file, {"interrupted": True})
    assert view_of(ended).state == "stopped"
    write_json(ended.summary_file, {"failed": True})
    view = view_of(ended)
    assert view.state == "failed"
    assert view.events()[-1]["text"] == "run failed"
    killed = make_run(tmp_path / "killed", duration_s=20, ago_s=300)
    assert view_of(killed).state == "silent"


def test_a_resumed_run_is_training_again_and_its_lost_rows_disappear(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", learners=2, duration_s=100, ago_s=200, ended=True)
    view = view_of(folder)
    generation, length = view.generation, view.table.length
    # As `gala resume` does: rows after the checkpoint are removed, then new ones are written.
    rows = folder.metrics_file(0).read_text(encoding="utf-8").splitlines()[:20]
    (tmp_path / "new").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "new").replace(folder.metrics_file(0))
    config = read_json(folder.config_file)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(time.time() + 2))
    write_json(folder.config_file, config | {"resumes": [{"started": stamp}]})
    view.refresh()
    assert view.generation > generation
    assert view.table.length <= length
    assert view.learners()[0]["agent_steps"] == json.loads(rows[-1])["agent_steps"]
    assert view.state == "starting"


def test_a_deleted_folder_keeps_what_was_read(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", duration_s=20)
    view = view_of(folder)
    curves = view.curves(0)
    shutil.rmtree(folder.path)
    view.refresh()
    assert view.state == "deleted"
    assert view.curves(0) == curves
    assert set(states(view)) == {"ended"}


def test_another_run_in_the_same_folder_replaces_the_first(tmp_path: Path) -> None:
    view = view_of(make_run(tmp_path / "run", learners=4, duration_s=50))
    shutil.rmtree(tmp_path / "run")
    make_run(tmp_path / "run", learners=2, duration_s=20)
    view.refresh()
    assert len(view.learners()) == 2
    assert view.table.length <= 11


DAMAGED = [
    "",
    "\0" * 50,
    '{"time": 1e999, "learner": 0, "agent_steps": 5, "rejected": {}}',
    '{"time": 1, "learner": 0, "agent_steps": -5, "rejected": {}}',
    '{"time": 9e99, "learner": 0, "agent_steps": 5, "rejected": {}}',
    '{"time": "now", "learner": 0, "agent_steps": 5, "rejected": {}}',
    '{"time": NaN, "learner": 0, "agent_steps": 5, "rejected": {"stale": "many"}}',
    '{"time": 5, "edges": [{"sender": -1}], "distances": "far", "consensus_rms": []}',
    '{"time": 5, "alive": [1], "restarts": "never", "notices": [3]}',
]


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_row_changes_nothing(tmp_path: Path, line: str) -> None:
    folder = make_run(tmp_path / "run", learners=2, duration_s=20)
    add_events(folder, learners=2)
    expected = view_of(folder)
    for file in (folder.path / "metrics").iterdir():
        with file.open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")
    damaged = view_of(folder)
    assert damaged.curves(0) == expected.curves(0)
    assert damaged.learners() == expected.learners()
    assert damaged.edges() == expected.edges()
    assert damaged.events() == expected.events()


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"config": 3}', '{"config": {"learners": 1e99}}']
)
def test_an_unreadable_config_is_told_and_the_curves_are_shown(
    tmp_path: Path, content: str
) -> None:
    folder = make_run(tmp_path / "run", learners=2, duration_s=20)
    folder.config_file.write_text(content, encoding="utf-8")
    view = view_of(folder)
    overview = view.overview()
    assert overview["problem"] or overview["method"] == "?"
    assert view.table.length > 5
    json.dumps([overview, view.learners(), view.edges(), view.events()], allow_nan=False)


def test_a_config_of_a_newer_version_is_shown(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", learners=2, duration_s=20)
    content = read_json(folder.config_file)
    content["config"] |= {"method": "gala-zen", "warp": {"factor": 9}}
    write_json(folder.config_file, content)
    view = view_of(folder)
    assert view.overview()["method"] == "gala-zen"
    assert view.overview()["settings"]["warp.factor"] == "9"
    assert len(view.edges()) == 2, "from the records, since the method is unknown"


def test_a_run_without_rows_is_starting(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", learners=2, duration_s=0)
    view = view_of(folder)
    assert view.state == "starting"
    assert states(view) == ["starting", "starting"]
    assert view.curves(0) == {}
    assert [event["text"] for event in view.events()] == ["run started"]


def test_a_long_run_is_read_by_a_bounded_number_of_rows(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", learners=1, duration_s=40_000, row_every_s=2)
    size = folder.metrics_file(0).stat().st_size
    view = view_of(folder)
    rows = len(view._learners[0].series.times)
    assert size > 4 * 2_500 * 700, "many more rows than are read"
    assert 2_400 <= rows <= 2_700
    curves = view.curves(0)
    assert all(len(column) <= 720 for column in curves.values())
    assert curves["agent_steps"][-1] == last_row(folder, 0)["agent_steps"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (float("nan"), None), (float("inf"), None), (3.0, 3), (1 / 3, 0.333333)],
)
def test_numbers_are_sent_short(value: float | None, expected: float | None) -> None:
    assert short(value) == expected

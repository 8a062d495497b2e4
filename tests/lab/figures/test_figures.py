"""What gala plot and gala report show of runs, a study and benchmarks."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gala_lab.figures.draw import draw, draw_benchmarks, score_tables
from gala_lab.figures.report import report_of
from gala_lab.figures.sources import read_sources
from gala_lab.main import main
from gala_rl.errors import UserError
from tests.support.comparison_rows import rows

pytest.importorskip("matplotlib")


def make_run(folder: Path, score: float, method: str = "a2c", env: str = "CartPole-v1") -> Path:
    """A run of 400 agent steps in 4 s that ends with a mean return of `score`."""
    (folder / "metrics").mkdir(parents=True)
    config = {"config": {"method": method, "env": env, "seed": 1}, "machine": {"cores": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    returns = [[share * score] * 100 for share in (0.1, 0.2, 0.5, 1.0)]
    lines = map(json.dumps, rows([1, 2, 3, 4], [100, 200, 300, 400], returns=returns))
    (folder / "metrics" / "learner_00.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def make_runs(folder: Path) -> Path:
    for game, scores in {"Pong": (-20.7, 14.6), "Breakout": (1.7, 30.5)}.items():
        for seed, score in enumerate(scores):
            for method in ("a2c", "gala-a2c"):
                name = f"{method}-{game}-{seed}"
                make_run(folder / name, score, method, f"{game}NoFrameskip-v4")
    return folder


def test_curves_are_interquartile_means_by_agent_steps(tmp_path: Path) -> None:
    for seed, score in enumerate((40.0, 60.0, 80.0, 100.0)):
        make_run(tmp_path / "many" / f"run-{seed}", score)
    figure = draw(read_sources([tmp_path / "many"]))
    (axes,) = figure.axes
    (line,) = axes.get_lines()
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert (x[-1], y[-1]) == (400.0, 70.0)
    assert np.isnan(y[0]), "no game has ended yet"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("agent steps", "raw return, last 100 games")
    assert line.get_label() == "a2c, 4 runs"


def test_atari_scores_are_human_normalised(tmp_path: Path) -> None:
    sources = read_sources([make_runs(tmp_path / "runs")])
    tables, scale = score_tables(sources.runs)
    assert scale == "human-normalised score"
    assert {name: scores.shape for name, scores in tables.items()} == {
        "a2c": (2, 2),
        "gala-a2c": (2, 2),
    }
    np.testing.assert_allclose(tables["a2c"], [[0.0, 0.0], [1.0, 1.0]], atol=1e-12)
    assert len(draw(sources).axes) == 2, "a panel per game"


def test_a_profile_is_the_share_of_runs_above(tmp_path: Path) -> None:
    figure = draw(read_sources([make_runs(tmp_path / "runs")]), "profile")
    line = figure.axes[0].get_lines()[0]
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert y[0] == 1.0
    assert y[-1] == 0.0
    assert set(y[(x > 0.01) & (x < 0.99)]) == {0.5}


def test_scores_without_a_common_scale_are_told(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "one", 1.0)
    make_run(tmp_path / "runs" / "two", 1.0, env="Acrobot-v1")
    sources = read_sources([tmp_path / "runs"])
    with pytest.raises(UserError, match=r"scores of Acrobot-v1, CartPole-v1 have no common scale"):
        draw(sources, "scores")
    make_run(tmp_path / "atari" / "one", 1.0, env="ALE/Pong-v5")
    make_run(tmp_path / "atari" / "two", 1.0, env="ALE/Pong-v5")
    make_run(tmp_path / "atari" / "three", 1.0, env="ALE/Breakout-v5")
    with pytest.raises(UserError, match=r"a2c has runs .*: give as many of each"):
        draw(read_sources([tmp_path / "atari"]), "profile")


def test_bars_of_a_benchmark_have_the_range_of_its_rounds() -> None:
    cases: list[dict[str, Any]] = [
        {
            "learners": n,
            "skipped": None,
            "sps": 100.0 * n,
            "rounds": [{"sps": 90 * n}, {"sps": 120 * n}],
        }
        for n in (1, 2)
    ]
    figure = draw_benchmarks([{"benchmark": "scaling", "cases": cases}])
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [100.0, 200.0]  # type: ignore[attr-defined]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["learners 1", "learners 2"]
    assert "agent steps per second" in axes.get_xlabel()
    with pytest.raises(UserError, match="benchmark 'speed' is unknown"):
        draw_benchmarks([{"benchmark": "speed"}])


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_command_writes_each_format(tmp_path: Path, suffix: str) -> None:
    run, file = make_run(tmp_path / "run", 10.0), tmp_path / f"figure{suffix}"
    assert main(["plot", str(run), "--out", str(file)]) == 0
    beginnings = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    assert file.read_bytes().startswith(beginnings[suffix])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "holds nothing to show"),
        ("{}", "is no result of gala bench"),
        ("[", "cannot be read"),
    ],
)
def test_what_is_no_run_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: str
) -> None:
    path = tmp_path / "thing"
    if content is not None:
        path.write_text(content)
    for command in (["plot", "--out", "x.svg"], ["report", "--out", "x.html"]):
        assert main([command[0], str(path), *command[1:]]) == 2
        line = capsys.readouterr().err
        assert words in line
        assert line.count("\n") == 1


def test_half_written_rows_and_newer_settings_are_no_obstacle(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 10.0)
    with (run / "metrics" / "learner_00.jsonl").open("a") as file:
        file.write('{"learner": 0, "agent_st')
    content = json.loads((run / "config.json").read_text())
    content["config"]["of_a_later_version"] = 1
    (run / "config.json").write_text(json.dumps(content))
    assert [r.score for r in read_sources([run]).runs] == [10.0]


def test_a_report_needs_nothing_else_and_escapes_what_it_shows(tmp_path: Path) -> None:
    folder = make_runs(tmp_path / "<b>runs")
    file = tmp_path / "report.html"
    assert main(["report", str(folder), "--out", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.count("<svg") == 3, "curves, scores, profile"
    assert "<b>" not in text
    assert "&lt;b&gt;runs" in text
    links = re.findall(r"""(?:src|href)=["']([^"']*)""", text)
    assert all(link.startswith("#") for link in links), "images and scripts are inline"
    assert "human tester" in text
    assert "GALA-A2C, GALA paper" in text
    assert "gala train --config" in text
    assert text == report_of(read_sources([folder]).runs), "the same each time"


def test_a_report_without_atari_has_no_published_scores(tmp_path: Path) -> None:
    text = report_of(read_sources([make_run(tmp_path / "run", 10.0)]).runs)
    assert "Published" not in text
    assert "10.0" in text

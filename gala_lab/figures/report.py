"""A report of runs as one HTML file: figures inline, scores, settings, machine, how to repeat."""

import html
import io
import json
import math
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gala_lab.atari_scores import PUBLISHED, RANDOM_AND_HUMAN, game_of, human_normalized
from gala_lab.figures.draw import draw_curves, draw_profile, draw_scores
from gala_lab.figures.sources import DrawnRun
from gala_rl.errors import UserError
from gala_rl.records.files import read_json
from gala_rl.records.metrics import score_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: auto; padding: 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
th, td {{ border-bottom: 1px solid #ccc; padding: .3rem .8rem; text-align: left; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
svg {{ max-width: 100%; height: auto; }}
pre {{ background: #f4f4f4; padding: .8rem; overflow-x: auto; }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def report_of(runs: Sequence[DrawnRun]) -> str:
    """Return the report as an HTML document that needs nothing else.

    Raises:
        UserError: when no game has ended, or a file of a run cannot be read.
    """
    if not runs:
        raise UserError("no game has ended in these runs: nothing to report")
    title = ", ".join(dict.fromkeys(run.env for run in runs))
    sections = [_figures(runs), _scores(runs), _anchors(runs), _settings(runs), _origins(runs)]
    return _PAGE.format(title=_text(title), body="\n".join(sections))


def _figures(runs: Sequence[DrawnRun]) -> str:
    figures = [draw_curves(runs)]
    try:
        if len(runs) > 1:
            figures += [draw_scores(runs), draw_profile(runs)]
    except UserError as error:
        note = f"<p>Without interquartile means and profile: {_text(error)}</p>"
    else:
        note = ""
    return f"<h2>Curves</h2>{''.join(map(_svg, figures))}{note}"


def _svg(figure: "Figure") -> str:
    import matplotlib

    file = io.StringIO()
    # Without date and random ids, so that the same runs give the same report.
    with matplotlib.rc_context({"svg.hashsalt": "gala"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return f"<figure>{text[text.index('<svg') :]}</figure>"


def _scores(runs: Sequence[DrawnRun]) -> str:
    rows = []
    for run in runs:
        game, steps = game_of(run.env), float(run.curve.agent_steps[-1])
        human = None if game is None else human_normalized(game, run.score)
        seconds = float(run.curve.seconds[-1])
        rows.append(
            [
                *(str(run.folder.path), run.method, run.env),
                *(f"{steps:,.0f}", score_text(run.score)),
                "–" if human is None else f"{human:.0%}",
                *(f"{seconds:,.0f}", f"{steps / seconds:,.0f}" if seconds else "–"),
            ]
        )
    heads = ["run", "method", "environment", "agent steps", "mean return of the last 100 games"]
    heads += ["human-normalised", "seconds", "agent steps per second"]
    return f"<h2>Scores</h2>{_table(heads, rows)}"


def _anchors(runs: Sequence[DrawnRun]) -> str:
    """Return published scores of the same Atari games; empty without any."""
    games = [game for game in dict.fromkeys(game_of(run.env) for run in runs) if game is not None]
    if not games:
        return ""
    rows = [
        [name, "", "", *(score_text(RANDOM_AND_HUMAN[game][column]) for game in games)]
        for column, name in enumerate(("random play", "human tester"))
    ]
    for published in PUBLISHED:
        scores = [published.scores.get(game, math.nan) for game in games]
        if not all(map(math.isnan, scores)):
            sticky = ", sticky actions" if published.is_sticky else ""
            shown = ["–" if math.isnan(score) else score_text(score) for score in scores]
            steps = f"{published.agent_steps:,}"
            rows.append([published.agent, steps, published.protocol + sticky, *shown])
    heads = ["agent", "agent steps", "protocol", *games]
    return f"<h2>Published scores</h2>{_table(heads, rows)}"


def _settings(runs: Sequence[DrawnRun]) -> str:
    """Return the settings in which runs differ, then all settings of each."""
    flat = [dict(_flat(_content(run)["config"])) for run in runs]
    names = list(dict.fromkeys(name for settings in flat for name in settings))
    differing = [n for n in names if len({json.dumps(s.get(n)) for s in flat}) > 1 and n != "out"]
    rows = [
        [str(run.folder.path), *(json.dumps(settings.get(name)) for name in differing)]
        for run, settings in zip(runs, flat, strict=True)
    ]
    whole = "".join(
        f"<details><summary>{_text(run.folder.path)}</summary>"
        f"<pre>{_text(json.dumps(_content(run)['config'], indent=2))}</pre></details>"
        for run in runs
    )
    table = _table(["run", *differing], rows) if differing else ""
    return f"<h2>Settings</h2>{table}{whole}"


def _origins(runs: Sequence[DrawnRun]) -> str:
    """Return on what runs were trained, and the commands that repeat them."""
    keys = ("machine", "versions", "commit")
    origins = [{key: _content(run).get(key) for key in keys} for run in runs]
    found = dict.fromkeys(json.dumps(origin, indent=2) for origin in origins)
    machines = "".join(f"<pre>{_text(origin)}</pre>" for origin in found)
    commands = "\n".join(
        f"gala train --config {shlex.quote(str(run.folder.path))} --out NEW" for run in runs
    )
    return f"<h2>Machine</h2>{machines}<h2>To repeat</h2><pre>{_text(commands)}</pre>"


def _content(run: DrawnRun) -> dict[str, Any]:
    return read_json(run.folder.config_file)


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{_text(head)}</th>" for head in heads)]
    lines += ["".join(map(_cell, row)) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(text: str) -> str:
    is_number = text[:1].isdigit() or text[:1] == "-"
    kind = ' class="number"' if is_number else ""
    return f"<td{kind}>{_text(text)}</td>"


def _text(value: object) -> str:
    return html.escape(str(value))

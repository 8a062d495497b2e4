"""Writes the tables of pages of docs/ from the files of benchmarks/results.

    python -m benchmarks.page

A table stands between `<!-- NAME -->` and `<!-- end -->`, and comes from results/NAME/result.json
with its command, machine and commit; those of `SUMMARIES` come from several of them.
"""

import json
import math
import re
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import environment_tables, goals
from benchmarks.faults import tables as faults
from benchmarks.figures import tables as figures
from benchmarks.peers.scores import table as scores
from benchmarks.q_learning.table import table as q_learning
from benchmarks.scores import tables as atari_scores
from gala_lab.bench import result_tables
from gala_rl.records.metrics import score_text

ROOT = Path(__file__).parents[1]
PAGES = tuple(
    ROOT / "docs" / f"{name}.md"
    for name in (
        *("performance", "paper", "simulate", "methods", "faults"),
        *("environments", "minatar", "scores"),
    )
)
RESULTS = ROOT / "benchmarks" / "results"
_PLACE = re.compile(r"(<!-- ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rendered(page: str, results: Path = RESULTS) -> str:
    """The page with every table as its result has it."""
    return _PLACE.sub(lambda m: f"{m[1]}{_section(m[2], results)}{m[3]}", page)


def _section(name: str, results: Path) -> str:
    if name in SUMMARIES:
        return f"\n{SUMMARIES[name](results)}\n\n"
    folder = results / name
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    command = (folder / "command.txt").read_text(encoding="utf-8").strip()
    render = _RENDER.get(name, _benchmark)
    machine = result["machine"]
    origin = (
        f"`{command}`, {machine['processor']}, {machine['cores']} cores, PyTorch "
        f"{result['versions']['torch']}, commit {result['commit'][:10]}, {result['started'][:10]}: "
        f"[result.json](../benchmarks/results/{name}/result.json)"
    )
    return f"\n{render(result)}\n\n{origin}\n\n"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _goals(folder: Path) -> str:
    results = goals.read(folder)
    rows = [
        [
            goal.text,
            f"{'≤' if goal.at_most else '≥'} {goal.target:.2f}",
            f"{goal.measure(results):.2f}",
            "yes" if goal.is_met(results) else "no",
        ]
        for goal in goals.GOALS
    ]
    ahead = goals.at_the_ceiling(results)
    ceiling = ", ".join(f"{ratio:.1f} beside {name}" for name, ratio in ahead)
    table = _table(["", "goal", "measured", "met"], rows)
    return f"{table}\n\nTraining at the ceiling would be ahead by these factors: {ceiling}."


def _learned(names: Sequence[str], folder: Path) -> str:
    """Table of runs that were kept whole, by `learning_curve`."""
    rows = []
    for name in names:
        run = folder / name
        kept, summary, evaluation = (
            json.loads((run / f"{part}.json").read_text(encoding="utf-8"))
            for part in ("config", "summary", "evaluation")
        )
        games = evaluation["results"][0]
        rows.append(
            [
                f"`{summary['method']}`",
                f"{kept['config']['learners']} x {kept['config']['simulators']}",
                f"{summary['agent_steps'] / 1e6:.1f} M",
                score_text(summary["mean_return"]),
                " ± ".join(score_text(games[name]) for name in ("mean_return", "standard_error")),
                f"`{(run / 'command.txt').read_text(encoding='utf-8').strip()}`",
                f"[{kept['commit'][:10]}](../benchmarks/results/{name})",
            ]
        )
    columns = ["method", "learners x simulators", "agent steps", "last 100 games"]
    return _table([*columns, "10 games, greedily", "command", "commit"], rows)


def _figure(table: Callable[[dict[str, Any]], figures.Table], result: dict[str, Any]) -> str:
    title, columns, rows = table(result)
    return f"{title}\n\n{_table(columns, rows)}"


def _benchmark(result: dict[str, Any]) -> str:
    parts = []
    for title, columns, rows in result_tables.tables(result):
        parts += [f"{title[0].upper()}{title[1:]}.", _table(columns, rows)]
    parts += [f"{note[0].upper()}{note[1:]}." for note in result_tables.notes(result)]
    return "\n\n".join(parts)


def _peers(result: dict[str, Any]) -> str:
    rows, runs = [], result["pairs"]
    ours = [pair["ours"] for pairs in runs.values() for pair in pairs]
    name_of_ours = ours[0]["system"]
    rows.append([*_figures(ours), "", "", ""])
    for name, pairs in runs.items():
        if name in result["failures"]:
            rows.append([name, "", "", "", "", "", "", f"failed: {result['failures'][name]}"])
            continue
        found = result["verdicts"][name]
        rows.append(
            [
                *_figures([pair["peer"] for pair in pairs]),
                f"{found['ratio']:.2f}",
                f"{found['lowest']:.2f} … {found['highest']:.2f}",
                found["text"],
            ]
        )
    title = (
        f"Pong, {result['simulators']} simulators in all, training included, medians of "
        f"{result['rounds']} rounds of {result['seconds']:.0f} s each, `{name_of_ours}` right "
        f"before each of the others."
    )
    columns = ["system", "version", "agent steps/s", "memory, MiB", "cores busy"]
    return f"{title}\n\n{_table([*columns, f'{name_of_ours} / it', 'spread', 'verdict'], rows)}"


def _figures(runs: Sequence[dict[str, Any]]) -> list[str]:
    def middle(name: str) -> float:
        return float(statistics.median(run[name] for run in runs))

    rate = statistics.median(run["agent_steps"] / run["seconds"] for run in runs)
    return [
        runs[0]["system"],
        runs[0]["version"],
        f"{rate:,.0f}",
        f"{middle('resident_mib'):,.0f}",
        f"{middle('cpu_utilisation'):.0%}",
    ]


def _soak(result: dict[str, Any]) -> str:
    rows = [
        [
            row["process"],
            f"{row['memory_mib']:,.0f}",
            f"{row['mib_per_hour']:+.1f} ± {row['standard_error']:.1f}",
            "yes" if row["memory_grows"] else "no",
            " → ".join(map(str, row["handles"])),
            " → ".join(map(str, row["threads"])),
        ]
        for row in result["processes"]
    ]
    columns = ["process", "memory, MiB", "slope, MiB an hour", "grows", "handles", "threads"]
    return f"{result['minutes']:.0f} minutes of training Pong.\n\n{_table(columns, rows)}"


def _simulation(result: dict[str, Any]) -> str:
    def mean(case: dict[str, Any], of: str, name: str, power: int) -> float:
        values = (float(run[of][name]) for run in case["runs"])
        return math.pow(statistics.fmean(value**power for value in values), 1 / power)

    rows = [
        [
            f"{case['learners']}",
            *(f"{mean(case, of, 'updates_per_s', 1):,.0f}" for of in ("predicted", "measured")),
            f"{case['rate_ratio']:.2f}",
            *(f"{mean(case, of, 'consensus_rms', 2):.3g}" for of in ("predicted", "measured")),
            f"{case['distance_ratio']:.2f}",
        ]
        for case in result["cases"]
    ]
    title = (
        f"CartPole, {result['settings']['updates']:,} updates a learner, "
        f"{result['settings']['seeds']} seeds: mean rates, root mean square distances."
    )
    columns = ["learners", "updates/s predicted", "measured", "ratio"]
    columns += ["distance predicted", "measured", "ratio"]
    return f"{title}\n\n{_table(columns, rows)}"


def _profile(result: dict[str, Any]) -> str:
    columns = ["", *(f"{case['threads']} thread(s)" for case in result["cases"])]
    rows = [
        [f"{part}, ms", *(f"{case['ms'][part]:.1f}" for case in result["cases"])]
        for part in result["cases"][0]["ms"]
    ]
    operators = list(dict.fromkeys(name for c in result["cases"] for name in c["operators"]))
    rows += [
        [f"`{name}`", *(_share(case["operators"].get(name)) for case in result["cases"])]
        for name in operators[:8]
    ]
    title = (
        f"One learner alone, {result['simulators']} simulators, medians of a step of 5 x "
        f"{result['simulators']} agent steps; operators by their share of PyTorch's own time."
    )
    return f"{title}\n\n{_table(columns, rows)}"


def _alternating(result: dict[str, Any]) -> str:
    columns = ["simulators", "synchronised", "alternating", "ratio", "its quartiles"]
    rows = [
        [
            str(case["simulators"]),
            f"{case['synchronised_steps_per_s']:,.0f}",
            f"{case['alternating_steps_per_s']:,.0f}",
            *_ratio(case["ratio"], case["ratio_quartiles"]),
        ]
        for case in result["cases"]
    ]
    title = (
        f"One learner of {result['env']}, training included, agent steps a second: medians of "
        f"{result['rounds']} rounds of {result['updates_a_turn']} updates each, in turn."
    )
    return f"{title}\n\n{_table(columns, rows)}"


def _threads(result: dict[str, Any]) -> str:
    columns = ["learner", "simulators", "busy processes", "threads", "all cores", "by the rule"]
    rows = [
        [
            f"`{case['method']}`, {case['env']}",
            str(case["simulators"]),
            str(case["busy_processes"]),
            f"{case['acting_threads']}, {case['learning_threads']}",
            *(f"{case[name]:,.0f}" for name in ("all_cores_per_s", "rule_per_s")),
            *_ratio(case["ratio"], case["ratio_quartiles"]),
        ]
        for case in result["cases"]
    ]
    learners = _table([*columns, "rule / all cores", "its quartiles"], rows)
    columns = ["network", "observations", "MFLOP", "busy processes", "one thread", "all cores"]
    rows = [
        [
            case["network"],
            str(case["observations"]),
            f"{case['mflop']:,.1f}",
            str(case["busy_processes"]),
            *(f"{case[name]:,.0f}" for name in ("one_thread_per_s", "all_cores_per_s")),
            *_ratio(case["one_thread_over_all_cores"], case["ratio_quartiles"]),
        ]
        for case in result["passes"]
    ]
    passes = _table([*columns, "one thread / all cores", "its quartiles"], rows)
    title = (
        f"One learner, training included, agent steps per second with a thread per core and by the "
        f"rule (threads while acting, while learning): medians of {result['rounds']} rounds in "
        f"turn, on an idle machine and beside busy processes."
    )
    return f"{title}\n\n{learners}\n\nForward passes per second, likewise.\n\n{passes}"


def _ratio(ratio: float, quartiles: Sequence[float]) -> list[str]:
    return [f"{ratio:.2f}", " … ".join(f"{quartile:.2f}" for quartile in quartiles)]


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


LEARNED_PONG = (
    "pong-gala-a2c",
    "pong-ppo",
    "pong-gala-ppo",
    "pong-impala",
    "pong-impala-published",
)
LEARNED_BY_BACKENDS = ("vector-cartpole-gala-a2c", "pendulum-ppo", "minatar-breakout-a2c")

SUMMARIES: dict[str, Callable[[Path], str]] = {
    "goals": _goals,
    "pong": partial(_learned, LEARNED_PONG),
    "learned-by-backends": partial(_learned, LEARNED_BY_BACKENDS),
    "minatar-breakout": partial(_learned, LEARNED_BY_BACKENDS[-1:]),
    "scores": lambda results: _table(*atari_scores.runs(results)),
    "pong-to-18": lambda results: _table(*atari_scores.to_18(results)),
    "published-scores": lambda results: _table(*atari_scores.published(results)),
    "scores-left": atari_scores.left,
}
"""By name of the table."""

_RENDER: dict[str, Callable[[dict[str, Any]], str]] = {
    **dict.fromkeys(("peers", "peers-ppo", "systems"), _peers),
    **dict.fromkeys(("peers-cartpole", "peers-half-cheetah"), partial(_figure, scores.table)),
    **dict.fromkeys(("backends", "backends-ppo"), partial(_figure, environment_tables.backends)),
    **dict.fromkeys(figures.STUDIES, figures.study),
    **dict.fromkeys(("q-learning-gossip", "q-learning-memory"), partial(_figure, q_learning)),
    "stagger": partial(_figure, environment_tables.stagger),
    "soak": _soak,
    "profile": _profile,
    "alternating": _alternating,
    "threads": _threads,
    "simulation": _simulation,
    **{n: partial(_figure, table) for n, table in (figures.TABLES | faults.TABLES).items()},
}
"""By name of the result; any other is a table of `gala bench`."""


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rendered(page.read_text(encoding="utf-8")), encoding="utf-8")

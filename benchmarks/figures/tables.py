"""Tables of the figures' data, as docs/paper.md shows them: title, columns, rows."""

import statistics
from collections.abc import Sequence
from typing import Any

Table = tuple[str, list[str], list[list[str]]]


def convergence(result: dict[str, Any]) -> Table:
    """Convergence, and agent steps to the score; seconds where they were measured."""
    timed = not result["serial"]
    rule = {
        "sqrt": "in proportion to √ simulators",
        "linear": "in proportion to learners x √ simulators of one learner",
        "constant": "the same for all",
    }
    title = (
        f"{result['env']}: runs whose last 100 games reach a mean return of "
        f"{result['threshold']:g} within {result['steps']:,} agent steps; learning rate "
        f"{rule[result['learning_rate_rule']]}. To the score: median and quartiles of all runs, "
        f"– where too few arrived."
    )
    columns = ["simulators", "method", "learners", "converge", "95 % interval", "end above it"]
    columns += ["thousand agent steps to it", *(["seconds to it"] if timed else [])]
    rows = [
        [
            f"{group['simulators']}",
            f"`{group['method']}`",
            f"{group['learners']}",
            f"{group['converged']} of {group['runs']}",
            " … ".join(f"{bound:.0%}" for bound in group["interval"]),
            f"{group['above_at_the_end']}",
            _quartiles(group["reached_agent_steps_quartiles"], 1e-3),
            *([_quartiles(group["reached_s_quartiles"], 1.0)] if timed else []),
        ]
        for group in sorted(result["groups"], key=lambda g: (g["simulators"], g["method"]))
    ]
    return title, columns, rows


def agreement(result: dict[str, Any]) -> Table:
    """Mean cosines of each kind of pairs, and their differences."""
    title = (
        f"{result['env']}, {result['simulators']} simulators in groups of {result['group']}, "
        f"{result['steps']:,} agent steps, {len(result['cosines']['a2c, within'])} seeds: mean "
        f"over training of the cosine between two gradients, of one learner or of two."
    )
    rows = [
        [
            label(name),
            f"{found['mean']:.3f}",
            " … ".join(f"{bound:.3f}" for bound in found["interval"]),
        ]
        for name, found in result["summary"].items()
    ]
    return title, ["", "mean cosine", "95 % interval"], rows


def label(name: str) -> str:
    """Words for a kind of pairs of gradients."""
    return name.replace("within", "one learner").replace("between", "two learners")


def consensus(result: dict[str, Any]) -> Table:
    """Distances, their prediction and their bounds."""
    names = {
        "consensus_rms": "root mean square, measured",
        "consensus_rms_independent": "… if updates were independent",
        "consensus_rms_bound": "… bound from the mixes that happened",
        "consensus_rms_nominal_bound": "… the theorem's, if all mixed in every round",
        "consensus_span": "span, measured",
        "consensus_span_bound": "… bound from the mixes that happened",
    }
    rows = []
    for key, text in names.items():
        values = [row[key] for row in result["rows"] if row.get(key) is not None]
        above = result["violations"].get(key)
        if values:
            middle, last = f"{statistics.median(values):.3g}", f"{values[-1]:.3g}"
            rows.append([text, middle, last, "" if above is None else f"{above}"])
    title = f"{result['title']}: {result['rows_in_all']:,} looks at the distance between learners."
    return title, ["", "median", "at the end", "looks above the bound"], rows


STUDIES = (
    *("study-cartpole", "study-acrobot", "study-minatar", "study-lunar-lander"),
    *("study-ppo-cartpole", "study-ppo-acrobot"),
    *(
        f"study-{task}-{axis}"
        for task in ("cartpole", "acrobot")
        for axis in ("start", "topologies", "second-moments", "rmsprop-tf", "messages", "warm-up")
    ),
)
"""Folders of `benchmarks.figures.study`."""


def study(result: dict[str, Any]) -> str:
    """A table per task of a study: each update rule at default rates, and at its best.

    Several tasks at one rate share a table of ratios.
    """
    tasks = result["tasks"]
    rates = [len(rule["rates"]) for task in tasks for rule in task["rules"]]
    if len(tasks) > 1 and max(rates) == 1:
        return _at_one_rate(tasks)
    return "\n\n".join(_task(task) for task in tasks)


def _at_one_rate(tasks: Sequence[dict[str, Any]]) -> str:
    rules = sorted({(rule["learners"], rule["name"]) for task in tasks for rule in task["rules"]})
    names = [task["env"].rpartition(":")[2] for task in tasks]
    lines = [["learners", "update rule", *names], ["---"] * (2 + len(tasks))]
    for learners, name in rules:
        found = [
            _auc_and_ratio(rule["rates"][0])
            for task in tasks
            for rule in task["rules"]
            if (rule["learners"], rule["name"]) == (learners, name)
        ]
        lines.append([f"{learners}", name, *found])
    first = tasks[0]
    title = (
        f"{first['algorithm']}, {first['simulators']} simulators in all, {first['steps']:,} agent "
        f"steps, {first['rules'][0]['rates'][0]['runs']} seeds: AUC, and its ratio to that of one "
        f"large batch with its interval of 95 %."
    )
    return f"{title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _auc_and_ratio(found: dict[str, Any]) -> str:
    return f"{found['auc']:.3g}; {_interval(found['ratio'], found['ratio_interval'])}"


def _task(task: dict[str, Any]) -> str:
    runs = max(found["runs"] for rule in task["rules"] for found in rule["rates"])
    above = f", measured from {task['floor']:g}" if task["floor"] else ""
    title = (
        f"{task['env']}, {task['algorithm']}, {task['simulators']} simulators in all, "
        f"{task['steps']:,} agent steps, {runs} seeds; AUC{above}, its ratio to that of one large "
        f"batch with its interval of 95 %, and runs that reach {task['threshold']:g} (and end "
        f"there)."
    )
    columns = ["learners", "update rule", "default rate", "ratio", "reach", "best rate", "AUC"]
    columns += ["ratio of the best", "reach", "rates that work"]
    lines = [columns, ["---"] * len(columns), *(_rule(rule) for rule in task["rules"])]
    return f"{title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rule(rule: dict[str, Any]) -> list[str]:
    at = {found["rate"]: found for found in rule["rates"]}
    best = at[rule["best"]]
    default = ["–"] * 3 if 1.0 not in at else _at(at[1.0])
    auc, _, reached = _at(best)
    ratio = _interval(rule["ratio"], rule["ratio_interval"])
    start = [f"{rule['learners']}", rule["name"], *default, f"x{best['rate']:g}", auc]
    return [*start, ratio, reached, _working(rule)]


def _at(found: dict[str, Any]) -> list[str]:
    ratio = _interval(found["ratio"], found["ratio_interval"])
    reached = f"{found['reached']}/{found['runs']} ({found['kept']})"
    return [f"{found['auc']:.3g}", ratio, reached]


def _interval(value: float | None, ends: Sequence[float] | None) -> str:
    if value is None or ends is None:
        return "–"
    return f"{value:.2f} ({ends[0]:.2f} … {ends[1]:.2f})"


def _working(rule: dict[str, Any]) -> str:
    """The range of rates that work; where it ends with the rates that were tried, at least that."""
    tried = [found["rate"] for found in rule["rates"]]
    if rule["working"] is None or len(tried) == 1:
        return "–"
    low, high = rule["working"]
    least = "≥ " if low == tried[0] or high == tried[-1] else ""
    return f"x{low:g} … x{high:g} ({least}{high / low:g} times)"


TABLES = {
    "converging": convergence,
    "converging-acrobot": convergence,
    "converging-constant": convergence,
    "converging-linear": convergence,
    "converging-linear-acrobot": convergence,
    "time-to-score": convergence,
    "agreement": agreement,
    "consensus": consensus,
}
"""By name of the figure's folder."""


def _quartiles(quartiles: Sequence[float | None], scale: float) -> str:
    low, middle, high = ("–" if q is None else f"{q * scale:.3g}" for q in quartiles)
    return f"{middle} ({low} … {high})"

"""Tables of the figures' data, as docs/paper.md shows them: title, columns, rows."""

import statistics
from collections.abc import Sequence
from typing import Any

Table = tuple[str, list[str], list[list[str]]]


def convergence(result: dict[str, Any]) -> Table:
    """Convergence, and agent steps to the score; seconds where they were measured."""
    timed = not result["serial"]
    rule = {"sqrt": "in proportion to √ simulators", "constant": "the same for all"}
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


TABLES = {
    "converging": convergence,
    "converging-acrobot": convergence,
    "converging-constant": convergence,
    "time-to-score": convergence,
    "agreement": agreement,
    "consensus": consensus,
}
"""By name of the figure's folder."""


def _quartiles(quartiles: Sequence[float | None], scale: float) -> str:
    low, middle, high = ("–" if q is None else f"{q * scale:.3g}" for q in quartiles)
    return f"{middle} ({low} … {high})"

"""Tables of what faults cost and leave behind, as docs/faults.md shows them."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.figures.tables import Table
from gala_rl.records.metrics import score_text


def soak(result: dict[str, Any]) -> Table:
    """What came, and what was left of the run."""
    came = ", ".join(f"{count} {kind}" for kind, count in sorted(result["faults"].items()))
    title = (
        f"`gala-a2c` on CartPole, 4 learners, {result['seconds'] / 60:.1f} minutes, a fault every "
        f"{result['every_s']:g} s: {came}."
    )
    rows = [
        ["restarts", f"{result['restarts']}"],
        ["agent steps", f"{result['agent_steps']:,}"],
        ["checkpoints, all of them whole", f"{result['checkpoints']}"],
        ["problems", "; ".join(result["problems"]) or "none"],
    ]
    if "returns" in result:
        low, high = result["returns"]["fault_free"]
        rows += [
            [
                "mean return of the last games, second half",
                score_text(result["returns"]["with_faults"]),
            ],
            ["without faults, nine of ten", f"{score_text(low)} to {score_text(high)}"],
        ]
    if result["slope"] is not None:
        slope, error = (result["slope"][name] for name in ("mib_per_hour", "standard_error"))
        rows.append(["supervisor's memory, MiB an hour", f"{slope:+.1f} ± {error:.1f}"])
    return title, ["", ""], rows


def power_cut(result: dict[str, Any]) -> Table:
    """What was lost, in intervals between checkpoints, by method."""
    settings = result["settings"]
    title = (
        f"Pong, all processes killed at a random moment and the run resumed, a checkpoint "
        f"{settings['interval_s']:g} s after the one before; lost: steps made after the newest "
        f"checkpoint, in those of {settings['interval_s']:g} s."
    )
    rows = []
    for method in dict.fromkeys(run["method"] for run in result["runs"]):
        runs = [run for run in result["runs"] if run["method"] == method]
        lost = [run["lost_intervals"] for run in runs if "lost_intervals" in run]
        problems = [problem for run in runs for problem in run["problems"]]
        rows.append(
            [
                f"`{method}`",
                f"{len(runs)}",
                f"{statistics.median(lost):.2f}",
                f"{max(lost):.2f}",
                "; ".join(problems) or "none",
            ]
        )
    return title, ["method", "kills", "lost, median", "most", "problems"], rows


def cut(result: dict[str, Any]) -> Table:
    """Rates of the halves and distances, run by run."""
    settings = result["settings"]
    where = "the link between two machines" if settings["link"] else "all between two halves"
    title = (
        f"`gala-a2c` on Pong, 4 x {settings['simulators']} simulators; {where} cut for "
        f"{settings['cut_s']:g} s. Agent steps/s of each half, and root mean square distances of "
        f"the learners from their mean: medians before, at the end of the cut, and later."
    )
    rows = []
    for number, run in enumerate(result["runs"], 1):
        halves = [
            " → ".join(f"{half[f'{when}_sps']:,.0f}" for when in ("before", "during", "after"))
            for half in run["halves"]
        ]
        distance = " → ".join("–" if d is None else f"{d:.3g}" for d in run["distance"].values())
        healed = "not" if run["healed_s"] is None else f"{run['healed_s']:.1f}"
        rows.append([f"{number}", *halves, distance, healed])
    columns = ["run", "one half", "the other", "distance", "back within the former, s"]
    return title, columns, rows


def _with_range(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})"


_FORMS = {"sps": ",.0f", "mbit_per_s": ",.0f", "mixes_per_update": ".2f", "distance": ".3g"}


def shaped(result: dict[str, Any]) -> Table:
    """Rates with and without the slow link."""
    settings, rounds = result["settings"], result["rounds"]
    title = (
        f"`gala-a2c` on Pong, {settings['learners']} learners on two machines that are network "
        f"namespaces of one, {len(rounds)} rounds of {settings['seconds']:g} s each; shaped: "
        f"{settings['bits_per_s'] / 1e9:g} Gbit/s and {1000 * settings['delay_s']:g} ms, each way."
    )
    rows = []
    for name in rounds[0]:
        medians = (
            f"{statistics.median(found[name][what] for found in rounds):{form}}"
            for what, form in _FORMS.items()
        )
        ratios = result["of_unshaped"].get(name)
        rows.append([name, *medians, "" if ratios is None else _with_range(ratios)])
    columns = ["link, messages", "agent steps/s", "Mbit/s that crossed", "mixes an update"]
    columns += ["distance", "rate / unshaped"]
    return title, columns, rows


_COSTS = {
    "agent steps/s before": ("before_sps", ",.0f"),
    "in the 5 s after": ("soon_sps", ",.0f"),
    "longest pause before, s": ("longest_pause_before_s", ".2f"),
    "after, s": ("longest_pause_s", ".2f"),
    "a batch, s": ("resolution_s", ".2f"),
    "0.95 of before after, s": ("recovery_s", ".1f"),
    "restarts": ("restarts", ".0f"),
}


def rllib(result: dict[str, Any]) -> Table:
    """What a killed runner costs RLlib's learner, round by round."""
    settings, rounds = result["settings"], result["rounds"]
    title = (
        f"RLlib {rounds[0]['version']}, IMPALA on Pong, {settings['runners']} runners with "
        f"{settings['simulators']} simulators in all, of which one is killed."
    )
    rows = [
        [
            f"{number}",
            *("–" if (x := r[name]) is None else f"{x:{form}}" for name, form in _COSTS.values()),
        ]
        for number, r in enumerate(rounds, 1)
    ]
    return title, ["round", *_COSTS], rows


TABLES: dict[str, Callable[[dict[str, Any]], Table]] = {
    "faults-soak": soak,
    "faults-kills": soak,
    "faults-power-cut": power_cut,
    "faults-cut": cut,
    "faults-cut-link": cut,
    "faults-shaped": shaped,
    "faults-rllib": rllib,
}
"""By name of the result."""

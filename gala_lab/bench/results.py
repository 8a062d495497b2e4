"""The JSON document that every benchmark returns: settings, cases, provenance, what is missing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gala_lab.bench.rounds import MIN_ROUNDS, NOISY_ABOVE, Ratios, Round, paired, summarize
from gala_rl.config.train import TrainConfig
from gala_rl.records.provenance import provenance


def case(labels: Mapping[str, Any], rounds: Sequence[Round], ratios: Ratios) -> dict[str, Any]:
    """Return one case, measured in several rounds.

    Args:
        labels: what was measured.
        rounds: its measurements.
        ratios: to form within each round.

    Returns:
        The labels, what `summarize` returns for the rounds, and the `rounds`, with their ratios if
        there are enough of them.
    """
    formed = ratios if len(rounds) >= MIN_ROUNDS else {}
    whole = [
        {**r, **{name: paired([r], ratio)[0] for name, ratio in formed.items()}} for r in rounds
    ]
    return {**labels, **summarize(rounds, ratios), "rounds": whole}


def result(
    benchmark: str,
    settings: Mapping[str, Any],
    numbers: Mapping[str, Any],
    missing: Iterable[str],
) -> dict[str, Any]:
    """Return a whole result, as it is printed with `--json`.

    Args:
        benchmark: its name.
        settings: settings of the command with defaults filled in, including `repeats`.
        numbers: one case, or `cases`.
        missing: why something was not measured, a line each.

    Returns:
        All of that; `notes` for people and the provenance of the code that ran.
    """
    notes = list(dict.fromkeys(missing))
    if settings["repeats"] < MIN_ROUNDS:
        notes.append(f"ratios need {MIN_ROUNDS} rounds: --repeats {MIN_ROUNDS}")
    cases = numbers.get("cases", [numbers])
    if noisy := any(case.get("noisy", False) for case in cases):
        notes.append(
            f"too noisy to conclude from where so marked (spread above {NOISY_ABOVE:.0%} of the "
            f"median): quieten the machine, or take more rounds or seconds"
        )
    return {
        "benchmark": benchmark,
        "settings": dict(settings),
        **numbers,
        "noisy": noisy,
        "notes": notes,
        **provenance(),
    }


def settings_of(config: TrainConfig, device: str) -> dict[str, Any]:
    """Return the settings of a training that benchmarks vary; all others have their defaults.

    Args:
        config: resolved.
        device: type of the device that the config's means here.
    """
    names = ("method", "env", "learners", "simulators", "precision")
    return {name: getattr(config, name) for name in names} | {"device": device}

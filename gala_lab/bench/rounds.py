"""Statistics of rounds of measurements: medians, paired ratios, and whether they are too noisy.

A round measures everything once, in turn, so that two numbers of one round saw the same machine:
ratios are taken within a round and the median over the rounds.

Whether a ratio can be concluded from follows from its spread: the width, relative to the median,
of the narrowest interval of order statistics that encloses the true median with a probability of
at least 3/4, whatever the distribution. With 3 to 5 rounds it reaches from the smallest to the
largest; from 6 on the outermost no longer count, so that more rounds help. No interval of fewer
than 3 rounds has that probability: they make no ratio.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

MIN_ROUNDS = 3
"""With fewer there is no interval around the median, and no ratio."""
NOISY_ABOVE = 0.2
"""A ratio whose spread is larger is too noisy to conclude from."""

Round = Mapping[str, float | None]
"""Measurements of one round by name; None for what cannot be measured here."""
Ratios = Mapping[str, tuple[str, str]]
"""Name of a ratio: names of its numerator and its denominator."""


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the interval that encloses the true median with a probability of 3/4 or more.

    The k-th smallest and the k-th largest enclose it unless fewer than k values fall on one of its
    sides, each value falling on either with probability 1/2 (the sign test's interval).

    Returns:
        Two of the values, those of the largest such k; None for fewer than `MIN_ROUNDS` values.
    """
    count, k, outside = len(values), 0, 1
    while 8 * outside <= 2**count:
        k += 1
        outside += math.comb(count, k)
    if k == 0:
        return None
    ordered = sorted(values)
    return ordered[k - 1], ordered[count - k]


def spread(values: Sequence[float]) -> float | None:
    """Return the width of `median_interval` relative to the median; None if it does not exist."""
    interval = median_interval(values)
    if interval is None or (middle := statistics.median(values)) == 0:
        return None
    return (interval[1] - interval[0]) / abs(middle)


def summarize(rounds: Sequence[Round], ratios: Ratios) -> dict[str, Any]:
    """Return medians of all measurements and paired ratios, and which ratios are too noisy.

    Args:
        rounds: at least one, all with the same names.
        ratios: to form within each round.

    Returns:
        Each name with its median (None for what was not measured, and for ratios of fewer than
        `MIN_ROUNDS` rounds); `spread` of each; `needs_rounds`, the ratios that more rounds would
        make; `too_noisy`, the ratios not to conclude from; `noisy`, whether there are any.
    """
    columns = {name: [r[name] for r in rounds] for name in rounds[0]}
    columns |= {name: paired(rounds, ratio) for name, ratio in ratios.items()}
    known = {name: _known(column) for name, column in columns.items()}
    medians = {name: statistics.median(x) if x else None for name, x in known.items()}
    needs_rounds = [name for name in ratios if known[name] and len(rounds) < MIN_ROUNDS]
    medians |= dict.fromkeys(needs_rounds)
    spreads = {name: spread(x) for name, x in known.items()}
    too_noisy = [name for name in ratios if (spreads[name] or 0.0) > NOISY_ABOVE]
    return {
        **medians,
        "spread": spreads,
        "needs_rounds": needs_rounds,
        "too_noisy": too_noisy,
        "noisy": bool(too_noisy),
    }


def paired(rounds: Sequence[Round], ratio: tuple[str, str]) -> list[float | None]:
    """Return a ratio (numerator, denominator) in each round; None where it cannot be formed."""
    return [_divide(r[ratio[0]], r[ratio[1]]) for r in rounds]


def _divide(numerator: float | None, denominator: float | None) -> float | None:
    return None if numerator is None or not denominator else numerator / denominator


def _known(column: Sequence[float | None]) -> list[float]:
    """Return a column's numbers; none at all if any is missing: rounds must be compared equally."""
    numbers = [value for value in column if value is not None]
    return numbers if len(numbers) == len(column) else []

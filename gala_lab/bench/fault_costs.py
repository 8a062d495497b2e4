"""What a fault costs, from sampled progress of the learners before and after it."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

SOON_S = 5.0
"""`soon_sps` is the rate over this many seconds after a fault."""
RECOVERED = 0.95
"""Share of the former rate at which a run counts as recovered."""
_WINDOW_S = 2.0
"""Rates after the fault are taken over this many seconds."""


class ProgressSample(NamedTuple):
    """A time in seconds, and agent steps per learner at that time."""

    time_s: float
    agent_steps: list[int]


def costs(
    samples: Sequence[ProgressSample], fault_s: float, affected: Collection[int]
) -> dict[str, float | None]:
    """Return what a fault costs.

    Args:
        samples: in order, from before the fault and from at least `SOON_S` after it.
        fault_s: when it began.
        affected: ranks of the learners that it affects.

    Returns:
        `before_sps`; `soon_sps`, in the first 5 s; `lost_agent_steps`, those that the former rate
        would have made until the last sample; `recovery_s` until 2 s have at least 0.95 of the
        former rate, None if none have; `longest_pause_s` of the other learners, None without
        others; and `longest_pause_before_s`, the same before the fault.
    """
    before = [sample for sample in samples if sample.time_s <= fault_s]
    after = [sample for sample in samples if sample.time_s > fault_s]
    if len(before) < 2 or not after:
        raise ValueError("a fault needs samples before and after it")
    after = [before[-1], *after]
    rate = _rate(before[0], before[-1])
    soon = max((s for s in after if s.time_s <= fault_s + SOON_S), key=lambda s: s.time_s)
    expected = rate * (after[-1].time_s - after[0].time_s)
    return {
        "before_sps": rate,
        "soon_sps": _rate(after[0], soon),
        "lost_agent_steps": max(0.0, expected - (_total(after[-1]) - _total(after[0]))),
        "recovery_s": _recovery_s(after, rate, fault_s),
        "longest_pause_s": _longest_pause_s(after, affected),
        "longest_pause_before_s": _longest_pause_s(before, affected),
    }


def _total(sample: ProgressSample) -> int:
    return sum(sample.agent_steps)


def _rate(first: ProgressSample, last: ProgressSample) -> float:
    elapsed_s = last.time_s - first.time_s
    return (_total(last) - _total(first)) / elapsed_s if elapsed_s > 0 else 0.0


def _recovery_s(after: Sequence[ProgressSample], rate: float, fault_s: float) -> float | None:
    """Return the seconds from the fault to the first window at nearly the former rate."""
    end = 0
    for sample in after:
        while end < len(after) and after[end].time_s < sample.time_s + _WINDOW_S:
            end += 1
        if end == len(after):
            return None
        if _rate(sample, after[end]) >= RECOVERED * rate:
            return max(0.0, sample.time_s - fault_s)
    return None


def _longest_pause_s(samples: Sequence[ProgressSample], affected: Collection[int]) -> float | None:
    """Return the longest time in which a learner that is not affected made no step."""
    pauses = [
        _pause_s([(sample.time_s, sample.agent_steps[rank]) for sample in samples])
        for rank in range(len(samples[0].agent_steps))
        if rank not in affected
    ]
    return max(pauses, default=None)


def _pause_s(steps_at: Sequence[tuple[float, int]]) -> float:
    longest, (since, steps) = 0.0, steps_at[0]
    for time_s, made in steps_at:
        longest = max(longest, time_s - since)
        if made > steps:
            since, steps = time_s, made
    return longest

"""What a fault costs: how far learners were when, before and after it, read off samples."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

SOON_S = 5.0
"""What is lost at once is looked for in so many seconds after a fault."""
RECOVERED = 0.95
"""Share of the former rate at which a run has recovered."""
_WINDOW_S = 2.0
"""A rate after the fault is that of so many seconds."""


class ProgressSample(NamedTuple):
    """One look: the time in seconds, and the agent steps of each learner so far."""

    time_s: float
    agent_steps: list[int]


def costs(
    samples: Sequence[ProgressSample], fault_s: float, struck: Collection[int]
) -> dict[str, float | None]:
    """What a fault costs.

    Args:
        samples: in order, from before the fault and from at least `SOON_S` after it.
        fault_s: when it came.
        struck: ranks of the learners to which it happened.

    Returns:
        `before_sps`; `soon_sps`, in the first 5 s; `lost_agent_steps`, that the former rate would
        have made until the last sample; `recovery_s` until 2 s have at least 0.95 of the former
        rate, None if none have; `longest_pause_s` of the other learners, None without others, and
        before the fault `longest_pause_before_s`.
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
        "longest_pause_s": _longest_pause_s(after, struck),
        "longest_pause_before_s": _longest_pause_s(before, struck),
    }


def _total(sample: ProgressSample) -> int:
    return sum(sample.agent_steps)


def _rate(first: ProgressSample, last: ProgressSample) -> float:
    elapsed_s = last.time_s - first.time_s
    return (_total(last) - _total(first)) / elapsed_s if elapsed_s > 0 else 0.0


def _recovery_s(after: Sequence[ProgressSample], rate: float, fault_s: float) -> float | None:
    """Seconds from the fault to the begin of the first window at nearly the former rate."""
    end = 0
    for sample in after:
        while end < len(after) and after[end].time_s < sample.time_s + _WINDOW_S:
            end += 1
        if end == len(after):
            return None
        if _rate(sample, after[end]) >= RECOVERED * rate:
            return max(0.0, sample.time_s - fault_s)
    return None


def _longest_pause_s(samples: Sequence[ProgressSample], struck: Collection[int]) -> float | None:
    """Longest time in which a learner other than the struck ones made no step."""
    pauses = [
        _pause_s([(sample.time_s, sample.agent_steps[rank]) for sample in samples])
        for rank in range(len(samples[0].agent_steps))
        if rank not in struck
    ]
    return max(pauses, default=None)


def _pause_s(seen: Sequence[tuple[float, int]]) -> float:
    longest, (since, steps) = 0.0, seen[0]
    for time_s, made in seen:
        longest = max(longest, time_s - since)
        if made > steps:
            since, steps = time_s, made
    return longest

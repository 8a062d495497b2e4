"""Returns straight from their definition: every sum written out, slow and hard to get wrong."""

from collections.abc import Sequence

Floats = Sequence[Sequence[float]]
Flags = Sequence[Sequence[bool]]


def literal_return(
    t: int,
    rewards: Sequence[float],
    terminated: Sequence[bool],
    truncated: Sequence[bool],
    truncation_values: Sequence[float],
    bootstrap_value: float,
    discount: float,
) -> float:
    """r_t + γ r_{t+1} + γ² r_{t+2} + … up to the end, the cut or the end of the rollout."""
    total = 0.0
    for k in range(t, len(rewards)):
        total += discount ** (k - t) * rewards[k]
        if terminated[k]:
            return total
        if truncated[k]:
            return total + discount ** (k - t + 1) * truncation_values[k]
    return total + discount ** (len(rewards) - t) * bootstrap_value


def literal_returns(
    rewards: Floats,
    terminated: Flags,
    truncated: Flags,
    truncation_values: Floats,
    bootstrap_values: Sequence[float],
    discount: float,
) -> list[list[float]]:
    """[T][B] `literal_return` of each step of each simulator."""

    def column(rows: Sequence[Sequence[float]], b: int) -> list[float]:
        return [row[b] for row in rows]

    return [
        [
            literal_return(
                t,
                column(rewards, b),
                [row[b] for row in terminated],
                [row[b] for row in truncated],
                column(truncation_values, b),
                bootstrap_values[b],
                discount,
            )
            for b in range(len(bootstrap_values))
        ]
        for t in range(len(rewards))
    ]

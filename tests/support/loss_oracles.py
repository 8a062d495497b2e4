"""Returns and advantages straight from their definition: every sum and product written out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

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


@dataclass(frozen=True)
class Steps:
    """What one simulator went through: a list per field, one entry a step."""

    rewards: list[float]
    terminated: list[bool]
    truncated: list[bool]
    truncation_values: list[float]
    values: list[float]
    bootstrap_value: float
    discount: float

    def last(self, t: int) -> int:
        """Last step of the episode that step t belongs to, or of the rollout."""
        for k in range(t, len(self.rewards)):
            if self.terminated[k] or self.truncated[k]:
                return k
        return len(self.rewards) - 1

    def following(self, t: int, values: Sequence[float]) -> float:
        """What comes after step t, where `values` are those of the steps of the rollout."""
        if self.terminated[t]:
            return 0.0
        if self.truncated[t]:
            return self.truncation_values[t]
        return self.bootstrap_value if t == len(values) - 1 else values[t + 1]

    def td_error(self, t: int) -> float:
        """r_t + γ V'_t - V(x_t)."""
        following = self.following(t, self.values)
        return self.rewards[t] + self.discount * following - self.values[t]

    def generalized_advantage(self, t: int, gae_lambda: float) -> float:
        """Σ_l (γλ)^l δ_{t+l}."""
        return sum(
            (self.discount * gae_lambda) ** (k - t) * self.td_error(k)
            for k in range(t, self.last(t) + 1)
        )

    def vtrace_target(self, s: int, ratios: Sequence[float], rho: float, c: float) -> float:
        """V(x_s) + Σ_t γ^{t-s} (Π_{s≤i<t} min(c̄, ratio_i)) min(ρ̄, ratio_t) δ_t."""
        return self.values[s] + sum(
            self.discount ** (t - s)
            * math.prod(min(c, ratios[i]) for i in range(s, t))
            * min(rho, ratios[t])
            * self.td_error(t)
            for t in range(s, self.last(s) + 1)
        )


EPSILON = Decimal("1e-3")


def literal_h(x: float) -> float:
    """sign(x) (√(|x| + 1) - 1) + ε x, with 40 digits."""
    with localcontext(prec=40):
        size = Decimal(abs(x))
        return math.copysign(float((size + 1).sqrt() - 1 + EPSILON * size), x)


def literal_h_inverse(y: float) -> float:
    """Proposition A.2 of Pohlen et al. 2018, with 40 digits."""
    with localcontext(prec=40):
        size = Decimal(abs(y))
        root = (1 + 4 * EPSILON * (size + 1 + EPSILON)).sqrt()
        return math.copysign(float(((root - 1) / (2 * EPSILON)) ** 2 - 1), y)


def literal_rescaled_target(
    t: int,
    rewards: Sequence[float],
    values: Sequence[float],
    terminates: bool,
    n_step: int,
    discount: float,
) -> float:
    """h(r_t + γ r_{t+1} + … + γ^j h⁻¹(V(x_{t+j}))) for an episode of T rewards and T + 1 values."""
    last = min(t + n_step, len(rewards))
    total = sum(discount ** (i - t) * rewards[i] for i in range(t, last))
    if last == len(rewards) and terminates:
        return literal_h(total)
    return literal_h(total + discount ** (last - t) * literal_h_inverse(values[last]))


def literal_projection(
    probabilities: Sequence[float], reward: float, discount: float, atoms: Sequence[float]
) -> list[float]:
    """Algorithm 1 of Bellemare et al. 2017, with an atom that meets another left whole."""
    lowest, spacing = atoms[0], atoms[1] - atoms[0]
    result = [0.0] * len(atoms)
    for p, z in zip(probabilities, atoms, strict=True):
        moved = min(max(reward + discount * z, lowest), atoms[-1])
        place = min((moved - lowest) / spacing, len(atoms) - 1.0)
        below, above = math.floor(place), math.ceil(place)
        if below == above:
            result[below] += p
        else:
            result[below] += p * (above - place)
            result[above] += p * (place - below)
    return result

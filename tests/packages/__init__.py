"""Environments of other packages, of the extra `environments`.

Those of MO-Gymnasium reward several objectives, so that they are trained on the sum of these:
`tests.packages:Summed-ID`.
"""

from typing import Any

import gymnasium

SUMMED = (
    "breakable-bottles-v0",
    "deep-sea-treasure-v0",
    "fishwood-v0",
    "four-room-v0",
    "fruit-tree-v0",
    "minecart-v0",
    "mo-halfcheetah-v5",
    "mo-lunar-lander-continuous-v3",
    "mo-mountaincar-v0",
    "mo-reacher-v5",
    "resource-gathering-v0",
    "water-reservoir-v0",
)


def summed(of: str) -> Any:
    """Build an environment of MO-Gymnasium, rewarded with the sum of its objectives."""
    from mo_gymnasium.wrappers import LinearReward

    return LinearReward(gymnasium.make(f"mo_gymnasium:{of}"))


for _id in SUMMED:
    gymnasium.register(
        f"Summed-{_id}", "tests.packages:summed", disable_env_checker=True, kwargs={"of": _id}
    )

"""Environments whose every number is known, by Gymnasium id `tests.environments:NAME-v0`."""

import gymnasium

from tests.environments.known import Counting as Counting
from tests.environments.known import DrawingGlobally as DrawingGlobally
from tests.environments.known import Drifting as Drifting
from tests.environments.spaces import Letters as Letters
from tests.environments.spaces import Parts as Parts
from tests.environments.spaces import Stripes as Stripes
from tests.environments.tasks import Bandit as Bandit
from tests.environments.tasks import CartPoleWithoutVelocities as CartPoleWithoutVelocities
from tests.environments.tasks import Corridor as Corridor
from tests.environments.tasks import Recall as Recall
from tests.environments.tasks import Unscaled as Unscaled
from tests.environments.troubles import Breaking as Breaking
from tests.environments.troubles import CrashingAtClose as CrashingAtClose
from tests.environments.troubles import Failing as Failing
from tests.environments.troubles import FailingInLearner2 as FailingInLearner2
from tests.environments.troubles import Owning as Owning
from tests.environments.troubles import Poisoned as Poisoned
from tests.environments.troubles import PoisonedOnDemand as PoisonedOnDemand
from tests.environments.troubles import Slow as Slow
from tests.environments.troubles import SlowInLearners as SlowInLearners
from tests.environments.troubles import SlowToBuild as SlowToBuild
from tests.environments.troubles import Treacherous as Treacherous
from tests.environments.troubles import Troubled as Troubled
from tests.environments.vector import CountingVector as CountingVector

_PREFIX = "tests.environments:"

gymnasium.register("Counting-v0", f"{_PREFIX}Counting", disable_env_checker=True)
gymnasium.register(
    "CountingTruncated-v0",
    f"{_PREFIX}Counting",
    disable_env_checker=True,
    kwargs={"length": 7, "truncates": True},
)
gymnasium.register("Drifting-v0", f"{_PREFIX}Drifting", disable_env_checker=True)
gymnasium.register("SlowToBuild-v0", f"{_PREFIX}SlowToBuild", disable_env_checker=True)
gymnasium.register("FailingInLearner2-v0", f"{_PREFIX}FailingInLearner2", disable_env_checker=True)
gymnasium.register("Slow-v0", f"{_PREFIX}Slow", disable_env_checker=True)
gymnasium.register("Failing-v0", f"{_PREFIX}Failing", disable_env_checker=True)
gymnasium.register(
    "AlwaysFailing-v0", f"{_PREFIX}Failing", disable_env_checker=True, kwargs={"always": True}
)
for _name in (
    "Breaking",
    "CrashingAtClose",
    "DrawingGlobally",
    "Owning",
    "SlowInLearners",
    "Troubled",
    "Treacherous",
    "Stripes",
):
    gymnasium.register(f"{_name}-v0", f"{_PREFIX}{_name}", disable_env_checker=True)
gymnasium.register(
    "CartPoleWithoutVelocities-v0",
    f"{_PREFIX}CartPoleWithoutVelocities",
    disable_env_checker=True,
    max_episode_steps=500,
)
gymnasium.register("Poisoned-v0", f"{_PREFIX}Poisoned", disable_env_checker=True)
gymnasium.register("PoisonedOnDemand-v0", f"{_PREFIX}PoisonedOnDemand", disable_env_checker=True)
for _pays in ("always", "observation", "action", "match"):
    gymnasium.register(
        f"Bandit-{_pays}-v0",
        f"{_PREFIX}Bandit",
        disable_env_checker=True,
        kwargs={"pays": _pays},
    )
gymnasium.register("Unscaled-v0", f"{_PREFIX}Unscaled", disable_env_checker=True)
gymnasium.register(
    "CorridorEnds-v0",
    f"{_PREFIX}Corridor",
    disable_env_checker=True,
    kwargs={"length": 3, "truncates": False},
)
gymnasium.register(
    "CorridorIsCut-v0",
    f"{_PREFIX}Corridor",
    disable_env_checker=True,
    kwargs={"length": 3, "truncates": True},
)
gymnasium.register("Recall-v0", f"{_PREFIX}Recall", disable_env_checker=True)
gymnasium.register("Parts-v0", f"{_PREFIX}Parts", disable_env_checker=True)
gymnasium.register("Letters-v0", f"{_PREFIX}Letters", disable_env_checker=True)
gymnasium.register("CountingVector-v0", vector_entry_point=f"{_PREFIX}CountingVector")

"""What a method is: a name for a combination, with where it comes from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.spaces import EnvKind

Sharing = Literal["nothing", "gossip", "gradients", "parameters", "locked-parameters"]
"""What learners share: nothing, since there is one; parameters with their neighbours, now and then;
the mean of their gradients; or one parameter vector, with or without locks."""


@dataclass(frozen=True)
class Method:
    """A named combination of algorithm, system and gossip.

    Attributes:
        name: on the command line.
        title: in words.
        paper: where it comes from.
        sharing: how several learners learn together.
        default_learners: from the number of cores to the number of learners.
        default_simulators: of a learner, for an environment of that kind.
        settings: of the algorithm, for an environment of that kind.
    """

    name: str
    title: str
    paper: str
    sharing: Sharing
    default_learners: Callable[[int], int]
    default_simulators: Callable[[EnvKind], int]
    settings: Callable[[EnvKind], AlgorithmSettings]

    @property
    def gossips(self) -> bool:
        """Whether several learners average their parameters with their neighbours."""
        return self.sharing == "gossip"

    @property
    def has_actors(self) -> bool:
        """Whether a learner has actor processes."""
        return self.settings("discrete").acts_in_processes

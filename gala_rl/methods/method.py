"""What a method is: a name for a combination, with where it comes from."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """A named combination of algorithm, system and gossip.

    Attributes:
        name: on the command line.
        title: in words.
        paper: where it comes from.
        gossips: whether several learners average their parameters.
        default_learners: from the number of cores to the number of learners.
    """

    name: str
    title: str
    paper: str
    gossips: bool
    default_learners: Callable[[int], int]

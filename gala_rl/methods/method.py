"""A method: a named combination of algorithm and gossip, with its paper."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.spaces import EnvKind

Sharing = Literal["nothing", "gossip", "gradients", "parameters", "locked-parameters"]
"""What several learners share: nothing (there is one learner), parameters with their neighbours by
gossip, the mean of their gradients, or one parameter vector without or with locks."""

MAX_DEFAULT_LEARNERS = 8
"""More would be faster on a large machine, but with 16 simulators each the batch gets large."""


def one_per_core(cores: int) -> int:
    """Return one learner per core: with one thread each, no core waits for another."""
    return min(max(2, cores), MAX_DEFAULT_LEARNERS)


@dataclass(frozen=True)
class Method:
    """A named combination of algorithm, system and gossip.

    Attributes:
        name: name on the command line.
        title: description in a few words.
        paper: source of algorithm and settings.
        sharing: what several learners share.
        default_learners: number of learners, given the number of cores.
        default_simulators: number of simulators per learner, given the kind of environment.
        settings: settings of the algorithm, given the kind of environment.
        paper_settings: those among them in which its paper differs: `--preset paper`.
        default_lstm_size: units of its LSTM, given the kind of environment; 0: none.
        atari: settings of the Atari protocol in which it differs from the other methods.
    """

    name: str
    title: str
    paper: str
    sharing: Sharing
    default_learners: Callable[[int], int]
    default_simulators: Callable[[EnvKind], int]
    settings: Callable[[EnvKind], AlgorithmSettings]
    paper_settings: Mapping[str, Any] = field(default_factory=dict)
    default_lstm_size: Callable[[EnvKind], int] = lambda kind: 0
    atari: Mapping[str, Any] = field(default_factory=dict)

    @property
    def gossips(self) -> bool:
        """Whether several learners average their parameters with their neighbours."""
        return self.sharing == "gossip"

    @property
    def learns_action_values(self) -> bool:
        """Whether its network predicts Q(x, a); see `AlgorithmSettings.learns_action_values`."""
        return self.settings("discrete").learns_action_values

    @property
    def has_actors(self) -> bool:
        """Whether a learner has actor processes."""
        return self.settings("discrete").acts_in_processes

"""The training runs whose scores docs/scores.md shows, in order of worth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

LEARNER_SIMULATORS = 16
GAMES = ("Breakout", "Pong", "SpaceInvaders", "Qbert", "BeamRider", "Seaquest")
"""The games of the GALA paper."""
ATARI_5 = ("BattleZone", "DoubleDunk", "NameThisGame", "Phoenix", "Qbert")
"""The games whose scores predict the median over 57 games: "Atari-5: Distilling the Arcade Learning
Environment down to Five Games", Aitchison et al. 2023."""


@dataclass(frozen=True)
class ScoreRun:
    """A training run.

    Attributes:
        method: name of the method.
        env: Gymnasium id.
        learners: number of learners.
        simulators: simulators per learner.
        seed: seed of the run.
        steps: agent steps of all learners together.
        preset: "tuned", or "paper" for the settings of the method's paper.
        stop_at: mean return of the last 100 games at which it ends; None: after `steps`.
    """

    method: str
    env: str
    learners: int
    simulators: int
    seed: int
    steps: int = 10_000_000
    preset: str = "tuned"
    stop_at: float | None = None

    @property
    def game(self) -> str:
        """Name of the game, without its version."""
        return self.env.removeprefix("ALE/").removesuffix("NoFrameskip-v4").removesuffix("-v5")

    @property
    def is_sticky(self) -> bool:
        """Whether the last action repeats with a probability of 0.25."""
        return self.env.startswith("ALE/")

    @property
    def name(self) -> str:
        """Name of the run's folders."""
        parts = [self.game.lower(), self.method, f"{self.learners}x{self.simulators}"]
        parts += ["sticky"] * self.is_sticky + ["paper"] * (self.preset == "paper")
        parts += [] if self.stop_at is None else [f"to-{self.stop_at:g}"]
        return "-".join([*parts, f"seed{self.seed}"])

    @property
    def arguments(self) -> list[str]:
        """Arguments of `gala`, except its `--out`."""
        words = ["train", self.method, "--env", self.env, "--steps", str(self.steps)]
        words += ["--learners", str(self.learners), "--simulators", str(self.simulators)]
        words += ["--seed", str(self.seed)]
        words += ["--preset", self.preset] if self.preset != "tuned" else []
        return words + ([] if self.stop_at is None else ["--stop-at", f"{self.stop_at:g}"])


def _gossip(games: Sequence[str], seed: int, preset: str = "tuned") -> Iterator[ScoreRun]:
    """Yield runs of gala-a2c: 4 learners of 16 simulators."""
    for game in games:
        env = f"{game}NoFrameskip-v4"
        yield ScoreRun("gala-a2c", env, 4, LEARNER_SIMULATORS, seed, preset=preset)


def _one_learner(method: str, games: Sequence[str], seed: int = 1) -> Iterator[ScoreRun]:
    """Yield runs of one learner with as many simulators as four have."""
    for game in games:
        yield ScoreRun(method, f"{game}NoFrameskip-v4", 1, 4 * LEARNER_SIMULATORS, seed)


def _to_18() -> Iterator[ScoreRun]:
    """Yield runs that show how soon gossip and one large batch learn Pong."""
    for seed, learners in product((0, 1), (2, 4)):
        gossip = ("gala-a2c", learners, LEARNER_SIMULATORS)
        alone = ("a2c", 1, learners * LEARNER_SIMULATORS)
        for (method, count, simulators), preset in (
            (gossip, "tuned"),
            (alone, "tuned"),
            (gossip, "paper"),
        ):
            yield ScoreRun(
                method, "PongNoFrameskip-v4", count, simulators, seed, preset=preset, stop_at=18.0
            )


def _proximal(games: Sequence[str]) -> Iterator[ScoreRun]:
    """Yield runs of ppo and gala-ppo, with as many simulators as ppo's paper has."""
    for game in games:
        env = f"{game}NoFrameskip-v4"
        yield ScoreRun("ppo", env, 1, 8, 1)
        yield ScoreRun("gala-ppo", env, 2, 4, 1)


RUNS: tuple[ScoreRun, ...] = (
    *_to_18(),
    *_gossip(GAMES, seed=1),
    *_one_learner("a2c", ("Breakout", "Qbert", "SpaceInvaders")),
    *_gossip(("Breakout", "Qbert"), seed=1, preset="paper"),
    *_gossip(GAMES, seed=2),
    *_proximal(("Breakout", "Qbert")),
    *(ScoreRun("gala-a2c", f"ALE/{game}-v5", 4, LEARNER_SIMULATORS, 1) for game in ATARI_5),
    *_gossip(GAMES, seed=3),
)
"""All of them."""

"""Atari scores of random play, of people and of published agents, to compare scores with.

Scores are raw returns of full games. Names of games are those of Gymnasium's ids, as in
PongNoFrameskip-v4 and ALE/Pong-v5.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

RANDOM_AND_HUMAN: Mapping[str, tuple[float, float]] = {
    "Alien": (227.8, 7127.7),
    "Amidar": (5.8, 1719.5),
    "Assault": (222.4, 742.0),
    "Asterix": (210.0, 8503.3),
    "Asteroids": (719.1, 47388.7),
    "Atlantis": (12850.0, 29028.1),
    "BankHeist": (14.2, 753.1),
    "BattleZone": (2360.0, 37187.5),
    "BeamRider": (363.9, 16926.5),
    "Berzerk": (123.7, 2630.4),
    "Bowling": (23.1, 160.7),
    "Boxing": (0.1, 12.1),
    "Breakout": (1.7, 30.5),
    "Centipede": (2090.9, 12017.0),
    "ChopperCommand": (811.0, 7387.8),
    "CrazyClimber": (10780.5, 35829.4),
    "Defender": (2874.5, 18688.9),
    "DemonAttack": (152.1, 1971.0),
    "DoubleDunk": (-18.6, -16.4),
    "Enduro": (0.0, 860.5),
    "FishingDerby": (-91.7, -38.7),
    "Freeway": (0.0, 29.6),
    "Frostbite": (65.2, 4334.7),
    "Gopher": (257.6, 2412.5),
    "Gravitar": (173.0, 3351.4),
    "Hero": (1027.0, 30826.4),
    "IceHockey": (-11.2, 0.9),
    "Jamesbond": (29.0, 302.8),
    "Kangaroo": (52.0, 3035.0),
    "Krull": (1598.0, 2665.5),
    "KungFuMaster": (258.5, 22736.3),
    "MontezumaRevenge": (0.0, 4753.3),
    "MsPacman": (307.3, 6951.6),
    "NameThisGame": (2292.3, 8049.0),
    "Phoenix": (761.4, 7242.6),
    "Pitfall": (-229.4, 6463.7),
    "Pong": (-20.7, 14.6),
    "PrivateEye": (24.9, 69571.3),
    "Qbert": (163.9, 13455.0),
    "Riverraid": (1338.5, 17118.0),
    "RoadRunner": (11.5, 7845.0),
    "Robotank": (2.2, 11.9),
    "Seaquest": (68.4, 42054.7),
    "Skiing": (-17098.1, -4336.9),
    "Solaris": (1236.3, 12326.7),
    "SpaceInvaders": (148.0, 1668.7),
    "StarGunner": (664.0, 10250.0),
    "Surround": (-10.0, 6.5),
    "Tennis": (-23.8, -8.3),
    "TimePilot": (3568.0, 5229.2),
    "Tutankham": (11.4, 167.6),
    "UpNDown": (533.4, 11693.2),
    "Venture": (0.0, 1187.5),
    "VideoPinball": (16256.9, 17667.9),
    "WizardOfWor": (563.5, 4756.5),
    "YarsRevenge": (3092.9, 54576.9),
    "Zaxxon": (32.5, 9173.3),
}
"""Random play and a professional tester, of 57 games: the table of dqn_zoo (Quan and Ostrovski,
2020)."""

ATARI_5: Mapping[str, float] = {
    "BattleZone": 0.3820,
    "DoubleDunk": 0.0679,
    "NameThisGame": 0.3108,
    "Phoenix": 0.1241,
    "Qbert": 0.0805,
}
"""Weights of the games from which `estimated_median` predicts the median of 57: fitted without an
intercept to the 62 agents in the data of "Atari-5: Distilling the Arcade Learning Environment down
to Five Games", Aitchison et al. 2023."""

ATARI_5_ERROR = 0.10
"""Relative error of that prediction, in tenfold cross-validation."""

PAPER_GAMES = ("BeamRider", "Breakout", "Pong", "Qbert", "Seaquest", "SpaceInvaders")
"""The six games of the GALA paper, in its order."""


@dataclass(frozen=True)
class PublishedScores:
    """Scores of an agent, as published.

    Attributes:
        agent: the agent, and where its scores were published.
        agent_steps: length of the training.
        is_sticky: whether the last action repeats with a probability of 0.25.
        protocol: what a score is, and the number of runs.
        scores: mean return by game.
    """

    agent: str
    agent_steps: int
    is_sticky: bool
    protocol: str
    scores: Mapping[str, float]


def _six(*scores: float) -> Mapping[str, float]:
    return dict(zip(PAPER_GAMES, scores, strict=True))


SLM_LAB_A2C = PublishedScores(
    "A2C with n-step returns, SLM-Lab 2019",
    10_000_000,
    False,
    "mean of the last 100 checkpoints, 4 runs of 16 simulators",
    _six(4139, 398, 19.56, 13590, 1684, 750),
)

PUBLISHED: tuple[PublishedScores, ...] = (
    SLM_LAB_A2C,
    PublishedScores(
        "A2C, paper of PPO (Schulman et al. 2017)",
        10_000_000,
        False,
        "last 100 games of training, 3 runs",
        _six(3031.7, 303.0, 19.7, 10065.7, 1714.3, 744.5),
    ),
    PublishedScores(
        "PPO of Baselines, in Open RL Benchmark",
        10_000_000,
        False,
        "last games of training, 3 runs of 8 simulators",
        _six(2836, 406, 20.5, 15228, 1518, 1020),
    ),
    PublishedScores(
        "A2C, GALA paper",
        25_000_000,
        False,
        "Table 1, runs of 64 simulators",
        _six(8755, 419, 21, 16805, 1850, 2846),
    ),
    PublishedScores(
        "GALA-A2C, GALA paper",
        25_000_000,
        False,
        "Table 1, runs of 64 simulators",
        _six(9500, 690, 21, 18810, 1874, 2726),
    ),
    PublishedScores(
        "A2C, GALA paper",
        40_000_000,
        False,
        "Table 1, runs of 64 simulators",
        _six(9829, 495, 21, 19928, 1894, 3021),
    ),
    PublishedScores(
        "GALA-A2C, GALA paper",
        40_000_000,
        False,
        "Table 1, runs of 64 simulators",
        _six(10188, 690, 21, 20150, 1892, 3074),
    ),
    PublishedScores(
        "A2C with GAE, SLM-Lab 2026",
        10_000_000,
        True,
        "mean of the last 100 checkpoints, 4 runs of 16 simulators",
        {
            **_six(2767, 273, 10.17, 12619, 850, 784),
            "BattleZone": 2437,
            "DoubleDunk": -1.69,
            "NameThisGame": 5412,
            "Phoenix": 5635,
        },
    ),
)
"""What agents of this kind reach elsewhere. Protocols differ: see `PublishedScores.protocol`."""


def game_of(env: str) -> str | None:
    """Return the game of a Gymnasium id if it is one of the 57, else None.

    PongNoFrameskip-v4, Pong-v4 and ALE/Pong-v5 are Pong.
    """
    name = env.removeprefix("ALE/").partition("-v")[0].removesuffix("NoFrameskip")
    return name if name in RANDOM_AND_HUMAN else None


def human_normalized(game: str, score: float) -> float:
    """Return (score - random) / (human - random).

    Raises:
        KeyError: when the game is not one of the 57.
    """
    random, human = RANDOM_AND_HUMAN[game]
    return (score - random) / (human - random)


def estimated_median(scores: Mapping[str, float]) -> float:
    """Return the median human-normalised score over 57 games, by Atari-5; 1.0 is human.

    The model is log10(1 + median) = Σ weight · log10(1 + human-normalised score), both in per cent;
    scores below random play count as random play.

    Args:
        scores: mean return of each of the five games.

    Raises:
        KeyError: when a game is missing.
    """
    logarithm = 0.0
    for game, weight in ATARI_5.items():
        percent = 100.0 * human_normalized(game, scores[game])
        logarithm += weight * math.log10(1.0 + max(0.0, percent))
    return (math.pow(10.0, logarithm) - 1.0) / 100.0

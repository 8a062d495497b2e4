"""Theory of gossip: how far apart learners can be, on which topology, and how far they are."""

from gala_rl.theory.checks import check_age, check_mixing
from gala_rl.theory.dense import augmented
from gala_rl.theory.quantities import Ball
from gala_rl.theory.span import dobrushin, span_factor
from gala_rl.theory.topologies import ball, matrix_ball, named_ball

__all__ = [
    "Ball",
    "augmented",
    "ball",
    "check_age",
    "check_mixing",
    "dobrushin",
    "matrix_ball",
    "named_ball",
    "span_factor",
]

"""Theory of gossip: bounds on the distance between learners, and the distances that occurred.

Start with `quantities.py` for what is computed and `topologies.py` for how; `realised.py` bounds a
real run from its log of updates and mixes.
"""

from gala_rl.theory.checks import check_mixing
from gala_rl.theory.dense import augmented
from gala_rl.theory.quantities import Ball
from gala_rl.theory.span import dobrushin, span_factor
from gala_rl.theory.topologies import ball, matrix_ball, named_ball

__all__ = [
    "Ball",
    "augmented",
    "ball",
    "check_mixing",
    "dobrushin",
    "matrix_ball",
    "named_ball",
    "span_factor",
]

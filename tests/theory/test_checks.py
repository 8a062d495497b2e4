"""Invalid mixing matrices are refused in one line that names the learner or the edge."""

import numpy as np
import pytest

from gala_rl.errors import UserError
from gala_rl.gossip import topology
from gala_rl.theory import check_mixing, dobrushin, matrix_ball
from tests.theory.simulation import Array

RING = topology.directed_ring(3).mixing_matrix(0)


def changed(row: list[float], learner: int = 1) -> Array:
    matrix = RING.copy()
    matrix[learner] = row
    return matrix


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.ones((2, 3)), r"shape \[2, 3\]"),
        (np.ones(3), r"shape \[3\]"),
        (np.ones((0, 0)), r"shape \[0, 0\]"),
        (changed([0.6, 0.5, 0.0]), "weights of learner 1 sum to 1.1: divide them by that"),
        (changed([-0.5, 1.5, 0.0]), r"edge \[0, 1\] has the weight -0.5: weights are 0 or more"),
        (changed([float("nan"), 0.5, 0.5]), r"edge \[0, 1\] has the weight nan"),
        (changed([1.0, 0.0, 0.0]), "learner 1 gives itself no weight"),
        (
            changed([0.0, 1.0, 0.0]),
            "nothing that learner 0 learns ever reaches learner 1: add an edge",
        ),
    ],
)
def test_what_is_no_mixing_matrix_is_named(matrix: Array, words: str) -> None:
    for refuse in (check_mixing, matrix_ball):
        with pytest.raises(UserError, match=words) as error:
            refuse(matrix)
        assert "\n" not in str(error.value)


def test_a_mixing_matrix_comes_back_as_it_is() -> None:
    assert check_mixing(RING.tolist()).tolist() == RING.tolist()
    assert check_mixing(RING.astype(np.float32)).dtype == np.float64


def test_dobrushin_of_extremes() -> None:
    assert dobrushin(np.eye(4)) == 1.0
    assert dobrushin(np.full((4, 4), 0.25)) == 0.0
    assert dobrushin(RING) == 0.5

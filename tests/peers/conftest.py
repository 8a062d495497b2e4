"""Other libraries, of the extra `peers`: imported only where a test that runs asks for them."""

import warnings
from typing import Any

import pytest


@pytest.fixture(scope="session")
def rlax() -> Any:
    """RLax, in double precision."""
    import jax

    with warnings.catch_warnings():
        # What RLax imports uses what JAX is about to drop.
        warnings.filterwarnings("ignore", "", DeprecationWarning, r"tensorflow_probability\.")
        import rlax
    jax.config.update("jax_enable_x64", True)
    return rlax


@pytest.fixture(scope="session")
def stable_baselines3() -> Any:
    import stable_baselines3
    import stable_baselines3.common.buffers
    import stable_baselines3.common.vec_env

    return stable_baselines3

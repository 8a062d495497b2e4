"""Games that evaluation plays."""

from collections.abc import Iterator

import gymnasium
import pytest
import torch

from tests.support.games import KINDS


@pytest.fixture(scope="module")
def games() -> Iterator[None]:
    """Gymnasium knows the games, and a single thread plays them."""
    threads = torch.get_num_threads()
    for name, kind in KINDS.items():
        gymnasium.register(name, kind, disable_env_checker=True)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gala_rl.app.games.usable_cores", lambda: 1)
        yield
    for name in KINDS:
        del gymnasium.registry[name]
    torch.set_num_threads(threads)

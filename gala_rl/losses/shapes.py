"""Shape checks: reject tensors that would broadcast, by name."""

from torch import Tensor

from gala_rl.losses.boundaries import EpisodeBoundaries


def check_rollout_shapes(rewards: Tensor, boundaries: EpisodeBoundaries, **others: Tensor) -> None:
    """Raise a ValueError unless rewards and all others are [T, B] and bootstrap_values [B]."""
    by_step = boundaries._asdict()
    bootstrap_values = by_step.pop("bootstrap_values")
    if rewards.ndim != 2 or bootstrap_values.shape != rewards.shape[1:]:
        raise ValueError(
            f"rewards must be [T, B] and bootstrap_values [B], "
            f"got {tuple(rewards.shape)} and {tuple(bootstrap_values.shape)}"
        )
    for name, x in (others | by_step).items():
        if x.shape != rewards.shape:
            raise ValueError(f"{name} must be [T, B] like rewards, got {tuple(x.shape)}")


def check_equal_shapes(**tensors: Tensor) -> None:
    """Raise a ValueError unless all tensors have the shape of the first."""
    (first, reference), *others = tensors.items()
    for name, x in others:
        if x.shape != reference.shape:
            raise ValueError(
                f"{name} must have the shape of {first} {tuple(reference.shape)}, "
                f"got {tuple(x.shape)}"
            )

"""A torso that a function of the user builds, tried on observations when it is built."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gala_rl.errors import UserError
from gala_rl.imports import describe
from gala_rl.spaces import ObservationSpec

_BATCH = 3


class MakeModule(NamedTuple):
    """A function that builds a module, and how messages name it.

    Attributes:
        function: from an `ObservationSpec` to a module from observations [N, ...] to features
            [N, F].
        name: what the user gave, such as "network 'my_module:make'".
    """

    function: Callable[[ObservationSpec], object]
    name: str


class OwnTorso(nn.Module):
    """A module of the user, from observations [N, ...] to features [N, F].

    It receives float32; pixels of images are divided by 255.

    Args:
        make: builds the module.
        observation: spec of an observation.

    Attributes:
        features: F, as the module shows it on a batch.

    Raises:
        UserError: when the module cannot be used; the message says why.
    """

    def __init__(self, make: MakeModule, observation: ObservationSpec) -> None:
        super().__init__()
        self._scale = 255.0 if observation.is_image else 1.0
        wanted = f"from observations [N, {_shown(observation.shape)}] to features [N, F]"
        try:
            module = make.function(observation)
        # The user's code may raise anything.
        except Exception as error:
            raise UserError(f"{make.name} raised {describe(error)}") from error
        if not isinstance(module, nn.Module):
            raise UserError(
                f"{make.name} returned {_described(module)}: it must return a torch.nn.Module "
                f"{wanted}"
            )
        self.module = module
        batch = _observations(observation)
        features = self._tried(make.name, batch)
        if features.shape[:1] != batch.shape[:1] or features.ndim != 2 or not features.numel():
            raise UserError(
                f"{make.name} gives [{_shown(features.shape)}] for observations "
                f"[{_shown(batch.shape)}]: its module must be {wanted}"
            )
        self.features = features.shape[1]
        if (defect := next(self._defects(batch, features), None)) is not None:
            raise UserError(f"{make.name} {defect}")

    def forward(self, observations: Tensor) -> Tensor:
        """[N, ...] → [N, features]."""
        observations = observations.to(torch.float32)
        if self._scale != 1.0:
            observations = observations / self._scale
        features: Tensor = self.module(observations)
        return features

    def _tried(self, name: str, observations: Tensor) -> Tensor:
        """Return what the module computes for a batch."""
        try:
            with torch.no_grad():
                features: object = self(observations)
        except Exception as error:
            raise UserError(
                f"{name} raised {describe(error)}, for observations [{_shown(observations.shape)}]"
            ) from error
        if not isinstance(features, Tensor):
            raise UserError(f"{name} gives {_described(features)}: its module must give a tensor")
        return features

    def _defects(self, batch: Tensor, features: Tensor) -> Iterator[str]:
        """Yield what makes the module unusable, given its features of a batch."""
        yield from _defects_of_parameters(self.module)
        if features.dtype != torch.float32:
            yield f"gives features of type {features.dtype}: they must be float32"
        if not features.isfinite().all():
            yield "gives features that are not finite"
        before = batch.clone()
        with torch.no_grad():
            again, alone = self(batch), self(batch[:1])
        if not torch.equal(batch, before):
            yield "changes its input in place: work on a copy"
        if not torch.equal(again, features):
            yield (
                "gives other features for the same observations at each call: leave out what is "
                "random or has a memory, such as Dropout"
            )
        if not torch.allclose(alone, features[:1], rtol=1e-3, atol=1e-4):
            yield (
                "gives an observation other features beside other observations: leave out what "
                "computes over a batch, such as BatchNorm"
            )


def _defects_of_parameters(module: nn.Module) -> Iterator[str]:
    parameters: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    if not parameters:
        yield "returned a module without parameters: there is nothing to learn"
    owners: dict[int, str] = {}
    for name, parameter in parameters.items():
        if is_lazy(parameter):
            yield f"never uses the parameter {name}: leave it out"
            continue
        if parameter.dtype != torch.float32:
            yield f"has the parameter {name} of type {parameter.dtype}: it must be float32"
        if parameter.device.type != "cpu":
            yield f"has the parameter {name} on {parameter.device}: build it on the CPU"
        memory = parameter.untyped_storage().data_ptr()
        if parameter.numel() and owners.setdefault(memory, name) != name:
            yield f"uses one parameter as {owners[memory]} and as {name}: give each its own"
    for name, _ in module.named_buffers():
        yield (
            f"has the buffer {name}, which neither gossip nor checkpoints contain: use LayerNorm "
            f"or GroupNorm instead of BatchNorm, or a parameter with requires_grad=False"
        )


def _observations(observation: ObservationSpec) -> Tensor:
    """Return random observations [N, ...] as simulators give them."""
    shape, generator = (_BATCH, *observation.shape), torch.Generator().manual_seed(0)
    if observation.is_image:
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return torch.rand(shape, generator=generator, dtype=torch.float32)


def _shown(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__

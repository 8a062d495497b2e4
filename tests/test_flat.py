"""A flattened module is the same module: views of one vector, nothing lost, nothing overlapping."""

import copy

import pytest
import torch
from torch import Tensor, nn

from gala_rl.flat import ALIGNMENT, FlatParameters, flat_size, learned_size
from gala_rl.learners.optimizers import RMSprop, clip_grad_norm_
from gala_rl.methods.a2c import A2CSettings


def make_module() -> nn.Sequential:
    """Odd sizes, so that every parameter needs padding, and channels-last weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        convolution = nn.Conv2d(3, 5, 3)
        convolution.weight.data = convolution.weight.data.to(memory_format=torch.channels_last)
        return nn.Sequential(
            convolution,
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(45, 7),
        )


def images() -> Tensor:
    return torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(6))


def offset_of(parameter: Tensor, vector: Tensor) -> int:
    """Where in a vector a view of it starts, in elements."""
    return (parameter.data_ptr() - vector.data_ptr()) // vector.element_size()


def padding_of(module: nn.Module, flat: FlatParameters) -> Tensor:
    """[P] true where no parameter lives."""
    marks = copy.deepcopy(flat.values)
    with torch.no_grad():
        kept = flat.values.clone()
        flat.values.zero_()
        for parameter in module.parameters():
            parameter.fill_(1.0)
        marks.copy_(flat.values)
        flat.values.copy_(kept)
    return marks == 0


def test_the_forward_pass_is_unchanged_bit_for_bit() -> None:
    module = make_module()
    before = module(images())
    FlatParameters(module)
    assert torch.equal(module(images()), before)


def test_a_change_of_the_vector_changes_the_module() -> None:
    module = make_module()
    flat = FlatParameters(module)
    before = [p.detach().clone() for p in module.parameters()]
    flat.values.mul_(2.0)
    for parameter, old in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter, 2.0 * old)


def test_a_change_of_the_module_changes_the_vector() -> None:
    module = make_module()
    flat = FlatParameters(module)
    for i, parameter in enumerate(module.parameters(), start=1):
        with torch.no_grad():
            parameter.fill_(float(i))
    expected = sum(i * p.numel() for i, p in enumerate(module.parameters(), start=1))
    assert flat.values.sum().item() == expected


def test_loading_a_state_dict_goes_into_the_vector() -> None:
    source, target = make_module(), make_module()
    flat = FlatParameters(target)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1.0)
    target.load_state_dict(source.state_dict())
    assert torch.equal(flat.values, FlatParameters(source).values)


def test_parameters_are_aligned_and_do_not_overlap() -> None:
    module = make_module()
    flat = FlatParameters(module)
    ranges = sorted((offset_of(p, flat.values), p.numel()) for p in module.parameters())
    assert all(start % ALIGNMENT == 0 for start, _ in ranges)
    ends = [start + size for start, size in ranges]
    starts = [start for start, _ in ranges[1:]] + [flat.values.numel()]
    assert all(
        end <= start < end + ALIGNMENT for end, start in zip(ends[:-1], starts, strict=False)
    )
    assert ends[-1] <= flat.values.numel()
    assert flat.count == sum(p.numel() for p in module.parameters())
    assert int((~padding_of(module, flat)).sum()) == flat.count


def test_strides_are_kept() -> None:
    module = make_module()
    before = [p.stride() for p in module.parameters()]
    FlatParameters(module)
    weight = module[0].weight
    assert isinstance(weight, Tensor)
    assert [p.stride() for p in module.parameters()] == before
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    assert [p.grad.stride() for p in module.parameters() if p.grad is not None] == before


def test_a_parameter_with_holes_in_memory_is_taken_over_whole() -> None:
    module = nn.Module()
    wide = torch.arange(300.0).view(10, 30)
    module.register_parameter("strided", nn.Parameter(wide[:, :3]))
    module.register_parameter("expanded", nn.Parameter(torch.ones(1, 4).expand(5, 4)))
    module.register_parameter("after", nn.Parameter(torch.full((16,), -1.0)))
    flat = FlatParameters(module)
    with torch.no_grad():
        flat.values.mul_(2.0)
    strided, expanded, after = module.parameters()
    assert torch.equal(strided, 2.0 * wide[:, :3])
    assert torch.equal(expanded, torch.full((5, 4), 2.0))
    assert torch.equal(after, torch.full((16,), -2.0))


def test_gradients_land_in_the_vector_and_add_up_until_zeroed() -> None:
    module = make_module()
    plain = copy.deepcopy(module)
    flat = FlatParameters(module)
    for times in (1, 2):
        torch.autograd.backward(module(images()).square().sum())
        torch.autograd.backward(plain(images()).square().sum())
        for mine, other in zip(module.parameters(), plain.parameters(), strict=True):
            start = offset_of(mine, flat.values)
            # As a set of numbers, whatever the order in memory, then in the parameter's own order.
            stored = flat.grads[start : start + mine.numel()]
            assert other.grad is not None
            torch.testing.assert_close(stored.sort().values, other.grad.flatten().sort().values)
            torch.testing.assert_close(mine.grad, other.grad)
            assert stored.abs().sum() > 0, times
    flat.zero_grads()
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


@pytest.mark.parametrize("optimizer", ["rmsprop", "rmsprop-tf"])
def test_padding_stays_zero_while_the_module_learns(optimizer: str) -> None:
    module = make_module()
    flat = FlatParameters(module)
    padding = padding_of(module, flat)
    assert 0 < int(padding.sum()) < flat.values.numel()
    settings = A2CSettings(optimizer=optimizer)  # type: ignore[arg-type]
    rmsprop = RMSprop(flat.values, settings)
    start = flat.values.clone()
    for _ in range(5):
        flat.zero_grads()
        torch.autograd.backward(module(images()).square().sum())
        clip_grad_norm_(flat.grads, 0.5)
        rmsprop.step(flat.grads, 1e-2)
    assert not flat.values[padding].any()
    assert not flat.grads[padding].any()
    assert (flat.values[~padding] != start[~padding]).float().mean() > 0.5


def test_load_copies_the_values_into_the_module() -> None:
    source, target = make_module(), make_module()
    theirs, mine = FlatParameters(source), FlatParameters(target)
    theirs.values.add_(1.0)
    mine.load(theirs.values)
    assert torch.equal(source(images()), target(images()))
    theirs.values.zero_()
    assert mine.values.any()


@pytest.mark.parametrize("change", [-1, 1])
def test_load_refuses_another_number_of_values(change: int) -> None:
    flat = FlatParameters(make_module())
    with pytest.raises(ValueError, match=f"expected {flat.values.numel()}"):
        flat.load(torch.zeros(flat.values.numel() + change))


def test_load_refuses_what_would_broadcast() -> None:
    flat = FlatParameters(make_module())
    before = flat.values.clone()
    with pytest.raises(ValueError, match="expected"):
        flat.load(torch.zeros(1))
    assert torch.equal(flat.values, before)


def test_tied_parameters_are_stored_once_and_stay_tied() -> None:
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    module = nn.Sequential(first, second)
    flat = FlatParameters(module)
    assert flat.count == 16
    assert first.weight is second.weight
    plain = first.weight.detach().clone().requires_grad_()
    inputs = torch.randn(3, 4, generator=torch.Generator().manual_seed(8))
    torch.autograd.backward(module(inputs).sum())
    torch.autograd.backward((inputs @ plain.T @ plain.T).sum())
    assert plain.grad is not None
    torch.testing.assert_close(flat.grads.view(4, 4), plain.grad)


def test_parameters_without_gradient_come_last_and_are_not_among_those_that_learn() -> None:
    module = make_module()
    module[0].weight.requires_grad_(False)
    flat = FlatParameters(module)
    kept, *learning = module.parameters()
    assert all(a is b for a, b in zip(flat.parameters, learning, strict=True))
    assert offset_of(kept, flat.values) == learned_size(module) < flat_size(module)
    assert max(offset_of(p, flat.values) for p in learning) < learned_size(module)
    assert kept.grad is None
    flat.set_grads(torch.autograd.grad(module(images()).square().sum(), flat.parameters))
    assert flat.grads[: learned_size(module)].any()
    assert not flat.grads[learned_size(module) :].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_parameter_that_is_not_float32_is_refused(dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).to(dtype))
    before = [p.data_ptr() for p in module.parameters()]
    with pytest.raises(TypeError, match="float32"):
        FlatParameters(module)
    assert [p.data_ptr() for p in module.parameters()] == before


def test_a_module_without_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameters"):
        FlatParameters(nn.ReLU())


def test_gradients_that_are_set_are_those_that_accumulate() -> None:
    one, other = make_module(), make_module()
    ours = FlatParameters(one)
    ours.grads.masked_fill_(~padding_of(one, ours), 7.0)
    ours.set_grads(torch.autograd.grad(one(images()).square().sum(), ours.parameters))
    theirs = FlatParameters(other)
    torch.autograd.backward(other(images()).square().sum())
    assert torch.equal(ours.grads, theirs.grads)
    with pytest.raises(ValueError, match="shorter"):
        ours.set_grads([])

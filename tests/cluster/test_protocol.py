"""What nodes send one another: parameters cross in the precision of their kind."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from gala_rl.cluster.protocol import MessagePrecision, Precision, pack, unpack


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20))
def test_float32_crosses_as_it_is_and_bfloat16_rounded_to_eight_bits(values: list[float]) -> None:
    sent = torch.tensor(values, dtype=torch.float32)
    errors: dict[Precision, float] = {"float32": 0.0, "bfloat16": 2.0**-8}
    for precision, error in errors.items():
        packing = MessagePrecision(precision, slice(len(values), len(values)))
        crossed = pack(sent, packing)
        crossed.flags.writeable = False
        received = unpack(crossed, packing)
        assert received is not None
        assert received.dtype == torch.float32
        normal = sent.abs() > 2.0**-126
        assert bool(((received - sent).abs() <= error * sent.abs())[normal].all())
        assert crossed.nbytes == len(values) * (2 if precision == "bfloat16" else 4)


@given(st.integers(0, 7), st.integers(0, 7), st.integers(1, 7))
def test_running_moments_cross_as_they_are_wherever_they_lie(
    before: int, moments: int, behind: int
) -> None:
    moments_at = slice(before, before + moments)
    packing = MessagePrecision("bfloat16", moments_at)
    sent = torch.full((before + moments + behind,), 1_000.0 + 2.0**-10)
    crossed = pack(sent, packing)
    assert crossed.nbytes == 2 * len(sent) + 4 * moments
    received = unpack(crossed, packing)
    assert received is not None
    rounded = sent.bfloat16().float()
    assert torch.equal(received[moments_at], sent[moments_at])
    assert torch.equal(received[: moments_at.start], rounded[: moments_at.start])
    assert torch.equal(received[moments_at.stop :], rounded[moments_at.stop :])
    for missing in range(1, len(crossed) + 1):
        short = unpack(crossed[:-missing], packing)
        assert short is None or len(short) != len(sent)

"""Counts as people write them: 4000000, 4e6, 4M."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gala_rl.config.fields import parse_count


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4000000", 4_000_000),
        ("4_000_000", 4_000_000),
        ("4e6", 4_000_000),
        ("4E6", 4_000_000),
        ("4M", 4_000_000),
        ("4m", 4_000_000),
        ("1.5k", 1_500),
        ("2G", 2_000_000_000),
        ("0.5G", 500_000_000),
        ("1.001M", 1_001_000),
        ("4.0", 4),
        ("0", 0),
        ("-3", -3),
        ("9007199254740993", 9_007_199_254_740_993),
    ],
)
def test_counts_can_be_written_in_several_ways(text: str, number: int) -> None:
    counted = parse_count(text)
    assert counted == number
    assert type(counted) is int


@pytest.mark.parametrize(
    "text",
    ["", "M", "k", "abc", "4.5", "0.0001k", "1e-3", "nan", "inf", "-inf", "infM", "1e400",
     "1e999999999", "0x10", "4MM", "4 0", "sNaN", "4T", "١٢x"],
)  # fmt: skip
def test_what_is_not_a_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        parse_count(text)


@hypothesis_settings(deadline=None)
@given(st.integers(0, 999_999), st.sampled_from([("k", 3), ("M", 6), ("G", 9)]))
def test_thousandths_of_a_suffix_are_exact(thousandths: int, suffix: tuple[str, int]) -> None:
    letter, zeros = suffix
    text = f"{thousandths // 1000}.{thousandths % 1000:03d}{letter}"
    assert parse_count(text) == thousandths * 10 ** (zeros - 3)

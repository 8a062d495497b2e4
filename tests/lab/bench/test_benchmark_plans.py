"""What benchmarks will measure is decided, and refused, beforehand."""

import psutil
import pytest

from gala_lab.bench import benchmark_plans as plans
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.gossip.transports.shared import SLOTS, SharedMailboxes

GIB = 2**30


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "usable_cores", lambda: 3)


def cases(config: TrainConfig, share: str) -> list[tuple[int, int, bool]]:
    return [
        (case.learners, case.simulators, case.skipped is None)
        for case in plans.scaling(config)
        if case.share == share
    ]


@pytest.mark.parametrize(
    ("largest", "counts"), [(1, [1]), (2, [1, 2]), (7, [1, 2, 4]), (8, [1, 2, 4, 8])]
)
def test_counts_double_up_to_the_largest(largest: int, counts: list[int]) -> None:
    assert plans.powers_of_two(largest) == counts


def test_scaling_shares_out_all_simulators_or_gives_each_learner_as_many() -> None:
    config = TrainConfig(simulators=2)
    assert cases(config, "total") == [(1, 6, True), (2, 3, True), (4, 1, False)]
    assert cases(config, "learner") == [(1, 2, True), (2, 2, True), (4, 2, True)]


def test_scaling_goes_as_far_as_it_is_told() -> None:
    config = TrainConfig(simulators=1, learners=16)
    assert [learners for learners, _, _ in cases(config, "learner")] == [1, 2, 4, 8, 16]
    assert [fits for _, _, fits in cases(config, "total")] == [True, False, False, False, False]


def test_stragglers_are_all_but_one_unless_told() -> None:
    configs, slowed = plans.stragglers(TrainConfig(), ["gala-a2c"], None)
    assert (configs["gala-a2c"].learners, slowed) == (3, [0, 1, 2])
    configs, slowed = plans.stragglers(TrainConfig(learners=5), ["gala-a2c"], [4, 1, 1])
    assert (configs["gala-a2c"].learners, slowed) == (5, [1, 4])


@pytest.mark.parametrize(("learners", "slowed"), [(1, None), (0, None), (3, [3]), (None, [-1])])
def test_stragglers_need_others(learners: int | None, slowed: list[int] | None) -> None:
    with pytest.raises(UserError, match=r"is too small|is impossible"):
        plans.stragglers(TrainConfig(learners=learners), ["gala-a2c"], slowed)


def test_memory_is_counted_as_mailboxes_take_it() -> None:
    mailboxes = SharedMailboxes(5, 100)
    parameters = mailboxes._parameters
    assert plans._SLOTS == SLOTS
    rows = parameters.numel() * parameters.element_size()
    assert plans.gossip_bytes(5, 100) == rows + plans._PRIVATE_VECTORS * 4 * 100


def test_what_does_not_fit_is_told_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "_free_bytes", lambda: 2 * GIB)
    assert plans.memory_lacking(1, 10_000_000) is None
    lacking = plans.memory_lacking(64, 100_000_000)
    assert lacking == "needs 73.0 GiB of memory, 2.0 are free"
    plans.check_gossip(64, [10_000_000])
    with pytest.raises(UserError, match=r"parameters 100,000,000: needs 2.6 GiB"):
        plans.check_gossip(64, [10_000_000, 100_000_000])


def test_free_memory_is_less_than_there_is() -> None:
    assert 0 < plans._free_bytes() < psutil.virtual_memory().total

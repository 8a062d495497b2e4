"""Each counter is on its own, all see requests, and other processes see the same memory."""

import multiprocessing

import torch

from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

JOIN_S = 120.0


def test_each_counter_has_the_value_written_to_it() -> None:
    counters = SharedCounters(learners=3, size=2, state_size=2)
    expected = {
        (rank, counter): 100 * rank + counter + 1 for rank in range(3) for counter in LearnerCounter
    }
    for (rank, counter), value in expected.items():
        counters.set(rank, counter, value)
    assert {(r, c): counters.get(r, c) for r, c in expected} == expected


def test_a_column_lists_the_learners_by_rank() -> None:
    counters = SharedCounters(learners=3, size=2, state_size=2)
    counters.set(2, LearnerCounter.UPDATES, 7)
    counters.set(0, LearnerCounter.UPDATES, 5)
    assert counters.column(LearnerCounter.UPDATES) == [5, 0, 7]
    assert counters.column(LearnerCounter.AGENT_STEPS) == [0, 0, 0]


def test_the_total_counts_the_agent_steps_of_all_and_nothing_else() -> None:
    counters = SharedCounters(learners=3, size=2, state_size=2)
    for rank in range(3):
        counters.set(rank, LearnerCounter.AGENT_STEPS, 10**rank)
        counters.set(rank, LearnerCounter.UPDATES, 5_000)
    assert counters.total_agent_steps == 111


def test_counters_beyond_32_bits_are_kept() -> None:
    counters = SharedCounters(learners=2, size=1, state_size=1)
    counters.set(1, LearnerCounter.HEARTBEAT_NS, 2**62 + 1)
    assert counters.get(1, LearnerCounter.HEARTBEAT_NS) == 2**62 + 1
    assert counters.get(0, LearnerCounter.HEARTBEAT_NS) == 0


def test_a_stop_is_wanted_only_once_it_was_asked_for() -> None:
    counters = SharedCounters(learners=1, size=1, state_size=1)
    wanted = [counters.stop]
    counters.request_stop()
    wanted.append(counters.stop)
    assert wanted == [False, True]
    assert counters.requested_checkpoint == 0


def test_a_checkpoint_is_wanted_by_its_number() -> None:
    counters = SharedCounters(learners=1, size=1, state_size=1)
    assert counters.requested_checkpoint == 0
    counters.request_checkpoint(4)
    assert counters.requested_checkpoint == 4
    assert not counters.stop


def answer(counters: SharedCounters) -> None:
    """Answer the requests, in another process."""
    torch.set_num_threads(1)
    counters.set(1, LearnerCounter.CHECKPOINT_WRITTEN, counters.requested_checkpoint)
    counters.set(1, LearnerCounter.UPDATES, 1 if counters.stop else 2)
    counters.optimizer_states[1].copy_(torch.tensor([3.0, 4.0]))


def test_another_process_sees_requests_and_its_answers_are_seen() -> None:
    counters = SharedCounters(learners=2, size=2, state_size=2)
    counters.request_checkpoint(6)
    counters.request_stop()
    process = multiprocessing.get_context("spawn").Process(target=answer, args=(counters,))
    process.start()
    process.join(JOIN_S)
    assert process.exitcode == 0
    assert counters.column(LearnerCounter.CHECKPOINT_WRITTEN) == [0, 6]
    assert counters.get(1, LearnerCounter.UPDATES) == 1
    assert counters.optimizer_states.tolist() == [[0.0, 0.0], [3.0, 4.0]]


def test_members_are_the_first_and_columns_tell_of_those_who_have_been() -> None:
    counters = SharedCounters(learners=2, size=1, state_size=1, capacity=4)
    counters.set(1, LearnerCounter.UPDATES, 7)
    assert (counters.learners, counters.learners_ever) == (2, 2)
    assert (
        counters.column(LearnerCounter.UPDATES)
        == counters.members(LearnerCounter.UPDATES)
        == [0, 7]
    )
    counters.set_learners(4)
    counters.set(3, LearnerCounter.UPDATES, 5)
    counters.set(3, LearnerCounter.AGENT_STEPS, 50)
    counters.set_learners(1)
    assert (counters.learners, counters.learners_ever) == (1, 4)
    assert counters.column(LearnerCounter.UPDATES) == [0, 7, 0, 5]
    assert counters.members(LearnerCounter.UPDATES) == [0]
    assert counters.total_agent_steps == 50, "what those who left have made is not lost"

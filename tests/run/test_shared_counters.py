"""The board: every cell its own, wishes seen by all, the same memory in another process."""

import multiprocessing

import torch

from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

JOIN_S = 120.0


def test_every_cell_holds_what_was_written_to_it_and_nothing_else() -> None:
    board = SharedCounters(learners=3, size=2, state_size=2)
    expected = {(rank, cell): 100 * rank + cell + 1 for rank in range(3) for cell in LearnerCounter}
    for (rank, cell), value in expected.items():
        board.set(rank, cell, value)
    assert {(r, c): board.get(r, c) for r, c in expected} == expected


def test_a_column_lists_the_learners_by_rank() -> None:
    board = SharedCounters(learners=3, size=2, state_size=2)
    board.set(2, LearnerCounter.UPDATES, 7)
    board.set(0, LearnerCounter.UPDATES, 5)
    assert board.column(LearnerCounter.UPDATES) == [5, 0, 7]
    assert board.column(LearnerCounter.AGENT_STEPS) == [0, 0, 0]


def test_the_total_counts_the_agent_steps_of_all_and_nothing_else() -> None:
    board = SharedCounters(learners=3, size=2, state_size=2)
    for rank in range(3):
        board.set(rank, LearnerCounter.AGENT_STEPS, 10**rank)
        board.set(rank, LearnerCounter.UPDATES, 5_000)
    assert board.total_agent_steps == 111


def test_counters_beyond_32_bits_are_kept() -> None:
    board = SharedCounters(learners=2, size=1, state_size=1)
    board.set(1, LearnerCounter.HEARTBEAT_NS, 2**62 + 1)
    assert board.get(1, LearnerCounter.HEARTBEAT_NS) == 2**62 + 1
    assert board.get(0, LearnerCounter.HEARTBEAT_NS) == 0


def test_a_stop_is_wanted_only_once_it_was_asked_for() -> None:
    board = SharedCounters(learners=1, size=1, state_size=1)
    wanted = [board.stop]
    board.ask_to_stop()
    wanted.append(board.stop)
    assert wanted == [False, True]
    assert board.checkpoint_wanted == 0


def test_a_checkpoint_is_wanted_by_its_number() -> None:
    board = SharedCounters(learners=1, size=1, state_size=1)
    assert board.checkpoint_wanted == 0
    board.ask_for_checkpoint(4)
    assert board.checkpoint_wanted == 4
    assert not board.stop


def answer(board: SharedCounters) -> None:
    """What another process does with the board."""
    torch.set_num_threads(1)
    board.set(1, LearnerCounter.CHECKPOINT_WRITTEN, board.checkpoint_wanted)
    board.set(1, LearnerCounter.UPDATES, 1 if board.stop else 2)
    board.optimizer_states[1].copy_(torch.tensor([3.0, 4.0]))


def test_another_process_sees_the_wishes_and_is_seen_to_answer() -> None:
    board = SharedCounters(learners=2, size=2, state_size=2)
    board.ask_for_checkpoint(6)
    board.ask_to_stop()
    process = multiprocessing.get_context("spawn").Process(target=answer, args=(board,))
    process.start()
    process.join(JOIN_S)
    assert process.exitcode == 0
    assert board.column(LearnerCounter.CHECKPOINT_WRITTEN) == [0, 6]
    assert board.get(1, LearnerCounter.UPDATES) == 1
    assert board.optimizer_states.tolist() == [[0.0, 0.0], [3.0, 4.0]]


def test_members_are_the_first_and_columns_tell_of_those_who_have_been() -> None:
    board = SharedCounters(learners=2, size=1, state_size=1, capacity=4)
    board.set(1, LearnerCounter.UPDATES, 7)
    assert (board.learners, board.learners_ever) == (2, 2)
    assert board.column(LearnerCounter.UPDATES) == board.members(LearnerCounter.UPDATES) == [0, 7]
    board.set_learners(4)
    board.set(3, LearnerCounter.UPDATES, 5)
    board.set(3, LearnerCounter.AGENT_STEPS, 50)
    board.set_learners(1)
    assert (board.learners, board.learners_ever) == (1, 4)
    assert board.column(LearnerCounter.UPDATES) == [0, 7, 0, 5]
    assert board.members(LearnerCounter.UPDATES) == [0]
    assert board.total_agent_steps == 50, "what those who left have made is not lost"

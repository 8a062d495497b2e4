"""A scale request is read whole or not at all; other files in its place do no harm."""

import os
from pathlib import Path

import pytest

from gala_rl.config.train import TrainConfig
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.records import scale_request
from gala_rl.records.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create(TrainConfig(env="CartPole-v1", learners=2))
    return folder


def test_a_request_is_pending_until_it_is_withdrawn(folder: RunFolder) -> None:
    assert scale_request.pending(folder) is None
    scale_request.place(folder, 5)
    assert scale_request.pending(folder) == 5
    scale_request.withdraw(folder)
    assert scale_request.pending(folder) is None
    scale_request.withdraw(folder)


def test_there_is_one_request_at_a_time(folder: RunFolder) -> None:
    scale_request.place(folder, 5)
    with pytest.raises(UserError, match="is being scaled by another gala scale: wait for it"):
        scale_request.place(folder, 6)
    assert scale_request.pending(folder) == 5


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot be read"),
        ("[3]", "must hold a JSON object"),
        ("{}", "asks for 'None' learners"),
        ('{"learners": true}', "asks for 'True' learners"),
        ('{"learners": 2.0}', "asks for '2.0' learners"),
        ('{"learners": "4"}', "asks for '4' learners"),
        ('{"learners": 4}' + " " * 2_000, "2,015 bytes, which no request has"),
    ],
)
def test_what_is_no_request_is_said_to_be_none(folder: RunFolder, content: str, words: str) -> None:
    folder.scale_request.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        scale_request.pending(folder)
    assert words in str(refusal.value)


@pytest.mark.parametrize("error", [UserError("too many"), LearnerFailure("it died:\nwhy")])
def test_who_waits_can_read_why_a_request_was_refused(
    folder: RunFolder, error: UserError | LearnerFailure
) -> None:
    scale_request.place(folder, 5)
    assert scale_request.why_refused(folder) is None
    scale_request.refuse(folder, error)
    assert scale_request.pending(folder) is None
    why = scale_request.why_refused(folder)
    assert type(why) is type(error)
    assert str(why) == f"run {folder.path} has refused: {error}"
    scale_request.place(folder, 6)
    assert scale_request.why_refused(folder) is None, "it was about another request"


def test_where_nothing_can_be_written_a_request_is_refused_without_saying_why(
    folder: RunFolder,
) -> None:
    scale_request.place(folder, 5)
    folder.scale_refusal.mkdir()
    scale_request.refuse(folder, UserError("too many"))
    assert scale_request.pending(folder) is None
    assert scale_request.why_refused(folder) is None


def test_a_pipe_or_a_folder_in_its_place_holds_nobody_up(folder: RunFolder) -> None:
    os.mkfifo(folder.scale_request)
    assert scale_request.pending(folder) is None
    scale_request.withdraw(folder)
    folder.scale_request.mkdir()
    assert scale_request.pending(folder) is None
    scale_request.withdraw(folder)

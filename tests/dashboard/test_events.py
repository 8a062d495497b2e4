from typing import Any

from gala_rl.dashboard.events import MOST_EVENTS, Timeline

OF_RUN = {
    "started": "2026-01-02T03:04:05+0000",
    "resumes": [{"started": "2026-01-02T04:04:05+0000"}, "damaged"],
    "scales": [
        {"time": "2026-01-02T03:30:00+0000", "from": 2, "to": 4, "agent_steps": 1},
        {"time": "2026-01-02T03:40:00+0000", "from": 4, "to": 3, "agent_steps": 2},
        {"time": "never", "from": 4, "to": 3},
    ],
}


def texts(timeline: Timeline) -> list[tuple[str, str]]:
    return [(event.kind, event.text) for event in timeline.newest()]


def row(time: float, *notices: str, restarts: list[int], alive: list[bool] | None = None) -> Any:
    return {
        "time": time,
        "notices": list(notices),
        "restarts": restarts,
        "alive": alive or [True] * len(restarts),
    }


def counters(time: float, rejected: dict[str, int], failures: int = 0) -> dict[str, Any]:
    return {"time": time, "learner": 2, "rejected": rejected, "simulator_failures": failures}


def test_deaths_are_told_by_their_notices_or_else_by_the_count_of_restarts() -> None:
    timeline = Timeline()
    timeline.add_event_rows(
        [
            row(1.0, restarts=[0, 0]),
            row(2.0, "learner 1 died (exit code -9) and is restarted", restarts=[0, 1]),
            row(3.0, restarts=[1, 1], alive=[True, False]),
            row(
                4.0,
                "fault 0: kill",
                "learners: 2 before, 3 now",
                "the disk is slow",
                restarts=[1, 1],
            ),
        ]
    )
    assert texts(timeline) == [
        ("death", "learner 1 died (exit code -9) and is restarted"),
        ("death", "learner 0 died and was restarted"),
        ("notice", "the disk is slow"),
    ]
    assert timeline.deaths == {1: 2.0, 0: 3.0}
    assert dict(timeline.restarts) == {1: 1, 0: 1}


def test_restarts_are_counted_on_after_the_run_was_resumed() -> None:
    timeline = Timeline()
    timeline.add_event_rows([row(t, restarts=[n]) for t, n in enumerate([0, 2, 0, 1])])
    assert timeline.restarts[0] == 3


def test_rejected_messages_of_a_minute_are_one_event() -> None:
    timeline = Timeline()
    timeline.add_learner_rows(
        [
            counters(0.0, {"stale": 1}),
            counters(30.0, {"stale": 5, "not finite": 1}),
            counters(60.0, {"stale": 5, "not finite": 1}, failures=2),
            counters(200.0, {"stale": 6, "not finite": 1}, failures=2),
        ]
    )
    assert texts(timeline) == [
        ("rejected", "learner 2 rejected 5 messages: stale"),
        ("rejected", "learner 2 rejected 1 message: not finite"),
        ("simulator", "learner 2: 2 simulator failures"),
        ("rejected", "learner 2 rejected 1 message: stale"),
    ]


def test_starts_resumes_and_changes_of_the_number_of_learners_come_from_the_config() -> None:
    timeline = Timeline()
    timeline.set_run(OF_RUN, None)
    timeline.set_run(OF_RUN, None)
    assert texts(timeline) == [
        ("run", "run started"),
        ("member", "2 learners joined: 2 before, 4 now"),
        ("member", "1 learner left: 4 before, 3 now"),
        ("run", "run resumed"),
    ]


def test_only_the_newest_events_are_kept_and_their_text_is_short() -> None:
    timeline = Timeline()
    timeline.add_event_rows([row(float(t), "x" * 5_000, restarts=[0]) for t in range(3_000)])
    newest = timeline.newest()
    assert len(newest) == MOST_EVENTS
    assert newest[-1].time == 2_999.0
    assert max(len(event.text) for event in newest) < 400


def test_faults_without_a_time_are_left_out() -> None:
    timeline = Timeline()
    fault = {"fault": 0, "kind": "kill", "learner": 1, "updates": 5, "phase": "begin"}
    timeline.add_fault_rows([fault, {"time": 3.0, **fault}])
    assert texts(timeline) == [("fault", "fault 0: kill, learner 1 after 5 updates")]

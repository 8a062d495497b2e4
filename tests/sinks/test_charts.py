"""Numbers of rows by the names of dashboards, and means over learners."""

from typing import Any

import pytest

from gala_rl.sinks.charts import Charts
from tests.support.comparison_rows import Row, rows


def row_of(learner: int, time: float, **columns: Any) -> Row:
    (row,) = rows([time], [100], learners=2)
    return row | {"learner": learner} | columns


def test_every_number_of_a_learner_s_row_is_there_by_its_own_name() -> None:
    row = row_of(1, 5.0, approx_kl=0.25, rejected={"stale": 2, "size": 1}, own_loss=7)
    scalars = Charts().of_learner(row, 12.5)
    assert (scalars["total_agent_steps"], scalars["time"]) == (200, 5.0)
    assert scalars["charts/episodic_return"] == 12.5
    assert scalars["learner_01/approx_kl"] == 0.25
    assert scalars["learner_01/rejected"] == 3
    names = {name.removeprefix("learner_01/") for name in scalars if name.startswith("learner_")}
    # No lists, and nothing that is unknown; the rest identifies the row.
    assert names == set(row) - {
        "learner", "time", "total_agent_steps", "episode_returns", "mean_return"
    }  # fmt: skip


def test_names_are_those_of_cleanrl_where_it_has_one() -> None:
    of_ppo = {"approx_kl": 0.1, "clip_fraction": 0.2, "explained_variance": 0.3}
    of_dqn = {"q_loss": 0.4, "mean_q": 0.5, "replay_ratio": 8.0}
    row = row_of(0, 1.0, **of_ppo, **of_dqn, policy_lag_updates=1.5, own_loss=7)
    scalars = Charts().of_learner(row | {"episode_agent_steps": [10, 20]}, None)
    assert "charts/episodic_return" not in scalars, "no game is over"
    expected = {
        "charts/episodic_length": 15.0,
        "charts/SPS": row["agent_steps_per_s"],
        "charts/learning_rate": 0.5,
        "losses/policy_loss": 0.5,
        "losses/value_loss": 0.5,
        "losses/entropy": 0.5,
        "losses/approx_kl": 0.1,
        "losses/clipfrac": 0.2,
        "losses/explained_variance": 0.3,
        "losses/td_loss": 0.4,
        "losses/q_values": 0.5,
        "losses/own_loss": 7,
        "replay/replay_ratio": 8.0,
        "actors/policy_lag_updates": 1.5,
        "gossip/staleness_updates": 0,
        "system/rss_mb": 100.0,
    }
    assert {name: scalars[name] for name in expected} == expected


def test_means_are_over_the_newest_rows_of_all_learners_once_each_has_one() -> None:
    charts = Charts()
    one = charts.of_learner(row_of(0, 1.0, entropy=0.2, agent_steps_per_s=10.0), None)
    assert one["losses/entropy"] == 0.2, "it is the only one so far"
    both = charts.of_learner(row_of(1, 2.0, entropy=0.4, agent_steps_per_s=5.0), None)
    assert "losses/entropy" not in both, "learner 0 has not written again"
    both = charts.of_learner(row_of(0, 3.0, entropy=0.6, agent_steps_per_s=20.0), None)
    assert both["losses/entropy"] == pytest.approx(0.5)
    assert both["charts/SPS"] == 25.0
    # A learner that is twice as fast does not wait for the other.
    assert "losses/entropy" not in charts.of_learner(row_of(0, 4.0, entropy=0.8), None)
    assert charts.of_learner(row_of(0, 5.0, entropy=1.0), None)["losses/entropy"] == 0.7


def test_a_learner_that_has_left_does_not_count() -> None:
    charts = Charts()
    charts.of_learner(row_of(1, 1.0, entropy=0.0), None)
    charts.of_learner(row_of(0, 1.0, entropy=0.0), None)
    assert charts.of_learner(row_of(0, 100.0, entropy=0.8), None)["losses/entropy"] == 0.8


def test_time_is_split_into_shares() -> None:
    spent = {"rollout_s": 6.0, "update_s": 3.0, "gossip_s": 1.0, "wait_s": 0.5}
    scalars = Charts().of_learner(row_of(0, 1.0, **spent), None)
    shares = {name: value for name, value in scalars.items() if name.startswith("time/")}
    assert shares == {
        "time/rollout": 0.6, "time/update": 0.3, "time/gossip": 0.1, "time/wait": 0.05
    }  # fmt: skip


def test_distance_and_bound_are_in_one_group() -> None:
    row = {"time": 2.0, "total_agent_steps": 40, "consensus_rms": 0.5, "consensus_rms_bound": None}
    more = {"gradient_cosine": 0.1, "edges": [{"mixes": 1}], "versions": [1, 2]}
    assert Charts().of_consensus(row | more) == {
        "time": 2.0, "total_agent_steps": 40, "consensus/rms": 0.5, "consensus/gradient_cosine": 0.1
    }  # fmt: skip

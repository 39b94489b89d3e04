"""What the /metrics page says."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from featurizers import SCHEMA, readers
from streams.kafka.quality import Said
from streams.pipeline.budget import BudgetState, Finding
from streams.pipeline.controls import Controls
from streams.pipeline.ledger import Holdings
from streams.pipeline.measures import Measures
from streams.pipeline.quality.judging import NOTHING, Alert, Figures, Judgement
from streams.pipeline.scope import EVERYTHING, Scope
from streams.pipeline.stages import Outbox, Ticket
from streams.worker.metrics import Metrics, described
from streams.worker.metrics.histogram import BatchHistogram
from streams.worker.state import State

STATE = State(
    controls=Controls(
        model=cast("Any", SimpleNamespace(name="stub", sha256="0" * 64, policies=frozenset())),
        thresholds={EVERYTHING: 0.4},
    ),
    controls_hash="ab",
    settings_hash="cd",
    controls_age=0.5,
    refused={},
    budgets={},
    quality=NOTHING,
    quality_lag=0,
    holdings=Holdings(0, 0, 0, 0, 0),
    oldest={},
    response_timeout=60.0,
    positions={},
    held=frozenset(),
    now=0,
    rebalances=0,
    restoring=False,
    restore_seconds=0.0,
    foreign=0,
    skipped={},
    broker_silent=0.0,
    clock_skew=None,
    changelog_records=0,
    remembered_reach=600.0,
    producers_replaced=0,
    human_decision_errors=0,
)


NOW = 1_700_000_000_000


def page(metrics: Metrics, **changes: Any) -> list[str]:
    return metrics.render(replace(STATE, **changes)).decode().splitlines()


def test_what_only_grows_is_a_counter() -> None:
    """However often the page is read, it says the total; and it begins at 0, so that the first increase is seen."""
    metrics = Metrics()
    for rebalances, refused in ((0, 0), (1, 0), (3, 2), (3, 2)):
        lines = page(metrics, rebalances=rebalances, human_decision_errors=rebalances, refused={"stale": refused})
        assert f"secondlook_human_decision_errors_total {rebalances}.0" in lines
        assert f"secondlook_assignments_total {rebalances}.0" in lines
        assert f'secondlook_control_messages_refused_total{{reason="stale"}} {refused}.0' in lines
    assert "# TYPE secondlook_assignments_total counter" in lines
    assert "# TYPE secondlook_control_messages_refused_total counter" in lines


def test_records_skipped_are_counted_by_cause() -> None:
    """The restorer keeps the totals; the metric follows them."""
    metrics = Metrics()
    page(metrics, skipped={"retention": 2})
    assert 'secondlook_records_skipped_total{cause="retention"} 5.0' in page(metrics, skipped={"retention": 5})


def test_a_clock_that_was_not_compared_is_not_said_to_be_right() -> None:
    """Until the first measurement the difference is no number."""
    metrics = Metrics()
    assert "secondlook_clock_skew_seconds NaN" in page(metrics)
    assert "secondlook_clock_skew_seconds 2.5" in page(metrics, clock_skew=2.5)


def test_the_shadow_shows_its_model_or_that_it_is_left_out() -> None:
    """With none set, neither: an alert that waits for 0 stays quiet."""
    metrics, model = Metrics(), STATE.controls.model
    shadow = replace(STATE.controls, model=cast("Any", SimpleNamespace(name="new", sha256="a" * 64)))
    for controls, honoured, names in (
        (STATE.controls, 1.0, []),
        (replace(STATE.controls, shadow_problem="no model"), 0.0, []),
        (replace(STATE.controls, shadow=shadow), 1.0, ["new"]),
        (STATE.controls, 1.0, []),
    ):
        lines = page(metrics, controls=controls)
        assert f"secondlook_shadow_honoured {honoured}" in lines
        assert f'secondlook_model_info{{name="stub",sha256="{model and model.sha256}"}} 1.0' in lines
        told = [one for one in lines if one.startswith("secondlook_shadow_info{")]
        assert [f'secondlook_shadow_info{{name="{name}",sha256="{"a" * 64}"}} 1.0' for name in names] == told


def test_the_reader_that_runs_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator sees where the native one is missing."""
    monkeypatch.setattr(readers, "reader", readers.python("not built"))
    assert 'secondlook_reader_info{reader="python"} 1.0' in page(Metrics())


def test_the_controls_show_whether_they_are_honoured() -> None:
    """A worker that cannot, and one whose automation is stopped, both show it; what was lifted is shown no longer."""
    metrics = Metrics()
    lines = page(
        metrics, controls=replace(STATE.controls, model=None, problem="no model", stopped=frozenset({EVERYTHING}))
    )
    assert {
        "secondlook_controls_honoured 0.0",
        'secondlook_automation_stopped{outcome="*",policy="*",tenant="*"} 1.0',
    } <= set(lines)
    assert not any(line.startswith("secondlook_model_info{") for line in lines)
    lines = page(metrics, controls_hash="ef")
    assert {"secondlook_controls_honoured 1.0", "secondlook_control_last_read_age_seconds 0.5"} <= set(lines)
    assert ['secondlook_controls_info{hash="ef",settings_hash="cd"} 1.0'] == [
        one for one in lines if "controls_info{" in one
    ]
    assert not any(line.startswith("secondlook_automation_stopped{") for line in lines)


def test_a_budget_shows_what_is_wanted_measured_and_whether_it_can_be_met() -> None:
    """One that is not set any more is shown no longer; what was not measured is not said to be nothing."""
    metrics = Metrics()
    labels = 'outcome="*",policy="hate",tenant="*"'
    found = Finding(BudgetState.ALWAYS_ESCALATED, 0.2, 0.5, 0.5, 2500)
    lines = page(metrics, budgets={Scope("hate"): found})
    assert {
        f"secondlook_review_budget{{{labels}}} 0.2",
        f"secondlook_review_share{{{labels}}} 0.5",
        f"secondlook_review_budget_unmet{{{labels}}} 1.0",
        'secondlook_review_budget_state{outcome="*",policy="hate",state="always_escalated",tenant="*"} 1.0',
    } <= set(lines)
    lines = page(metrics, budgets={Scope("hate"): Finding(BudgetState.GATHERING, 0.2, None, None, 0)})
    assert f"secondlook_review_budget_unmet{{{labels}}} 0.0" in lines
    assert not any("always_escalated" in line for line in lines if line[0] != "#")
    assert not any(line.startswith("secondlook_review_share{") for line in lines)
    assert not any(line.startswith("secondlook_review_budget{") for line in page(metrics))


def test_live_quality_is_told_where_it_is_known() -> None:
    """By policy and LLM; what nobody knows has no number, and there is nothing where another worker keeps the books."""
    known = Figures("hate", "llm", "m", audits=20, wrong=1, error=0.05, low=0.01, high=0.2, drift={"token_count": 0.3})
    alert = Alert("drift", "hate", llm="llm", subject="token_count", about="it is")
    reviews = {"counted": 5, "unmatched": 0}
    quality = Judgement([known, Figures("spam", "llm", "m")], [alert], [], reviews, 0)
    lines = page(Metrics(), quality=quality, quality_lag=7)
    assert 'secondlook_live_error_rate{llm="llm",policy="hate"} 0.05' in lines
    assert 'secondlook_live_error_rate_high{llm="llm",policy="hate"} 0.2' in lines
    assert not any(line.startswith("secondlook_live_error_rate") and "spam" in line for line in lines)
    assert 'secondlook_live_audits_judged{llm="llm",policy="spam"} 0.0' in lines
    assert 'secondlook_live_drift{llm="llm",policy="hate",predictor="token_count"} 0.3' in lines
    names = 'kind="drift",llm="llm",outcome="*",policy="hate",subject="token_count",tenant="*"'
    assert f"secondlook_quality_alert{{{names}}} 1.0" in lines
    assert "secondlook_quality_lag_records 7.0" in lines
    assert 'secondlook_quality_reviews_total{result="unmatched"} 0.0' in lines
    assert "secondlook_quality_records_skipped_total 0.0" in lines
    silent = ("secondlook_live_", "secondlook_quality_")
    assert not [line for line in page(Metrics(), quality_lag=None) if line.startswith(silent)]


def test_a_batch_histogram_is_what_counting_one_by_one_gives() -> None:
    """The page says the same as prometheus_client's own, a value at a bound included; what is no number is left out."""
    values = np.array([0.0, 0.1, 0.1000001, 0.25, 3.0, 0.05, 0.5])
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batches = BatchHistogram("a_seconds", "About.", ["policy"], [0.1, 0.25, 0.5], ours)
    one_by_one = Histogram("a_seconds", "About.", ["policy"], buckets=[0.1, 0.25, 0.5], registry=theirs)
    for batch in (values[:3], values[3:], np.array([np.nan])):
        batches.observe(batch, np.zeros(len(batch), int), [("hate",)])
    for value in values:
        one_by_one.labels("hate").observe(value)
    expected = [line for line in generate_latest(theirs).decode().splitlines() if "_created" not in line]
    assert expected == generate_latest(ours).decode().splitlines()


def test_a_histogram_without_labels_is_there_from_the_start() -> None:
    """Else its first increase would not be seen."""
    assert "secondlook_response_to_decision_seconds_count 0.0" in page(Metrics())


def measures(**changes: Any) -> Measures:
    given: dict[str, Any] = {
        "requests": np.array([NOW - 2000.0, NOW - 60_000.0, NOW + 5000.0, np.nan]),
        "is_answered": np.array([True, False, True, True]),
        "responses": np.array([NOW - 20.0, NOW + 5000.0, np.nan]),
        "policies": ["hate", "hate", "made up"],
        "error_probability": np.array([0.03, np.nan, 0.6]),
        "missing": np.eye(1, len(SCHEMA.names), 2, dtype=int)[0] * 3,
    }
    return Measures(**given | changes)


def committed(*batches: Measures) -> list[str]:
    metrics = Metrics(lambda: NOW)
    controls = replace(STATE.controls, thresholds={Scope("hate"): 0.4})
    for one in batches:
        metrics.committed(Outbox(Ticket(1, cast("Any", None), {}, 0.0), [], [], measures=one), controls, 0.1)
    return page(metrics)


def test_latency_is_counted_from_the_records_own_times() -> None:
    """Without an answer apart; one from the future counts as 0, one without a time not at all."""
    lines = committed(measures(), measures())
    name = "secondlook_request_to_decision_seconds"
    assert {
        f'{name}_bucket{{answered="yes",le="0.005"}} 2.0',
        f'{name}_bucket{{answered="yes",le="1.0"}} 2.0',
        f'{name}_bucket{{answered="yes",le="2.5"}} 4.0',
        f'{name}_count{{answered="yes"}} 4.0',
        f'{name}_sum{{answered="yes"}} 4.0',
        f'{name}_bucket{{answered="no",le="60.0"}} 2.0',
        f'{name}_count{{answered="no"}} 2.0',
        'secondlook_response_to_decision_seconds_bucket{le="0.025"} 4.0',
        "secondlook_response_to_decision_seconds_count 4.0",
    } <= set(lines)


def test_both_clocks_are_named() -> None:
    """Who reads a latency must know that it is a difference of two clocks."""
    about = {one.name: one.about for one in described()}
    for name in ("secondlook_request_to_decision_seconds", "secondlook_response_to_decision_seconds"):
        assert "producer's clock" in about[name]
        assert "this worker's clock" in about[name]


def test_scores_are_counted_by_policy_and_only_ours_have_a_label() -> None:
    """A policy with a threshold of its own has one, names from outside share `other`; what was not scored is not counted."""
    lines = committed(measures())
    assert {
        'secondlook_error_probability_bucket{le="0.05",policy="hate"} 1.0',
        'secondlook_error_probability_count{policy="hate"} 1.0',
        'secondlook_error_probability_bucket{le="0.5",policy="other"} 0.0',
        'secondlook_error_probability_count{policy="other"} 1.0',
    } <= set(lines)
    assert not any("made up" in line for line in lines)


def test_predictors_that_are_missing_are_counted_beside_the_answers() -> None:
    """Their share is the one over the other."""
    lines = committed(measures(), measures())
    assert "secondlook_answers_total 6.0" in lines
    assert [f'secondlook_predictors_missing_total{{predictor="{SCHEMA.names[2]}"}} 6.0'] == [
        line for line in lines if line.startswith("secondlook_predictors_missing_total{")
    ]


def test_an_empty_batch_counts_nothing() -> None:
    """All columns are empty, as of a batch in which nothing was decided."""
    empty = np.array([])
    lines = committed(
        measures(requests=empty, is_answered=empty.astype(bool), responses=empty, policies=[], error_probability=empty)
    )
    assert "secondlook_answers_total 0.0" in lines
    assert not any("request_to_decision" in line for line in lines if line[0] != "#")


def test_human_decisions_are_counted_by_channel_and_route() -> None:
    """Of policies that nobody set anything for, as `other`."""
    metrics = Metrics()
    metrics.humans_said({Said("x", "agrees", "audit", "human-review"): 2}, STATE.controls)
    labels = 'agreement="agrees",channel="audit",policy="other",route="human-review"'
    assert f"secondlook_human_decisions_total{{{labels}}} 2.0" in page(metrics)


def test_what_is_kept_in_memory_is_told() -> None:
    """What waits and for how long, the books' entries, and what the process takes as the system sees it."""
    lines = page(Metrics(), oldest={"requests": 67.5}, quality=NOTHING._replace(kept={"audits": 3}))
    assert 'secondlook_pending_oldest_seconds{source="requests"} 67.5' in lines
    assert 'secondlook_pending_overdue_seconds{source="requests"} 7.5' in lines
    assert 'secondlook_pending_overdue_seconds{source="responses"} 0.0' in lines
    assert 'secondlook_pending_oldest_seconds{source="responses"} 0.0' in lines
    assert 'secondlook_quality_kept{kind="audits"} 3.0' in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


def test_a_metric_is_described_once() -> None:
    """By a name of ours, and in words."""
    names = [one.name for one in described()]
    assert len(names) == len(set(names))
    assert not [one for one in described() if not one.name.startswith("secondlook_") or not one.about.endswith(".")]

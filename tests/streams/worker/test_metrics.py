"""What the /metrics page says."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from streams.pipeline.controls import Controls
from streams.pipeline.ledger import Holdings
from streams.pipeline.scope import EVERYTHING
from streams.worker.metrics import Metrics, State

STATE = State(
    controls=Controls(
        model=cast("Any", SimpleNamespace(name="stub", sha256="0" * 64, policies=frozenset())),
        thresholds={EVERYTHING: 0.4},
    ),
    controls_hash="ab",
    settings_hash="cd",
    controls_age=0.5,
    refused={},
    holdings=Holdings(0, 0, 0, 0, 0),
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
)


def page(metrics: Metrics, **changes: Any) -> list[str]:
    return metrics.render(replace(STATE, **changes)).decode().splitlines()


def test_what_only_grows_is_a_counter() -> None:
    """However often the page is read, it says the total; and it begins at 0, so that the first increase is seen."""
    metrics = Metrics()
    for rebalances, refused in ((0, 0), (1, 0), (3, 2), (3, 2)):
        lines = page(metrics, rebalances=rebalances, refused={"stale": refused})
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

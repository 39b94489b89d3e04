"""What is written to the control topics, and what workers take from there, is what the schemas say."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring import ErrorModel, load_model
from streams.contracts import load_schema
from streams.errors import ControlError
from streams.kafka.clock import BrokerClock
from streams.kafka.control_reader import ControlReader
from streams.kafka.control_status import BudgetStatus, PendingStatus, StatusWriter, WorkerStatus, encode_status
from streams.kafka.publishing import publish_control
from streams.kafka.reading import read_values
from streams.kafka.topics import load_topics
from streams.pipeline.budget import BudgetState, Finding
from streams.pipeline.control_content import NOTHING_SAID
from streams.pipeline.control_fields import Past
from streams.pipeline.control_limits import AdjustThreshold, SetReviewBudget
from streams.pipeline.control_log import ControlLog
from streams.pipeline.control_messages import (
    ClearShadow,
    ControlMessage,
    PrepareModel,
    PrepareShadow,
    ResumeAutomation,
    Rollback,
    SetAuditRate,
    SetCosts,
    SetModel,
    SetShadow,
    SetThreshold,
    Snapshot,
    StopAutomation,
    encode_control,
    parse_control,
)
from streams.pipeline.control_snapshot import encode_content
from streams.pipeline.controls import Baseline
from streams.pipeline.quality.judging import KINDS, Alert, Figures, Reliability
from streams.pipeline.scope import Scope
from streams.settings import load_settings
from streams.trials.brokers import EmbeddedBroker
from tests.driving import wait_until
from tests.streams.contracts.checking import NAMES_ALMOST, check, is_valid
from tests.streams.pipeline.test_controls import BOUND, Shelf

NAMES = {key: topic.name for key, topic in load_topics().items()}
NUMBERS_ALMOST = st.one_of(
    st.floats(-0.5, 1.5), st.sampled_from([0, 1, 2, -1, True, None, "0.5", [], 1e300, 1e-300]), st.floats(0, 1)
)
CONTROL_TYPES = [str(kind.__struct_config__.tag) for kind in get_args(ControlMessage)]
CHANGES_ALMOST = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["set_threshold", "set_costs", "set_model"]),
            "policy": NAMES_ALMOST,
            "threshold": NUMBERS_ALMOST,
            "reason": st.just("why"),
        },
    ),
    max_size=2,
)
CONTROL_FIELDS = {
    "type": st.sampled_from([*CONTROL_TYPES, *CONTROL_TYPES, "set_all", None, 1]),
    "policy": NAMES_ALMOST,
    # No 2.0 here: a JSON Schema cannot tell it from 2, the code refuses it.
    "version": st.one_of(st.integers(-1, 100), st.sampled_from([None, "1", 1.5, True])),
    "expected_version": st.one_of(st.integers(-1, 100), st.sampled_from([None, "1", 1.5, True])),
    "to_version": st.one_of(st.integers(-1, 100), st.sampled_from([None, "1", 1.5, True])),
    "issued_by": st.one_of(st.none(), st.text(max_size=3), st.just(1)),
    "reason": st.one_of(st.none(), st.sampled_from(["", "é" * 1000, "x" * 1001, 1])),
    "keep_thresholds": st.sampled_from([True, False, None, 1]),
    "threshold": NUMBERS_ALMOST,
    "rate": NUMBERS_ALMOST,
    "share": NUMBERS_ALMOST,
    "lowest": NUMBERS_ALMOST,
    "highest": NUMBERS_ALMOST,
    "max_risk": NUMBERS_ALMOST,
    "confidence": NUMBERS_ALMOST,
    "labels": st.sampled_from([0, 100, -1, None]),
    "automated": st.sampled_from([0, 100, -1, None]),
    "errors": st.sampled_from([0, 1, -1, None]),
    "labels_sha256": st.sampled_from(["a" * 64, "A" * 64, None]),
    "sample": st.sampled_from(["audits", "drawn-at-random", "reviews", None]),
    "method": st.sampled_from(["learn-then-test", "guess"]),
    "model": st.sampled_from(["a" * 64, "a" * 63, None]),
    "review": NUMBERS_ALMOST,
    **dict.fromkeys(("mistake", "missed_violation", "wrong_removal", "floor"), NUMBERS_ALMOST),
    "tenant": NAMES_ALMOST,
    "outcome": st.sampled_from(["*", "allow", "remove", "review", 0, None]),
    "accounting": st.sampled_from(["false-discovery", "review-charged", "chow", None]),
    "sha256": st.sampled_from(["a" * 64, "0123456789abcdef" * 4, "A" * 64, "a" * 63, "a" * 65, "", None]),
    "changes": st.one_of(
        CHANGES_ALMOST, st.sampled_from([None, {}, 101 * [{"type": "set_model", "sha256": "a" * 64}]])
    ),
    "unknown": st.just({}),
}


def accepts_control(value: bytes) -> bool:
    try:
        parse_control(value)
    except ControlError:
        return False
    return True


@settings(max_examples=300)
@given(st.fixed_dictionaries({}, optional=CONTROL_FIELDS))
def test_the_control_schema_is_what_workers_accept(message: dict[str, Any]) -> None:
    """A message is valid if and only if a worker takes it."""
    assert accepts_control(orjson.dumps(message)) == is_valid("control", message)


@pytest.mark.parametrize(
    "message",
    [
        SetThreshold(threshold=0.5, policy="hate", version=3, issued_by="me"),
        SetCosts(policy="*", accounting="review-charged", review=0.64, mistake=1),
        SetReviewBudget(policy="hate", outcome="remove", share=0.2, lowest=0.05, highest=0.5),
        AdjustThreshold(policy="hate", threshold=0.25, expected_version=7),
        msgspec.structs.replace(BOUND, policy="*", model="a" * 64),
        SetAuditRate(policy="hate", rate=0),
        PrepareModel(sha256="a" * 64, keep_thresholds=True),
        SetModel(sha256="a" * 64),
        SetModel(sha256="a" * 64, keep_thresholds=True, reason="better", expected_version=0),
        StopAutomation(policy="*", expires_at=datetime(2026, 11, 1, tzinfo=UTC)),
        ResumeAutomation(policy="hate"),
        Rollback(to_version=3),
        PrepareShadow(sha256="a" * 64),
        SetShadow(sha256="a" * 64, keep_thresholds=True, changes=(SetThreshold(threshold=0.5, policy="hate"),)),
        SetShadow(changes=(SetCosts(policy="*", accounting="review-charged", review=0.64, mistake=1),)),
        ClearShadow(),
        Snapshot(
            position=2,
            base=1,
            content=encode_content(NOTHING_SAID),
            counted=1,
            issued={"0123456789abcdef": 1_800_000_000.5},
            messages=[Past(0, msgspec.Raw(b'{"type":"stop_automation","policy":"*"}'), 1_800_000_000_000, "ana")],
        ),
    ],
)
def test_control_messages_as_written_keep_the_contract(message: Any) -> None:
    """What `secondlook control` writes is valid, and loses nothing on the way."""
    value = encode_control(message)
    check("control", value)
    assert message == parse_control(value)


@pytest.fixture(scope="module")
def model(models: Path) -> ErrorModel:
    return load_model(models)


def test_control_status_keeps_the_contract(model: ErrorModel) -> None:
    """Started, applied, refused, ready for a model, unable, with a shadow and stopped, as a worker's control reader writes them."""
    topics = [topic for key, topic in load_topics().items() if key in {"control", "control_status"}]
    with EmbeddedBroker(topics) as broker:
        ours, clock = load_settings({"broker": broker.bootstrap}, environ={}), BrokerClock()
        status = StatusWriter(ours, NAMES, "worker-1", clock)
        reader = ControlReader(ours, NAMES, Baseline(model, 0.4), Shelf({model.sha256: model}), status, clock)
        reader.start()
        publish_control(ours, SetThreshold(threshold=0.7, policy="hate"))
        wait_until(lambda: reader.log.position == 1)
        publish_control(ours, ResumeAutomation(policy="*"))
        wait_until(lambda: reader.log.position == 2)
        for position, sha256 in ((3, model.sha256), (4, "a" * 64)):
            publish_control(ours, PrepareModel(sha256=sha256))
            wait_until(lambda position=position: reader.log.position == position)  # type: ignore[misc]
        log = ControlLog()
        for offset, value in enumerate(read_values(ours, NAMES["control"], [0])):
            log.take(offset, None, value)
        publish_control(ours, log.snapshot(4, {}, 10_000))
        wait_until(lambda: reader.log.position == 5)
        publish_control(ours, PrepareShadow(sha256=model.sha256))
        wait_until(lambda: reader.log.position == 6)
        for position, sha256 in ((7, model.sha256), (8, "a" * 64)):
            publish_control(ours, SetShadow(sha256=sha256))
            wait_until(lambda position=position: reader.current.version == position)  # type: ignore[misc]
        publish_control(ours, SetModel(sha256="a" * 64))
        wait_until(lambda: reader.current.problem is not None)
        reader.close()
        said = [check("control-status", value) for value in read_values(ours, NAMES["control_status"], [0])]
    events = [one["event"] for one in said if one["event"] != "alive"]
    shadows = ["prepared", "applied", "applied"]
    assert [
        "started",
        "applied",
        "refused",
        "prepared",
        "prepared",
        "compacted",
        *shadows,
        "not_honoured",
        "applied",
        "stopped",
    ] == events
    assert [{"model": model.sha256}, {"problem": f"no model {'a' * 64}"}] == [
        one["shadow"] for one in said if one["event"] == "applied" and "shadow" in one
    ]
    ready, unable, _ = (one["prepared"] for one in said if one["event"] == "prepared")
    assert {"offset": 2, "sha256": model.sha256} == ready
    assert {"offset": 3, "sha256": "a" * 64, "problem": f"no model {'a' * 64}"} == unable
    assert 2 * [f"no model {'a' * 64}"] == [
        one["problem"] for one in said if one["event"] in {"not_honoured", "stopped"}
    ]


def test_what_a_worker_says_of_budgets_keeps_the_contract() -> None:
    """In every state, with and without a share; the words of the schema are those of the code."""
    about = {"worker": "a", "event": "alive", "at": "2026-11-01T00:00:00.000Z", "control_version": 1, "position": 1}
    about |= {
        "hash": "0" * 16,
        "settings_hash": "0" * 16,
        "settings_model": "a" * 64,
        "model": "a" * 64,
        "honoured": True,
    }
    scope = Scope("hate", outcome="remove")
    for state in BudgetState:
        for share in (None, 0.25):
            found = Finding(state, 0.2, share, share, 0 if share is None else 9)
            status = WorkerStatus(**about, budgets=[BudgetStatus.of(scope, found)])
            said = check("control-status", encode_status(status))
            assert ("hate", "*", "remove") == tuple(said["budgets"][0][name] for name in Scope._fields)
    items = load_schema("control-status")["properties"]["budgets"]["items"]
    assert set(BudgetState) == set(items["properties"]["state"]["enum"])


def test_what_a_worker_says_of_live_quality_keeps_the_contract() -> None:
    """All of it, and as little as there may be."""
    about = {
        "worker": "a",
        "event": "quality_alert",
        "at": "2026-11-01T00:00:00.000Z",
        "control_version": 1,
        "position": 1,
    }
    about |= {
        "hash": "0" * 16,
        "settings_hash": "0" * 16,
        "settings_model": "a" * 64,
        "model": "a" * 64,
        "honoured": True,
    }
    least = Figures("hate", "", "a" * 64)
    fitting = dict.fromkeys(
        ("automated", "unaudited", "drawn", "above", "held", "audits", "wrong", "escalated", "overturned"), 3
    )
    most = Figures(
        "hate",
        "llm",
        "a" * 64,
        **fitting,
        **dict.fromkeys(("estimated", "error", "low", "high", "recent_error", "expected", "z", "score_drift"), 0.5),
        **dict.fromkeys(("recent_audits", "untold", "split", "judged", "observed"), 1),
        reliability=[Reliability(1, 0.5, 1.0)],
        drift={"token_count": 0.3},
    )
    alerts = [Alert(kind, "*", subject="token_count", llm="llm", about="it is") for kind in KINDS]
    said = check("control-status", encode_status(WorkerStatus(**about, alerts=alerts, quality=[least, most])))
    properties = load_schema("control-status")["properties"]
    assert set(said["quality"][1]) == set(properties["quality"]["items"]["properties"])
    assert list(KINDS) == properties["alerts"]["items"]["properties"]["kind"]["enum"]


def test_what_a_worker_works_on_keeps_the_contract() -> None:
    """All that it can say of it, and a worker that has nothing."""
    about: dict[str, Any] = {
        "worker": "a",
        "event": "alive",
        "at": "2026-11-01T00:00:00.000Z",
        "control_version": 1,
        "position": 1,
        "hash": "0" * 16,
        "settings_hash": "0" * 16,
        "settings_model": "a" * 64,
        "model": "a" * 64,
        "honoured": True,
    }
    for pending in (PendingStatus(0, 0), PendingStatus(2, 1, 3.5)):
        word = WorkerStatus(**about, partitions=[0, 3], restoring=True, pending=pending, busy={"read": 0.25})
        said = check("control-status", encode_status(word))
        assert ([0, 3], True, pending.requests) == (said["partitions"], said["restoring"], said["pending"]["requests"])

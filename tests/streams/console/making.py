"""Decisions, words of workers and whole fleets, for the tests of the console."""

import json
from typing import Any

from streams.console.decisions import Decision, read_decision
from streams.console.read_model import ReadModel
from streams.console.scores import Costs
from streams.console.state import Controls, LetterSeen
from streams.kafka.control_status import PendingStatus, WorkerStatus
from streams.pipeline.records import REQUESTS, RESPONSES

NOW = 1_700_000_000.0
COSTS = Costs(0.64, 1.0, "false-discovery")
HOSTILE = "<img src=x onerror=alert(1)>\"'&\u202e\x1b[31m\x00</script>"
"""What anybody may write into an id, a policy or a name."""


def record(request_id: str = "a", *, p: float | None = 0.1, **more: Any) -> dict[str, Any]:
    """A decision as its record says it."""
    threshold = 0.4
    automated = p is not None and p < threshold
    reason = "predictors_missing" if p is None else "below_threshold" if automated else "above_threshold"
    return {
        "request_id": request_id,
        "policy": "hate",
        "tenant": None,
        "route": "auto-action" if automated else "human-review",
        "action": "allow" if automated else "review",
        "error_probability": p,
        "threshold": None if p is None else threshold,
        "audit_probability": 0.0,
        "reasons": [reason],
        "drivers": [{"predictor": "outcome_log_margin", "push": -1.5}],
        "llm": {"name": "an-llm", "outcome": 0, "confidence": 0.9, "category": None},
        "spec": "lpp",
        "model": {"name": "blend", "sha256": "ab" * 32},
        "control_version": 3,
        "decided_at": "2026-11-26T12:00:00.000Z",
        **more,
    }


def decision(request_id: str = "a", **more: Any) -> Decision:
    """The same, read."""
    found = read_decision(json.dumps(record(request_id, **more)).encode())
    assert found is not None
    return found


def word(worker: str = "one", **more: Any) -> WorkerStatus:
    """What a worker says where all is well."""
    said: dict[str, Any] = {
        "event": "alive",
        "at": "2026-11-26T12:00:00.000Z",
        "control_version": 3,
        "position": 3,
        "hash": "ab",
        "settings_hash": "cd",
        "honoured": True,
        "model": "ab" * 32,
        "partitions": [0, 1],
        "restoring": False,
        "pending": PendingStatus(2, 0, 1.5),
        "busy": {"read": 0.5, "deliver": 0.9},
        **more,
    }
    return WorkerStatus(worker=worker, **said)


def in_force(**more: Any) -> Controls:
    """Controls with one threshold, as one message set it."""
    since = {"since": 3, "issued_by": "ann", "reason": "it costs less", "at": "2026-11-26T11:00:00.000Z"}
    every = {"policy": "*", "tenant": "*", "outcome": "*"}
    worker = {"version": 3, "hash": "ab", "settings_hash": "cd", "settings_threshold": 0.39, "model": "ab" * 32}
    worker |= {"models": [], "problem": None, "shadow": None, "silent_for": 1.0, "in_force": True}
    message = {"version": 3, "offset": 2, "what": "set_threshold threshold=0.4", "signed_by": None, **since}
    document = {
        "version": 3,
        "hash": "ab",
        "last": message,
        "whole": True,
        "messages": 3,
        "refused": 0,
        "model": None,
        "thresholds": {"*": {**every, "value": 0.4, "origin": "set", "model": None, **since}},
        "audit_rates": {"*": {**every, "rate": 0.01, "floor": 0.0, **since}},
        "stops": {},
        "shadow": None,
        "budgets": [],
        "alerts": [],
        "quality": [],
        "workers": {"one": worker},
        "gone": {},
        "split": False,
        "in_force_everywhere": True,
        **more,
    }
    history = [{**message, "applied": True, "refused": None}]
    changes = [{"version": 3, "changes": [["threshold of *", "0.39 (by costs)", "0.4 (set)"]]}]
    return Controls(document, history, changes)


def letter(code: str = "not_a_record", **more: Any) -> LetterSeen:
    """A dead letter."""
    said: dict[str, Any] = {
        "spot": "0:7",
        "at": "2026-11-26T12:00:00.000Z",
        "code": code,
        "message": "the value is no JSON object",
        "source": "moderation.requests 0:9",
        "key": "a",
        "cycles": 0,
        **more,
    }
    return LetterSeen(**said)


def watched(seconds: int = 60, *, decided: int = 40, p: float = 0.1, unread: int = 0) -> ReadModel:
    """A fleet of one worker where all is well, watched up to `NOW`; `unread` records are in each partition at every look."""
    fleet = ReadModel("broker:9092", COSTS)
    for second in range(0, seconds + 1, 2):
        at = NOW - seconds + second
        end = 1000 + 10 * second
        places = [(role, number) for role in (REQUESTS, RESPONSES) for number in (0, 1)]
        fleet.progress(dict.fromkeys(places, (end - unread, end)), at)
        fleet.looked("progress", None, at)
    fleet.heard({"one": word()}, {"one": 1.0}, {})
    fleet.in_force(in_force())
    for number in range(decided):
        fleet.decided(decision(f"id-{number}", p=p), int(NOW * 1000) - 500, NOW - 1, live=True)
    return fleet

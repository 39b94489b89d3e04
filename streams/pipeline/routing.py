"""Routing: scored cases and the controls in force give decisions. Pure."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypedDict

import numpy as np
import orjson

from scoring import ErrorModel, Scores
from streams.pipeline.controls import Controls
from streams.pipeline.matching import Case
from streams.pipeline.reasons import Reason
from streams.pipeline.records import Output
from streams.pipeline.scope import EVERY, OUTCOMES

AUTO_ACTION: Final = "auto-action"
HUMAN_REVIEW: Final = "human-review"

_TOPICS: Final = {AUTO_ACTION: "auto_action", HUMAN_REVIEW: "human_review"}
_INCONCLUSIVE: Final = {2: Reason.EVIDENCE_DEFICIENCY, 3: Reason.POLICY_GAP}
_DRIVERS = 3

UNSCORED_PRIORITY: Final = 1.0
"""Nothing is known of an unscored case, so it waits behind no other."""


class Driver(TypedDict):
    """A term of the model, and how it pushed the score: positive towards "the LLM is wrong"."""

    predictor: str
    push: float


@dataclass(slots=True, eq=False)
class Verdict:
    """What the LLM said in one case, and how sure the model is that it is wrong (None: it could not be scored).

    `missing` are the predictors without which it is not scored, where that is the reason.
    """

    reason: Reason | None = None
    llm: str | None = None
    outcome: int | None = None
    confidence: float | None = None
    error_probability: float | None = None
    category: str | None = None
    spec: str | None = None
    drivers: list[Driver] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def top_drivers(scores: Scores, model: ErrorModel) -> list[list[Driver]]:
    """For each row the terms that pushed the score most."""
    pushes = scores.contributions
    if pushes.shape[1] == 0:
        return [[] for _ in pushes]
    count = min(_DRIVERS, pushes.shape[1])
    strongest = np.argsort(-np.abs(pushes), axis=1)[:, :count]
    values = np.round(np.take_along_axis(pushes, strongest, axis=1).astype(np.float64), 6)
    names = np.array(model.terms, object)[strongest]
    return [
        [{"predictor": name, "push": push} for name, push in zip(*row, strict=True)]
        for row in zip(names.tolist(), values.tolist(), strict=True)
    ]


class Decision(NamedTuple):
    """Where a case goes, why, the threshold that decided it (None when none was asked), and the chance of a human's look."""

    route: str
    reason: Reason
    threshold: float | None = None
    audit_probability: float = 1.0


def decide(case: Case, verdict: Verdict, controls: Controls) -> Decision:
    """Decide one case under the controls."""
    outcome = verdict.outcome
    if verdict.reason is not None:
        return Decision(HUMAN_REVIEW, verdict.reason)
    if outcome in _INCONCLUSIVE:
        return Decision(HUMAN_REVIEW, _INCONCLUSIVE[outcome])
    if outcome is None:
        return Decision(HUMAN_REVIEW, Reason.OUTCOME_MISSING)
    if controls.problem is not None:
        return Decision(HUMAN_REVIEW, Reason.CONTROLS_NOT_HONOURED)
    threshold, audit_rate, closed = controls.ruling(case.policy, case.tenant, outcome)
    if closed is not None:
        return Decision(HUMAN_REVIEW, closed)
    if verdict.error_probability is None:
        return Decision(HUMAN_REVIEW, Reason.MODEL_FAILED)
    if threshold is None:
        return Decision(HUMAN_REVIEW, Reason.NO_THRESHOLD)
    if verdict.error_probability >= threshold:
        return Decision(HUMAN_REVIEW, Reason.ABOVE_THRESHOLD, threshold)
    if _drawn_for_audit(case.request_id, audit_rate):
        return Decision(HUMAN_REVIEW, Reason.AUDIT, threshold, audit_rate)
    return Decision(AUTO_ACTION, Reason.BELOW_THRESHOLD, threshold, audit_rate)


def _drawn_for_audit(request_id: str, rate: float) -> bool:
    """Drawn by the id, not by chance, so that redoing a batch draws the same ones."""
    return rate > 0 and zlib.crc32(request_id.encode()) < rate * 2**32


def encode_decision(
    case: Case, verdict: Verdict, controls: Controls, shadow: Mapping[str, object] | None = None, *, decided_at: str
) -> tuple[Output, str, Reason]:
    """The decision record, with its route and reason, and what the shadow says. It keeps the request's key and headers."""
    route, reason, threshold, audit_probability = decide(case, verdict, controls)
    action = OUTCOMES[verdict.outcome] if route == AUTO_ACTION and verdict.outcome is not None else "review"
    decision: dict[str, object] = {
        "request_id": case.request_id,
        "policy": case.policy,
        "tenant": None if case.tenant == EVERY else case.tenant,
        "route": route,
        "action": action,
        "error_probability": verdict.error_probability,
        "threshold": threshold,
        "audit_probability": audit_probability,
        "reasons": [reason],
        "drivers": verdict.drivers,
        "llm": {
            "name": verdict.llm,
            "outcome": verdict.outcome,
            "confidence": verdict.confidence,
            "category": verdict.category,
        },
        "spec": verdict.spec,
        "model": {
            "name": None if controls.model is None else controls.model.name,
            "sha256": None if controls.model is None else controls.model.sha256,
        },
        "control_version": controls.version,
        "decided_at": decided_at,
    }
    if verdict.missing:
        decision["missing_predictors"] = verdict.missing
    if shadow is not None:
        decision["shadow"] = shadow
    request = case.request
    if route == HUMAN_REVIEW:
        known = verdict.error_probability
        decision["priority"] = UNSCORED_PRIORITY if known is None else known
        decision["request"] = orjson.Fragment(request.value or b"null")
    return Output(_TOPICS[route], request.key, orjson.dumps(decision), request.headers), route, reason


def rfc3339(milliseconds: int) -> str:
    """A time in ms since the epoch as RFC 3339 in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Routing: scored cases and the controls in force give decisions. Pure."""

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import Final

import msgspec
import numpy as np
import orjson

from scoring import ErrorModel, Scores
from streams.pipeline.controls import Controls
from streams.pipeline.matching import Case
from streams.pipeline.reasons import Reason
from streams.pipeline.scope import OUTCOMES

AUTO_ACTION: Final = "auto-action"
HUMAN_REVIEW: Final = "human-review"

_INCONCLUSIVE: Final = {2: Reason.EVIDENCE_DEFICIENCY, 3: Reason.POLICY_GAP}
_DRIVERS = 3


class Verdict(msgspec.Struct, gc=False):
    """What the LLM said in one case, and how sure the model is that it is wrong (None: it could not be scored).

    `drivers` is JSON: a list of the terms that pushed the score most, each a `predictor` and its `push`, positive towards "the LLM is wrong".
    `missing` are the predictors without which it is not scored, where that is the `reason`.
    """

    reason: Reason | None = None
    outcome: int | None = None
    confidence: float | None = None
    error_probability: float | None = None
    drivers: bytes = b"[]"
    llm: str | None = None
    category: str | None = None
    spec: str | None = None
    missing: Sequence[str] = ()


def top_drivers(scores: Scores, model: ErrorModel) -> list[bytes]:
    """For each row the terms that pushed the score most, as `Verdict` has them."""
    pushes = scores.contributions
    count = min(_DRIVERS, pushes.shape[1])
    if not count:
        return [b"[]"] * len(pushes)
    strongest = np.argsort(-np.abs(pushes), axis=1)[:, :count]
    values = np.round(np.take_along_axis(pushes, strongest, axis=1).astype(np.float64), 6)
    numbers = orjson.dumps(values.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    named = [b'{"predictor":%b,"push":' % orjson.dumps(name) for name in model.terms]
    columns: list[Sequence[bytes]] = []
    for rank, terms in enumerate(strongest.T.tolist()):
        before = [(b"}," if rank else b"[") + name for name in named]
        columns += [[before[term] for term in terms], numbers[rank::count]]
    return list(map(b"".join, zip(*columns, repeat(b"}]"))))


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Where a case goes, why, the threshold that decided it (None when none was asked), and the chance of a human's look."""

    route: str
    reason: Reason
    threshold: float | None = None
    audit_probability: float = 1.0

    @property
    def stratum(self) -> str:
        """Which part of the traffic it belongs to, as far as labels are concerned."""
        if self.route == AUTO_ACTION:
            return "automated"
        return "audited" if self.reason is Reason.AUDIT else "escalated"


def decide(case: Case, verdict: Verdict, controls: Controls) -> Decision:
    """Decide one case under the controls."""
    outcome = verdict.outcome
    if verdict.reason is not None:
        return Decision(HUMAN_REVIEW, verdict.reason)
    if outcome is None:
        return Decision(HUMAN_REVIEW, Reason.OUTCOME_MISSING)
    if (inconclusive := _INCONCLUSIVE.get(outcome) or _odd(case)) is not None:
        return Decision(HUMAN_REVIEW, inconclusive)
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


def _odd(case: Case) -> Reason | None:
    return None if case.portable is None else Reason.REQUEST_NOT_PORTABLE


def _drawn_for_audit(request_id: str, rate: float) -> bool:
    """Drawn by the id, not by chance, so that redoing a batch draws the same ones."""
    return rate > 0 and zlib.crc32(request_id.encode()) < rate * 2**32


def action(decision: Decision, verdict: Verdict) -> str:
    """What is to be done: the LLM's outcome by name, where it is automated."""
    return OUTCOMES[verdict.outcome] if decision.route == AUTO_ACTION and verdict.outcome is not None else "review"


def rfc3339(milliseconds: int) -> str:
    """A time in ms since the epoch as RFC 3339 in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

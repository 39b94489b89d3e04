"""Decisions and vectors as they are written. What the records of a batch have in common is encoded once. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import orjson

from featurizers import SCHEMA, Vectors
from streams.pipeline.controls import Controls
from streams.pipeline.gate import shortened
from streams.pipeline.matching import Case
from streams.pipeline.records import Headers, Output
from streams.pipeline.routing import HUMAN_REVIEW, Decision, Verdict, action
from streams.pipeline.scope import EVERY
from streams.pipeline.traces import context, passed_on

_TOPICS: Final = {"auto-action": "auto_action", "human-review": "human_review"}
_UNSCORED_PRIORITY: Final = b"1.0"
"""Nothing is known of an unscored case, so it waits behind no other."""

_SEAM: Final = b"\0"
"""Stands where a record's own value goes. JSON has no such byte, in strings neither."""
_OWN: Final = orjson.Fragment(_SEAM)

_REMEMBERED: Final = 1000
"""Different decisions of one batch whose common parts are kept: a bound, for names come from outside."""


class DecisionEncoder:
    """Writes decisions under the same controls, made at the same time (RFC 3339)."""

    def __init__(self, controls: Controls, decided_at: str) -> None:
        model = controls.model
        self._model = {"name": model and model.name, "sha256": model and model.sha256}
        self._version, self._decided_at = controls.version, decided_at
        self._common: dict[object, list[bytes]] = {}

    def encode(
        self, case: Case, verdict: Verdict, decision: Decision, shadow: Mapping[str, object] | None = None
    ) -> Output:
        """The decision record, with what the shadow says. It keeps the request's key and headers, and the trace."""
        request, around = case.request, self._around(case, verdict, decision, shadow)
        request_id, probability = orjson.dumps(case.request_id), orjson.dumps(verdict.error_probability)
        said = verdict.drivers, around[3], orjson.dumps(verdict.confidence), around[4]
        parts: tuple[bytes, ...] = around[0], request_id, around[1], probability, around[2], *said
        if decision.route == HUMAN_REVIEW:
            priority = _UNSCORED_PRIORITY if verdict.error_probability is None else probability
            parts = (*parts, priority, around[5], case.portable or request.value or b"null", around[6])
        return Output(_TOPICS[decision.route], request.key, b"".join(parts), passed_on(case))

    def _around(
        self, case: Case, verdict: Verdict, decision: Decision, shadow: Mapping[str, object] | None
    ) -> list[bytes]:
        """What stands around the values that are the record's own."""
        if shadow is not None or verdict.missing:
            return self._parts(case, verdict, decision, shadow)
        said = verdict.outcome, verdict.llm, verdict.category, verdict.spec
        key = case.policy, case.tenant, decision, said
        parts = self._common.get(key)
        if parts is None:
            parts = self._parts(case, verdict, decision, None)
            if len(self._common) < _REMEMBERED:
                self._common[key] = parts
        return parts

    def _parts(
        self, case: Case, verdict: Verdict, decision: Decision, shadow: Mapping[str, object] | None
    ) -> list[bytes]:
        document: dict[str, object] = {
            "request_id": _OWN,
            "policy": case.policy,
            "tenant": _tenant(case),
            "route": decision.route,
            "action": action(decision, verdict),
            "error_probability": _OWN,
            "threshold": decision.threshold,
            "audit_probability": decision.audit_probability,
            "reasons": [decision.reason],
            "drivers": _OWN,
            "llm": {
                "name": verdict.llm,
                "outcome": verdict.outcome,
                "confidence": _OWN,
                "category": verdict.category,
            },
            "spec": verdict.spec,
            "model": self._model,
            "control_version": self._version,
            "decided_at": self._decided_at,
        }
        if verdict.missing:
            document["missing_predictors"] = verdict.missing
        if shadow is not None:
            document["shadow"] = shadow
        if decision.route == HUMAN_REVIEW:
            document |= {"priority": _OWN, "request": _OWN}
        return orjson.dumps(document).split(_SEAM)


class VectorEncoder:
    """Writes the rows of a batch's vectors, decided at the same time (RFC 3339).

    They say how likely a human was to see the answer: a label that comes back later stands for so many.
    """

    def __init__(self, vectors: Vectors, decided_at: str) -> None:
        self._vectors, self._decided_at = vectors, decided_at
        values = orjson.dumps(np.ascontiguousarray(vectors.values), option=orjson.OPT_SERIALIZE_NUMPY)
        self._rows: Sequence[bytes] = values[2:-2].split(b"],[")
        self._common: dict[object, list[bytes]] = {}

    def encode(self, case: Case, row: int, decision: Decision, headers: Headers | None) -> Output:
        """The record of one row, whose case it is and which was decided so, in the trace that its decision's `headers` say."""
        around = self._around(case, self._vectors.llms[row], self._vectors.specs[row], decision)
        value = b"".join((around[0], orjson.dumps(case.request_id), around[1], self._rows[row], around[2]))
        return Output("vectors", case.request.key, value, (context(headers) or None) if headers else None)

    def _around(self, case: Case, llm: str | None, spec: str, decision: Decision) -> list[bytes]:
        key = case.policy, case.tenant, case.language, llm, spec, decision
        parts = self._common.get(key)
        if parts is None:
            document = {
                "request_id": _OWN,
                "schema": SCHEMA.id,
                "values": [_OWN],
                "llm": shortened(llm),
                "policy": case.policy,
                "tenant": _tenant(case),
                "language": case.language,
                "spec": spec,
                "audit_probability": decision.audit_probability,
                "stratum": decision.stratum,
                "decided_at": self._decided_at,
            }
            parts = orjson.dumps(document).split(_SEAM)
            if len(self._common) < _REMEMBERED:
                self._common[key] = parts
        return parts


def _tenant(case: Case) -> str | None:
    return None if case.tenant == EVERY else case.tenant

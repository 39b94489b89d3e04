"""Decisions and vectors as they are written: what a batch has in common is encoded once, and no record has anything of another's."""

from itertools import product
from typing import Any

import numpy as np
import orjson
import pytest
from msgspec.structs import replace

from featurizers import SCHEMA, Vectors
from streams.pipeline.controls import Controls
from streams.pipeline.encoding import DecisionEncoder, VectorEncoder
from streams.pipeline.matching import Case
from streams.pipeline.reasons import Reason
from streams.pipeline.routing import AUTO_ACTION, HUMAN_REVIEW, Decision, Verdict
from tests.rig import request

CONTROLS = Controls(None, {}, {}, 7, frozenset())
AT = "2026-11-26T05:00:00.000Z"
CASE = Case("a", "hate", request(value=b'{"n":1}'), None, None, tenant="shop")
VERDICT = Verdict(None, 0, 0.0, 0.25, b'[{"predictor":"p","push":0.5}]', "gpt", "insult", "lpp")
DECISION = Decision(AUTO_ACTION, Reason.BELOW_THRESHOLD, 0.5, 1.0)
ODD = ["", "b", "\0", '"],["', "é\u2028😀", "x" * 300]


def variants() -> list[tuple[Case, Verdict, Decision, Any]]:
    """A decision, and others that differ from it in one thing each."""
    of_case: list[dict[str, Any]] = [{name: odd} for name in ("request_id", "policy", "tenant") for odd in ODD]
    of_case += [{"tenant": "*"}, *({"request": request(value=value)} for value in (b"", b'{"n":2}'))]
    of_verdict: list[dict[str, Any]] = [{name: odd} for name in ("llm", "category", "spec") for odd in (None, *ODD)]
    of_verdict += [{"confidence": one} for one in (None, -0.0, 0.5)] + [{"outcome": one} for one in (None, 1)]
    of_verdict += [{"error_probability": one} for one in (None, 0.0, -0.0)] + [{"drivers": b"[]"}, {"missing": ["p"]}]
    of_decision: list[dict[str, Any]] = [
        {"reason": Reason.AUDIT},
        {"threshold": None},
        {"threshold": 0.25},
        {"audit_probability": None},
    ]
    decided = [(CASE, VERDICT, DECISION, None), (CASE, VERDICT, DECISION, {"route": HUMAN_REVIEW})]
    decided += [(replace(CASE, **one), VERDICT, DECISION, None) for one in of_case]
    decided += [(CASE, replace(VERDICT, **one), DECISION, None) for one in of_verdict]
    decided += [(CASE, VERDICT, replace(DECISION, **one), None) for one in of_decision]
    return decided + [
        (case, verdict, replace(decision, route=HUMAN_REVIEW), shadow) for case, verdict, decision, shadow in decided
    ]


@pytest.mark.parametrize("number", range(len(variants())))
def test_a_decision_is_the_same_bytes_whatever_was_written_before_it(number: int) -> None:
    """Also where two cases differ only in what compares equal, as 0.0 and -0.0 do."""
    shared, one = DecisionEncoder(CONTROLS, AT), variants()[number]
    shared.encode(*variants()[0])
    shared.encode(*variants()[len(variants()) // 2])
    assert DecisionEncoder(CONTROLS, AT).encode(*one) == shared.encode(*one)


@pytest.mark.parametrize("number", range(len(variants())))
def test_values_stand_where_they_belong(number: int) -> None:
    """What is put between the common parts comes back under its own name, and is nothing but JSON."""
    case, verdict, decision, shadow = variants()[number]
    value = DecisionEncoder(CONTROLS, AT).encode(case, verdict, decision, shadow).value or b""
    read = orjson.loads(value)
    assert list(read["llm"].values()) == [verdict.llm, verdict.outcome, verdict.confidence, verdict.category]
    assert (case.request_id, case.policy, verdict.error_probability, orjson.loads(verdict.drivers), shadow) == (
        *(read[name] for name in ("request_id", "policy", "error_probability", "drivers")),
        read.get("shadow"),
    )
    if decision.route == HUMAN_REVIEW:
        known = verdict.error_probability
        assert (1.0 if known is None else known, orjson.loads(case.request.value or b"null")) == (
            read["priority"],
            read["request"],
        )


def test_a_vector_is_its_own_row_under_its_own_names() -> None:
    """In whatever layout the values lie in memory; what is no number is null."""
    decisions = (
        Decision(HUMAN_REVIEW, Reason.AUDIT, 0.2, 0.1),
        Decision(AUTO_ACTION, Reason.BELOW_THRESHOLD, 0.2, 0.1),
        Decision(HUMAN_REVIEW, Reason.ABOVE_THRESHOLD, 0.2),
    )
    odd = list(product(ODD, ("*", "b"), (None, *ODD), ("lpp", "other"), (None, "de"), decisions))
    values = np.asfortranarray(np.arange(len(odd) * len(SCHEMA.names), dtype=np.float32).reshape(len(odd), -1))
    values[:, 0] = np.nan
    nothing: list[str | None] = [None] * len(odd)
    llms, specs = [one[2] for one in odd], [one[3] for one in odd]
    encoder = VectorEncoder(Vectors(values, np.zeros(len(odd), np.int8), nothing, llms, nothing, specs), AT)
    for row, (policy, tenant, llm, spec, language, decision) in enumerate(odd):
        case = Case(str(row), policy, request(), None, None, tenant=tenant, language=language)
        read = orjson.loads(encoder.encode(case, row, decision, None).value or b"")
        assert (language, decision.audit_probability, decision.stratum, AT) == tuple(
            read[name] for name in ("language", "audit_probability", "stratum", "decided_at")
        )
        assert [None, *values[row, 1:].tolist()] == read["values"]
        assert (str(row), policy, None if tenant == "*" else tenant, spec) == tuple(
            read[name] for name in ("request_id", "policy", "tenant", "spec")
        )
        assert read["llm"] is None if llm is None else llm.startswith(read["llm"].rstrip("…"))

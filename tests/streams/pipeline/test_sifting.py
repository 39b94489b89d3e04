"""A record that makes a stage fail is found in its batch and set aside; the others are decided as usual."""

from collections import Counter
from typing import Any

import numpy as np
import orjson
import pytest

from featurizers import PRESETS
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline import stages
from streams.pipeline.controls import Controls
from streams.pipeline.encoding import DecisionEncoder, VectorEncoder
from streams.pipeline.incidents import IncidentBudget
from streams.pipeline.matching import Arrivals
from streams.pipeline.scope import EVERYTHING
from streams.pipeline.stages import Outbox, Pipeline, Polled, Ticket
from tests.rig import NOW, Desk, request, response

IDS = [f"r{number}" for number in range(9)]


class Model:
    """Sure of everything; fails on a policy of its own."""

    name, sha256, policies = "stub", "0" * 64, frozenset({"hate"})
    terms = ("outcome",)

    def score(self, values: Any, policies: Any, _languages: Any) -> Any:
        if "poison" in policies:
            raise ZeroDivisionError
        count = len(values)
        return stages.Scores(
            error_probability=np.zeros(count, np.float32),
            contributions=np.zeros((count, 0), np.float32),
            supported=np.ones(count, np.bool_),
        )


def decided(poison: int, policy: str = "hate") -> tuple[dict[str, str], Outbox]:
    model: Any = Model()
    controls = Controls(model=model, thresholds={EVERYTHING: 0.5})
    desk = Desk()
    pipeline = Pipeline(desk.matcher, PRESETS["lpp"], lambda: controls, topic_names(load_topics()), lambda: NOW)
    records = []
    for number, name in enumerate(IDS):
        asked = {"request_id": name, "policy": policy if number == poison else "hate"}
        records += [request(name, offset=number, value=orjson.dumps(asked)), response(name, offset=10 + number)]
    polled = Polled(Ticket(1, desk.assignment, {}, 0.0), Arrivals(records, {}, {}))
    outbox = pipeline.route(pipeline.score(pipeline.featurize(pipeline.intake(polled))))
    decisions = [
        orjson.loads(one.value or b"") for one in outbox.outputs if one.topic in ("auto_action", "human_review")
    ]
    return {one["request_id"]: one["reasons"][0] for one in decisions}, outbox


def expected(poison: int) -> dict[str, str]:
    return {name: "internal_error" if number == poison else "below_threshold" for number, name in enumerate(IDS)}


@pytest.mark.parametrize("poison", [0, 4, 8])
def test_an_answer_that_the_featurizer_fails_on_stands_alone(monkeypatch: pytest.MonkeyPatch, poison: int) -> None:
    """It goes to a human, wherever it stood in the batch, and the record is named."""
    real = stages.featurize

    def failing(responses: Any, spec: Any) -> Any:
        if any(one.request_id == IDS[poison] for one in responses):
            raise IndexError("secret words of the answer")
        return real(responses, spec)

    monkeypatch.setattr(stages, "featurize", failing)
    reasons, outbox = decided(poison)
    assert expected(poison) == reasons
    places = [(one.source, one.offset, one.stage) for one in outbox.incidents]
    assert [("responses", 10 + poison, "featurize")] == places
    assert all("secret" not in one.traceback for one in outbox.incidents)
    assert 8 == sum(one.topic == "vectors" for one in outbox.outputs)


@pytest.mark.parametrize("poison", [0, 4, 8])
def test_an_answer_that_the_model_fails_on_stands_alone(poison: int) -> None:
    """Where it isn't the model itself that is broken, its batch keeps its automation."""
    reasons, outbox = decided(poison, policy="poison")
    assert expected(poison) == reasons
    assert {"score"} == {one.stage for one in outbox.incidents}


@pytest.mark.parametrize("poison", [0, 4, 8])
def test_a_case_that_cannot_be_written_down_stands_alone(monkeypatch: pytest.MonkeyPatch, poison: int) -> None:
    """Its decision is written without what failed, and each of the others has its own row of the vectors."""
    real, of_vector, rows = DecisionEncoder.encode, VectorEncoder.encode, {}

    def failing(self: Any, case: Any, verdict: Any, decision: Any, shadow: Any = None) -> Any:
        if case.request_id == IDS[poison] and verdict.reason is None:
            raise KeyError(case.request_id)
        return real(self, case, verdict, decision, shadow)

    def noting(self: Any, case: Any, row: int, *more: Any) -> Any:
        rows[case.request_id] = row
        return of_vector(self, case, row, *more)

    monkeypatch.setattr(DecisionEncoder, "encode", failing)
    monkeypatch.setattr(VectorEncoder, "encode", noting)
    reasons, outbox = decided(poison)
    assert expected(poison) == reasons
    assert {name: row for row, name in enumerate(IDS) if row != poison} == rows
    assert {"route"} == {one.stage for one in outbox.incidents}


def test_what_fails_on_records_together_and_on_none_alone_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is no matter of records, and setting some aside would go on for ever."""
    real = stages.featurize

    def failing(responses: Any, spec: Any) -> Any:
        if len(responses) > 1:
            raise MemoryError
        return real(responses, spec)

    monkeypatch.setattr(stages, "featurize", failing)
    with pytest.raises(MemoryError):
        decided(0)


def test_incidents_are_counted_within_a_minute() -> None:
    """Nine are single records, ten are not; after a minute the count begins anew."""
    budget = IncidentBudget()
    assert not budget.exceeded(9, 0.0)
    assert not budget.exceeded(9, 61.0)
    assert not budget.exceeded(0, 62.0)
    assert budget.exceeded(1, 62.0)


def test_a_case_that_fails_once_its_decision_is_written_is_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision that stands is the one that sets it aside."""

    class Uncounted(Counter[Any]):
        def __setitem__(self, key: Any, count: int) -> None:
            raise MemoryError

    stamp = {"route": "auto-action", "reasons": ["below_threshold"]}
    monkeypatch.setattr(stages, "_stamped", lambda _batch: ([stamp] * len(IDS), None))
    monkeypatch.setattr(stages, "Outbox", lambda *given, **named: Outbox(*given, **named, shadow=Uncounted()))
    reasons, outbox = decided(0)
    assert dict.fromkeys(IDS, "internal_error") == reasons
    assert len(IDS) == sum(one.topic in ("auto_action", "human_review") for one in outbox.outputs)

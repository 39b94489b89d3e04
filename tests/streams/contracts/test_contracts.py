"""The data contracts: what the code writes is what its JSON Schemas say."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from featurizers import PRESETS, PROVIDERS, SCHEMA
from scoring import RECORDING, ErrorModel, ModelError, Scores, load_model, read_recording
from streams.contracts import SCHEMAS, load_schema
from streams.kafka.quality import agreement
from streams.kafka.topics import load_topics
from streams.pipeline import matching
from streams.pipeline.control_content import AuditRate
from streams.pipeline.controls import Controls
from streams.pipeline.ledger import Limits
from streams.pipeline.matching import Arrivals
from streams.pipeline.reasons import Reason
from streams.pipeline.records import REQUESTS, RESPONSES, Output, Record
from streams.pipeline.scope import EVERYTHING, Scope
from streams.pipeline.stages import Pipeline, Polled, Ticket
from tests.rig import ROOMY, Desk
from tests.streams.contracts.checking import check

CAUGHT_UP = {(REQUESTS, 0): 2**60, (RESPONSES, 0): 2**60}
NAMES = {key: topic.name for key, topic in load_topics().items()}
ITEMS = read_recording(RECORDING)[:40]
POLICY = ITEMS[0].policy


@pytest.fixture(scope="module")
def model(models: Path) -> ErrorModel:
    return load_model(models)


class FailingModel:
    """A model that looks like the real one and fails on every batch."""

    def __init__(self, model: ErrorModel, sha256: str | None = None) -> None:
        self.name, self.sha256, self.policies, self.terms = model.name, model.sha256, model.policies, model.terms
        self.sha256 = sha256 or model.sha256

    def score(self, values: Any, policies: Any, _languages: Any) -> Scores:
        """Fail, whatever the batch."""
        raise ModelError(f"no score for {len(values)} vectors of {policies}")


def request(request_id: str, policy: str = POLICY, *, at: int = 0, **more: Any) -> Record:
    value = orjson.dumps({"request_id": request_id, "policy": policy, **more})
    return Record(REQUESTS, 0, at, at, request_id.encode(), value, None)


def response(request_id: str, body: Any) -> Record:
    value = orjson.dumps({"request_id": request_id, "provider": "openai-chat", "body": body})
    return Record(RESPONSES, 0, 0, 0, request_id.encode(), value, None)


def saying(text: str) -> dict[str, Any]:
    """A recorded body whose answer says something else."""
    body: dict[str, Any] = orjson.loads(bytes(ITEMS[0].response))
    body["choices"][0]["message"]["content"] = text
    return body


def without_logprobs() -> dict[str, Any]:
    body = saying('{"outcome": 1}')
    body["choices"][0]["logprobs"] = None
    return body


def run(
    model: Any,
    *records: Record,
    threshold: float | None = 0.4,
    audit_rate: float = 0.0,
    limits: Limits = ROOMY,
    **more: Any,
) -> list[Output]:
    """All that the pipeline writes for one batch."""
    desk = Desk(limits=limits)
    thresholds = {} if threshold is None else {EVERYTHING: threshold}
    controls = Controls(model=model, thresholds=thresholds, audit_rates={EVERYTHING: AuditRate(audit_rate)}, **more)
    pipeline = Pipeline(desk.matcher, PRESETS["lpp"], lambda: controls, NAMES, lambda: 1_800_000_000_000)
    polled = Polled(Ticket(0, desk.assignment, {}, 0.0), Arrivals(list(records), {}, CAUGHT_UP))
    return pipeline.route(pipeline.score(pipeline.featurize(pipeline.intake(polled)))).outputs


def decisions(outputs: list[Output]) -> list[Any]:
    """The decisions among the outputs, each checked, each in the topic of its route."""
    found = [output for output in outputs if output.topic in {"auto_action", "human_review"}]
    checked = [check("decision", output.value) for output in found]
    assert [output.topic for output in found] == [one["route"].replace("-", "_") for one in checked]
    return checked


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_a_schema_and_says_its_name(name: str) -> None:
    """Valid JSON Schema 2020-12, with the id by which the others refer to it."""
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert f"https://secondlook.dev/schemas/{name}.v1.json" == schema["$id"]


RECORDED = orjson.loads(bytes(ITEMS[0].response))
PROVOKED: list[tuple[Reason, Any, dict[str, Any]]] = [
    (Reason.BELOW_THRESHOLD, RECORDED, {"threshold": 1.0}),
    (Reason.ABOVE_THRESHOLD, RECORDED, {"threshold": 0.0}),
    (Reason.AUDIT, RECORDED, {"threshold": 1.0, "audit_rate": 1.0}),
    (Reason.NO_THRESHOLD, RECORDED, {"threshold": None}),
    (Reason.AUTOMATION_STOPPED, RECORDED, {"threshold": 1.0, "stopped": frozenset({EVERYTHING})}),
    (Reason.CONTROLS_NOT_HONOURED, RECORDED, {"threshold": 1.0, "problem": "no model"}),
    (Reason.EVIDENCE_DEFICIENCY, saying('{"outcome": 2, "confidence": 60}'), {}),
    (Reason.POLICY_GAP, saying('{"outcome": 3}'), {}),
    (Reason.OUTCOME_MISSING, saying("I'm sorry, but I can't help with that."), {}),
    (Reason.PREDICTORS_MISSING, without_logprobs(), {}),
    (Reason.UNREADABLE_ANSWER, {"choices": "upstream timeout"}, {}),
]


@pytest.mark.parametrize(("reason", "body", "controls"), PROVOKED, ids=[reason for reason, _, _ in PROVOKED])
def test_a_decision_of_each_reason_keeps_the_contract(
    reason: Reason, body: Any, controls: dict[str, Any], model: ErrorModel
) -> None:
    """Scored or not, automatic or not."""
    (decision,) = decisions(run(model, request("a", content="x"), response("a", body), **controls))
    assert [reason] == decision["reasons"]


def test_a_worker_without_the_model_keeps_the_contract() -> None:
    """Nothing is scored, and no model is named as if it had been."""
    outputs = run(None, request("a", content="x"), response("a", RECORDED), threshold=1.0, problem="no model")
    (decision,) = decisions(outputs)
    assert [Reason.CONTROLS_NOT_HONOURED] == decision["reasons"]
    assert {"name": None, "sha256": None} == decision["model"]
    assert (None, 1.0) == (decision["error_probability"], decision["priority"])


def test_a_decision_names_the_predictors_it_lacks(model: ErrorModel) -> None:
    """Those that the model has never seen missing; a decision for another reason has no such list."""
    answers = {"a": without_logprobs(), "b": RECORDED, "c": saying("no verdict")}
    records = [one for name, body in answers.items() for one in (request(name, content="x"), response(name, body))]
    lists = {one["request_id"]: one.get("missing_predictors") for one in decisions(run(model, *records))}
    assert (None, None) == (lists["b"], lists["c"])
    assert "outcome_logprob" in lists["a"]
    assert set(lists["a"]) <= set(model.card["inputs"]["never_missing"])


@pytest.mark.parametrize("odd", [b"1" * 30, b"1e400", b'"\\ud800"', b"[" * 100_000 + b"]" * 100_000])
def test_a_request_that_not_every_parser_reads_keeps_the_contract(odd: bytes, model: ErrorModel) -> None:
    """A human decides, whatever the model says, and is given all of it."""
    asked = replace(request("a"), value=b'{"request_id":"a","policy":"hate","content":' + odd + b"}")
    (decision,) = decisions(run(model, asked, response("a", RECORDED), threshold=1.0))
    assert [Reason.REQUEST_NOT_PORTABLE] == decision["reasons"]
    assert len(odd) - 130 <= len(orjson.dumps(decision["request"]["content"]))


@pytest.mark.parametrize("tenant", [7, "", "x" * 256, ["acme"], True, {"name": "acme"}])
def test_a_tenant_that_cannot_be_read_keeps_the_contract(tenant: Any, model: ErrorModel) -> None:
    """It stops nothing, until tenants are told apart: then a human decides."""
    unread = request("a", tenant=tenant)
    before, after = (
        decisions(run(model, unread, response("a", RECORDED), threshold=1.0, stopped=stopped))[0]
        for stopped in (frozenset[Scope](), frozenset({Scope(tenant="other")}))
    )
    assert ([Reason.BELOW_THRESHOLD], "") == (before["reasons"], before["tenant"])
    assert [Reason.TENANT_UNREADABLE] == after["reasons"]


@pytest.mark.parametrize(("tenant", "told"), [({"tenant": "acme"}, "acme"), ({"tenant": None}, None), ({}, None)])
def test_the_tenant_of_a_request_counts_and_is_told(tenant: Any, told: str | None, model: ErrorModel) -> None:
    """On its decision and on its vector; nobody is asked for one."""
    stop = frozenset({Scope(tenant="acme")})
    written = run(model, request("a", **tenant), response("a", RECORDED), threshold=1.0, stopped=stop)
    (decision,) = decisions(written)
    assert told == decision["tenant"]
    assert (Reason.BELOW_THRESHOLD if told is None else Reason.AUTOMATION_STOPPED) == decision["reasons"][0]
    assert [told] == [check("vector", one.value)["tenant"] for one in written if one.topic == "vectors"]


@pytest.mark.parametrize(
    ("controls", "chance"),
    [
        ({"threshold": 1.0, "audit_rate": 0.25}, 0.25),
        ({"threshold": 1.0, "audit_rate": 1.0}, 1.0),
        ({"threshold": 1.0}, 0.0),
        ({"threshold": 0.0, "audit_rate": 0.25}, 1.0),
        ({"threshold": None}, 1.0),
    ],
)
def test_a_decision_says_how_likely_a_human_was(controls: dict[str, Any], chance: float, model: ErrorModel) -> None:
    """The audit rate, drawn for it or not; what is escalated is seen for certain."""
    (decision,) = decisions(run(model, request("a", content="x"), response("a", RECORDED), **controls))
    assert chance == decision["audit_probability"]


@pytest.mark.parametrize(
    ("controls", "stratum", "chance"),
    [
        ({"threshold": 1.0, "audit_rate": 1.0}, "audited", 1.0),
        ({"threshold": 1.0, "audit_rate": 0.25}, "automated", 0.25),
        ({"threshold": 0.0, "audit_rate": 0.25}, "escalated", 1.0),
    ],
)
def test_a_vector_says_with_what_chance_a_human_saw_the_answer(
    controls: dict[str, Any], stratum: str, chance: float, model: ErrorModel
) -> None:
    """As its decision does, so that the label that may come back is known to stand for so many; and when it was decided."""
    written = run(model, request("a", content="x"), response("a", RECORDED), **controls)
    (decision,) = decisions(written)
    (vector,) = [check("vector", one.value) for one in written if one.topic == "vectors"]
    assert (stratum, chance) == (vector["stratum"], vector["audit_probability"])
    assert (decision["audit_probability"], decision["decided_at"]) == (
        vector["audit_probability"],
        vector["decided_at"],
    )


def test_every_reason_has_a_decision_here() -> None:
    """A new reason code needs its case, above or in the tests around."""
    apart = {
        Reason.TENANT_UNREADABLE,
        Reason.REQUEST_NOT_PORTABLE,
        Reason.NO_RESPONSE,
        Reason.MODEL_FAILED,
        Reason.STORE_FULL,
        Reason.INTERNAL_ERROR,
    }
    assert set(Reason) == {reason for reason, _, _ in PROVOKED} | apart


def test_a_timed_out_request_keeps_the_contract(model: ErrorModel) -> None:
    """There is nothing to say of the LLM then."""
    (decision,) = decisions(run(model, request("a", at=1)))
    assert ([Reason.NO_RESPONSE], None) == (decision["reasons"], decision["llm"]["outcome"])


def test_a_request_for_which_there_was_no_room_keeps_the_contract(model: ErrorModel) -> None:
    """It is decided before its answer could be read."""
    (decision,) = decisions(run(model, request("a"), limits=Limits(1, 1, 1)))
    assert [Reason.STORE_FULL] == decision["reasons"]


def test_an_answer_that_secondlook_failed_on_keeps_the_contract(
    model: ErrorModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is believed."""

    def failing(_value: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(matching, "decode", failing)
    (decision,) = decisions(run(model, request("a"), response("a", RECORDED)))
    assert ([Reason.INTERNAL_ERROR], None) == (decision["reasons"], decision["llm"]["outcome"])


def test_a_failed_model_keeps_the_contract(model: ErrorModel) -> None:
    """The outcome is known, the probability is not."""
    (decision,) = decisions(run(FailingModel(model), request("a"), response("a", RECORDED)))
    assert ([Reason.MODEL_FAILED], None) == (decision["reasons"], decision["error_probability"])


def test_a_decision_beside_a_shadow_keeps_the_contract(model: ErrorModel) -> None:
    """Scored by it, not scored by it, and where it failed."""
    names = ("a", "b", "c")
    bodies = (RECORDED, without_logprobs(), saying("no verdict"))
    records = [one for name, body in zip(names, bodies, strict=True) for one in (request(name), response(name, body))]
    for shadow in (model, FailingModel(model, "a" * 64)):
        outputs = run(model, *records, request("d", at=1), shadow=Controls(model=shadow, thresholds={EVERYTHING: 1.0}))  # type: ignore[arg-type]
        found = {one["request_id"]: one["shadow"] for one in decisions(outputs)}
        expected = Reason.BELOW_THRESHOLD if shadow is model else Reason.MODEL_FAILED
        assert {"a": [expected], "c": [Reason.OUTCOME_MISSING], "d": [Reason.NO_RESPONSE]} == {
            name: one["reasons"] for name, one in found.items() if name != "b"
        }


def test_missing_predictors_are_null_in_the_vector(model: ErrorModel) -> None:
    """JSON has no NaN."""
    outputs = run(model, request("a"), response("a", without_logprobs()))
    (vector,) = [check("vector", output.value) for output in outputs if output.topic == "vectors"]
    assert None in vector["values"]


def test_recorded_answers_keep_the_contracts(model: ErrorModel) -> None:
    """Requests, responses in both forms, decisions and vectors, on both routes."""
    records = []
    for item in ITEMS:
        body = orjson.loads(bytes(item.response))
        pair = (
            Record(REQUESTS, 0, 0, 0, item.request_id.encode(), orjson.dumps(item.request), None),
            response(item.request_id, body),
        )
        check("request", pair[0].value)
        check("response", pair[1].value)
        check("response", bytes(item.response))
        records += pair
    outputs = run(model, *records)
    assert {"auto-action", "human-review"} == {decision["route"] for decision in decisions(outputs)}
    vectors = [check("vector", output.value) for output in outputs if output.topic == "vectors"]
    assert [(SCHEMA.id, len(SCHEMA.names))] * len(ITEMS) == [(one["schema"], len(one["values"])) for one in vectors]


def test_the_decision_schema_knows_every_reason() -> None:
    """A new reason code belongs into the schema too."""
    schema = load_schema("decision")
    assert list(Reason) == schema["properties"]["reasons"]["items"]["enum"]


def test_the_response_schema_knows_every_provider() -> None:
    """A new provider belongs into the schema too."""
    assert [*PROVIDERS, None] == load_schema("response")["then"]["properties"]["provider"]["enum"]


def test_a_review_answered_with_its_own_llm_object_keeps_the_contract(model: ErrorModel) -> None:
    """A review tool can repeat the decision's `llm` as it stands."""
    (review,) = decisions(run(model, request("a"), response("a", RECORDED), threshold=0.0))
    human = {"request_id": "a", "policy": POLICY, "outcome": review["llm"]["outcome"], "llm": review["llm"]}
    check("human-decision", orjson.dumps(human))
    assert {(POLICY, "agrees", "unknown", "human-review"): 1} == agreement([orjson.dumps(human)])

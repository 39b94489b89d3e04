"""The data contracts: what the code accepts is what its JSON Schemas say."""

from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurizers import PROVIDERS, ResponseError, decode
from streams.kafka.quality import UNREADABLE, agreement
from streams.pipeline.records import REQUESTS, Record
from tests.rig import BODY, Desk
from tests.streams.contracts.checking import NAMES_ALMOST, is_valid

REQUEST_FIELDS = {"request_id": NAMES_ALMOST, "policy": NAMES_ALMOST, "content": st.sampled_from([None, 1, "x", {}])}


@settings(max_examples=300)
@given(st.fixed_dictionaries({}, optional=REQUEST_FIELDS))
def test_the_request_schema_is_what_matching_accepts(value: dict[str, Any]) -> None:
    """A request under its own key is valid, or a dead letter."""
    key = str(value.get("request_id") or "a").encode()
    record = Record(REQUESTS, 0, 0, 1, key, orjson.dumps(value), None)
    matched = Desk().match(record, now=1)
    assert bool(matched.dead) != is_valid("request", value)


SAID = {"content": "1"}
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.sampled_from([None, [], "x", [{}], [{"text": "1"}], [{"message": SAID}], [{"message": 1}]]),
        "output": st.sampled_from([None, [], 1, [{"content": [{"text": "1"}]}]]),
        "candidates": st.sampled_from([None, [], {}, [{"content": {"parts": [{"text": "1"}]}}]]),
        "promptFeedback": st.sampled_from([None, {}, {"blockReason": "SAFETY"}]),
        "content": st.sampled_from([None, "1", [{"text": "1"}], 5]),
        "outcome": st.just(1),
        "provider": st.sampled_from(["DeepInfra", "none", None, 1]),
        "request_id": st.sampled_from(["req_1", 7, None, {}]),
    },
)
ENVELOPES = st.fixed_dictionaries(
    {"body": st.one_of(BODIES, st.sampled_from(["1", "", None, 3, []]))},
    optional={
        "request_id": st.sampled_from(["a", 7, None]),
        "provider": st.sampled_from([*PROVIDERS, None]),
    },
)


@settings(max_examples=300)
@given(st.one_of(BODIES, ENVELOPES))
def test_every_readable_answer_keeps_the_contract(value: dict[str, Any]) -> None:
    """What decodes is valid; what is not valid ends as an unreadable answer."""
    try:
        decode(orjson.dumps(value))
    except ResponseError:
        return
    assert is_valid("response", value), value


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"body": {}},
        {"body": {"choices": "upstream timeout"}},
        {"error": {"message": "overloaded"}},
        {"provider": "unknown", "body": BODY},
        {"provider": "unknown", "body": "0"},
        {"provider": "none", "body": None},
        {"provider": "none", "outcome": 1},
        {"provider": "none", "body": None, "outcome": 1},
    ],
)
def test_what_is_no_answer_breaks_the_contract(value: dict[str, Any]) -> None:
    """The schema refuses it, and so does the decoder."""
    assert not is_valid("response", value)
    with pytest.raises(ResponseError):
        decode(orjson.dumps(value))


HUMAN_FIELDS = {
    "request_id": st.sampled_from(["a", None, 1]),
    "policy": st.sampled_from(["hate", None]),
    "outcome": st.sampled_from([0, 1, 2, 3, 4, -1, None, "1", 0.5]),
    "llm": st.sampled_from([None, {}, {"outcome": 1, "name": "m"}, {"outcome": None}, {"outcome": "1"}, 1]),
    "reviewer": st.sampled_from([None, "r1", "", "é" * 255, "x" * 256, 7]),
    "reason": st.sampled_from([None, "x" * 1000, 7]),
    "channel": st.sampled_from([None, "review", "audit", "second_review", "appeal", "report", "queue-7", "", 1]),
    "decided_at": st.sampled_from([None, 0, 1_800_000_000_000, -1, 1.5, "2026-11-26"]),
    "audit_probability": st.sampled_from([None, 0, 1, 0.05, 1.01, -0.1, "1"]),
    "corrects": st.sampled_from([None, True, False, 1]),
}


@settings(max_examples=300)
@given(st.fixed_dictionaries({}, optional=HUMAN_FIELDS))
@example({"request_id": "a", "policy": "hate", "outcome": 0, "decided_at": "2026-11-26"})
def test_the_human_decision_schema_is_what_the_quality_figures_count(value: dict[str, Any]) -> None:
    """A human decision is valid, or counted as unreadable."""
    (said,) = agreement([orjson.dumps(value)])
    assert (said.agreement != UNREADABLE) == is_valid("human-decision", value)

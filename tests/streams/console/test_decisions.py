"""Decisions as the views show them."""

import json

import pytest

from streams.console.decisions import Asked, read_decision, without_request
from tests.streams.console.making import decision, record


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        json.dumps(record(p=0.1) | {"error_probability": 7}).encode(),
        json.dumps(record() | {"reasons": []}).encode(),
        json.dumps(record("x" * 256)).encode(),
        json.dumps(record() | {"route": "elsewhere"}).encode(),
    ],
)
def test_what_is_no_decision_is_passed_by(value: bytes | None) -> None:
    """Anybody may write to the topic."""
    assert None is read_decision(value)


def test_the_request_is_left_out() -> None:
    """What was moderated is in no view of decisions."""
    value = json.dumps(record(p=0.9, request={"content": "the post"})).encode()
    assert "the post" not in repr(read_decision(value))
    assert "request" not in without_request(value)


@pytest.mark.parametrize(
    ("asked", "wants"),
    [
        (Asked(), True),
        (Asked(policy="hate", route="auto-action", reason="below_threshold", llm="an-llm", request_id="b"), True),
        (Asked(policy="spam"), False),
        (Asked(route="human-review"), False),
        (Asked(reason="audit"), False),
        (Asked(llm="another"), False),
        (Asked(request_id="z"), False),
    ],
)
def test_filters_all_hold(asked: Asked, wants: bool) -> None:
    """Of the id a part is enough."""
    assert wants is asked.wants(decision("abc"))


def test_a_reason_has_its_meaning() -> None:
    """One of a later version is said to be unknown."""
    assert "below the threshold" in decision().meaning
    assert "does not know" in decision(reasons=["of_later"]).meaning

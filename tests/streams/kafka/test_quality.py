"""Live quality: human verdicts beside the LLM's."""

import asyncio
import json
from typing import Any

import pytest
from confluent_kafka import KafkaError

from streams.kafka import quality
from streams.kafka.quality import HumanDecisions, agreement
from streams.settings import Settings
from tests.simulated_log import Entry, Message


def human(outcome: int, **more: Any) -> bytes:
    return json.dumps({"request_id": "a", "policy": "hate", "outcome": outcome, **more}).encode()


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (human(1, llm={"outcome": 1}), "agrees"),
        (human(0, llm={"outcome": 1}), "disagrees"),
        (human(2, llm={"outcome": 1}), "unknown"),
        (human(3, llm={"outcome": 0}), "unknown"),
        (human(2, llm={"outcome": 2}), "unknown"),
        (human(1, llm={"outcome": 2}), "unknown"),
        (human(1, llm={}), "unknown"),
        (human(1), "unknown"),
    ],
)
def test_only_two_verdicts_agree_or_disagree(value: bytes, verdict: str) -> None:
    """A human or an LLM who found no verdict is counted as unknown, not as a disagreement."""
    assert {("hate", verdict, "unknown", "human-review"): 1} == agreement([value])


@pytest.mark.parametrize(
    ("said", "channel", "route"),
    [
        ({}, "unknown", "human-review"),
        ({"channel": "audit", "audit_probability": 0.1}, "audit", "human-review"),
        ({"channel": "second_review"}, "second_review", "human-review"),
        ({"channel": "appeal"}, "appeal", "unknown"),
        ({"channel": "appeal", "audit_probability": 0.1}, "appeal", "auto-action"),
        ({"channel": "report", "audit_probability": 0}, "report", "auto-action"),
        ({"channel": "report", "audit_probability": 1}, "report", "human-review"),
    ],
)
def test_channel_and_route_are_counted(said: dict[str, Any], channel: str, route: str) -> None:
    """Reviewers were sent what they see; who appeals may speak of either route, and the chance of an audit tells which."""
    assert {("hate", "unknown", channel, route): 1} == agreement([human(1, **said)])


@pytest.mark.parametrize(
    "value", [b"", b"[" * 100_000, human(4), b'{"request_id": "a", "outcome": 1}', b'{"policy": "hate", "outcome": 1}']
)
def test_what_breaks_the_contract_is_unreadable(value: bytes) -> None:
    """It is counted, under no policy."""
    assert {("", "unreadable", "unknown", "unknown"): 1} == agreement([value])


def test_what_goes_wrong_while_reading_is_said_once_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no human decision, and what comes beside it is read."""
    place = ("human decisions", 0)
    trouble = Message(place, -1, error=KafkaError.TOPIC_AUTHORIZATION_FAILED)

    class Troubled:
        def __init__(self, _config: object) -> None:
            self.coming = [[trouble, Message(place, 0, Entry(b"a", b"one"))], [trouble], []]

        def subscribe(self, topics: list[str]) -> None:
            assert [place[0]] == topics

        def consume(self, _most: int, timeout: float) -> list[Message]:  # noqa: ARG002 - nothing is waited for
            return self.coming.pop(0)

        def close(self) -> None:
            pass

    monkeypatch.setattr(quality, "Consumer", Troubled)
    decisions = HumanDecisions(Settings(), {"human_decisions": place[0]})

    async def read() -> list[list[bytes]]:
        return [await decisions.poll() for _ in range(3)] + [await decisions.close() or []]

    assert [[b"one"], [], [], []] == asyncio.run(read())
    assert 2 == decisions.errors
    (line,) = caplog.records
    assert "human decisions: " in line.message
    assert "TOPIC_AUTHORIZATION_FAILED" == line.code  # type: ignore[attr-defined]

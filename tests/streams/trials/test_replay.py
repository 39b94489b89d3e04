"""What a replay counts of what workers, played here, write; tests/test_tutorial.py has it with real ones."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Literal

import pytest
from confluent_kafka import KafkaError, Producer
from msgspec import Raw

from scoring import Item
from streams.contracts.headers import ERROR_CODE
from streams.errors import DeniedError
from streams.kafka.following import Follower
from streams.kafka.topics import load_topics
from streams.settings import Settings
from streams.trials.brokers import EmbeddedBroker
from streams.trials.replay import Replayed, replay
from tests.streams.console.making import decision, record
from tests.streams.contracts.checking import check

PRODUCE = 0
"""The request's number in Kafka's protocol."""


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    return Settings(broker=broker.bootstrap)


def send(settings: Settings, role: str, request_id: str, value: object, code: str = "") -> None:
    producer = Producer({"bootstrap.servers": settings.broker})
    producer.produce(
        load_topics()[role].name, json.dumps(value), request_id, headers=[(ERROR_CODE, code)] if code else None
    )
    producer.flush(10)


def test_decisions_of_its_items_are_counted_judged_and_held_against_the_labels(settings: Settings) -> None:
    """Those of other items are not; an item that was set aside is undecided, and its reason is told."""
    labels: dict[str, Literal[0, 1]] = {"automated": 1, "reviewed": 0, "audited": 0, "twice": 0}
    items = [Item({"request_id": name, "policy": "hate"}, Raw(b"{}"), label) for name, label in labels.items()]
    running = replay(settings, items, rate=1000, judge=True, patience=2)
    next(running)
    send(settings, "auto_action", "automated", record("automated"))
    send(settings, "auto_action", "of another", record("of another"))
    send(settings, "human_review", "reviewed", record("reviewed", p=0.9))
    send(settings, "human_review", "audited", record("audited", p=0.9, reasons=["audit"], audit_probability=0.2))
    send(settings, "dead_letter", "twice", {}, "duplicate_request")
    *_, books = running
    assert (1, {"duplicate_request": 1}, 2) == (books.undecided, books.set_aside, books.judged)
    assert {"auto-action": {"below_threshold": 1}, "human-review": {"above_threshold": 1, "audit": 1}} == books.routes()
    assert ((1, 3), (1, 1)) == (books.wrong(), books.wrong("auto-action"))
    said = {one["request_id"]: one for one in human_decisions(settings)}
    assert {"reviewed": "review", "audited": "audit"} == {name: one["channel"] for name, one in said.items()}
    assert (0, 0.2) == (said["audited"]["outcome"], said["audited"]["audit_probability"])


def test_no_more_is_sent_at_once_than_the_client_takes(settings: Settings) -> None:
    """However high the rate."""
    items = [Item({"request_id": str(number), "policy": "hate"}, Raw(b"{}"), 0) for number in range(11_000)]
    small = replace(settings, kafka={"queue.buffering.max.messages": "20000"})
    *_, books = replay(small, items, rate=1e9, judge=False, patience=0.5)
    assert len(items) == books.undecided


def test_a_judgement_that_is_not_written_is_told(broker: EmbeddedBroker, settings: Settings) -> None:
    """Of the last item, too, after which nothing more is waited for."""
    item = Item({"request_id": "a", "policy": "hate"}, Raw(b"{}"), 0)
    running = replay(settings, [item], rate=1000, judge=True, patience=2)
    next(running)
    with closing(Follower(settings, ["requests", "responses"], last=1)) as follower:
        written: set[str] = set()
        while written != {"requests", "responses"}:
            written |= {one.role for one in follower.poll()}
    send(settings, "human_review", "a", record("a", p=0.9))
    broker.push_errors(PRODUCE, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(DeniedError, match=r"Write .*moderation.human-decisions"):
        list(running)


def human_decisions(settings: Settings) -> list[dict[str, object]]:
    """Each as its contract has it."""
    found = []
    with closing(Follower(settings, ["human_decisions"], last=10)) as follower:
        while not follower.caught_up:
            found += follower.poll()
    return [check("human-decision", one.message.value()) for one in found]


def test_an_answer_without_a_verdict_is_neither_right_nor_wrong() -> None:
    """Outcomes 2 and 3, and none."""
    decisions = {str(outcome): decision(p=None, llm={"outcome": outcome}) for outcome in (0, 1, 2, 3, None)}
    assert (1, 2) == Replayed(dict.fromkeys(decisions, 0), decisions).wrong()

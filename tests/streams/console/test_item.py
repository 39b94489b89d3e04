"""All that the topics hold of one item."""

import json
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from scoring import RECORDING, read_recording
from streams.console.item import HISTORY, Item, find_item
from streams.kafka.partitioner import home
from streams.kafka.topics import load_topics
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker
from tests.streams.console.making import record

TOPICS = load_topics()
ITEM = read_recording(RECORDING)[0]
ID = ITEM.request_id
POST = "what was posted"


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Topics with one item's whole story, and others' records."""
    with EmbeddedBroker([TOPICS[role] for role in HISTORY]) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": "murmur2_random"})

        def write(role: str, value: bytes, key: str = ID, **more: object) -> None:
            producer.produce(TOPICS[role].name, value, key.encode(), **more)
            assert 0 == producer.flush(10)  # in their order of time

        write("requests", json.dumps({"request_id": ID, "policy": "hate", "content": {"text": POST}}).encode())
        write("requests", b"{}", "another")
        write("responses", bytes(ITEM.response))
        write("vectors", json.dumps({"request_id": ID, "schema": "lpp/0", "values": [1]}).encode())
        write("human_review", json.dumps(record(ID, p=0.9, request={"content": POST})).encode())
        letter = [("secondlook.error.code", b"duplicate_response"), ("__connect.errors.topic", b"llm.responses")]
        write("dead_letter", POST.encode(), headers=letter)
        human = {"request_id": ID, "policy": "hate", "outcome": 1, "llm": {"outcome": 0}, "reason": POST}
        write("human_decisions", json.dumps(human).encode(), "of the review tool")
        # A producer with another partitioner: not where its key belongs.
        elsewhere = (home(b"elsewhere", TOPICS["requests"].partitions) + 1) % TOPICS["requests"].partitions
        write("requests", b'{"request_id": "elsewhere", "policy": "hate"}', "elsewhere", partition=elsewhere)
        yield load_settings({"broker": broker.bootstrap}, environ={})


@pytest.fixture(scope="module")
def item(settings: Settings) -> Item:
    return find_item(settings, ID, content=False)


def test_the_whole_story_in_its_order(item: Item) -> None:
    """From the request to the human's word; a human decision is found by what it says, whatever its key."""
    roles = ["requests", "responses", "vectors", "human_review", "dead_letter", "human_decisions"]
    assert roles == [one.role for one in item.events]
    assert [] == item.unread


def test_what_is_said_of_it(item: Item) -> None:
    """Of each record what counts."""
    said = {one.role: one.said for one in item.events}
    assert "hate" == said["requests"]["policy"]
    assert "openai-chat" == said["responses"]["provider"]
    assert "not this version's" in said["vectors"]["predictors"]
    assert (0.9, 0.4, 3) == tuple(
        said["human_review"][name] for name in ("error_probability", "threshold", "control_version")
    )
    assert "secondlook dead-letters redrive" in said["dead_letter"]["put it back"]
    assert "not with the LLM" == said["human_decisions"]["agrees"]


def test_content_only_when_asked_for(settings: Settings, item: Item) -> None:
    """Nothing of the post, the answer or a reviewer's words is in it else."""
    assert POST not in repr(item)
    found = find_item(settings, ID, content=True)
    shown = [one.role for one in found.events if one.content is not None and POST in one.content]
    assert ["requests", "dead_letter", "human_decisions"] == shown


def test_what_is_read_of_one_id_is_bounded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id may be used again and again; that there is more is said."""
    monkeypatch.setattr("streams.console.item._MOST", 1)
    producer = Producer({"bootstrap.servers": settings.broker, "partitioner": "murmur2_random"})
    for _ in range(3):
        producer.produce(TOPICS["requests"].name, b'{"request_id": "again", "policy": "hate"}', b"again")
    assert 0 == producer.flush(10)
    found = find_item(settings, "again", content=False)
    assert (["requests"], [TOPICS["requests"].name]) == ([one.role for one in found.events], found.unread)


def test_an_unreadable_answer_says_nothing_of_itself(settings: Settings) -> None:
    """Why it cannot be read is told without its words."""
    producer = Producer({"bootstrap.servers": settings.broker, "partitioner": "murmur2_random"})
    bodies = (
        POST.encode(),
        json.dumps({POST: POST}),
        json.dumps({"choices": POST}),
        json.dumps({"choices": [{"message": POST}]}),
    )
    for number, body in enumerate(bodies):
        producer.produce(TOPICS["responses"].name, body, f"bad-{number}")
    assert 0 == producer.flush(10)
    for number in range(len(bodies)):
        found = find_item(settings, f"bad-{number}", content=False)
        assert 1 == len(found.events)
        assert POST not in repr(found)


def test_a_record_that_is_not_where_its_key_belongs(settings: Settings) -> None:
    """The other partitions are looked through too."""
    assert ["requests"] == [one.role for one in find_item(settings, "elsewhere", content=False).events]


def test_nothing_is_found_of_an_unknown_id(settings: Settings) -> None:
    """All was read for that."""
    assert Item("nobody", [], []) == find_item(settings, "nobody", content=False)


def test_what_was_not_read_in_time_is_said(settings: Settings) -> None:
    """Nothing found does not mean that nothing is there."""
    found = find_item(settings, ID, content=False, within=0.0)
    assert [] == found.events
    assert {TOPICS[role].name for role in HISTORY} == set(found.unread)

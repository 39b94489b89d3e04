"""The read model fed from topics."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from streams.console.decisions import Asked
from streams.console.feed import Feed
from streams.console.state import Routes, State
from streams.errors import BrokerError
from streams.kafka.control_status import encode_status
from streams.kafka.topics import load_topics
from streams.pipeline.routing import rfc3339
from streams.settings import load_settings
from streams.trials.brokers import EmbeddedBroker
from tests.streams.console.making import COSTS, record, word

TOPICS = load_topics()


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(TOPICS.values()) as broker:
        yield broker


class Fed:
    """A feed, and what the tests write for it to read."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.feed = Feed(load_settings({"broker": broker.bootstrap}, environ={}), COSTS)
        self._producer = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": "murmur2_random"})

    def write(self, role: str, key: str, value: Any, **more: Any) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self._producer.produce(TOPICS[role].name, body, key.encode(), **more)
        assert 0 == self._producer.flush(10)

    def once(self, holds: Callable[[State], bool], seconds: float = 30.0) -> State:
        """The state once something holds of it."""
        deadline = time.monotonic() + seconds
        while not holds(state := self.feed.state()):
            assert time.monotonic() < deadline, state
            time.sleep(0.1)
        return state


@pytest.fixture
def fed(broker: EmbeddedBroker) -> Iterator[Fed]:
    made = Fed(broker)
    made.feed.start()
    yield made
    made.feed.close()


def _of(policy: str, state: State) -> Routes:
    return next((one for one in state.routes if one.policy == policy), Routes(policy, 0, 0, {}))


def test_all_that_the_topics_say(fed: Fed) -> None:
    """Decisions, dead letters, the workers' words, controls, what is unread, and latency of a sample."""
    said = word("one", at=rfc3339(int(time.time() * 1000)))
    fed.write("control_status", "one", encode_status(said))
    fed.write("control", "", {"type": "set_threshold", "policy": "*", "threshold": 0.25, "issued_by": "ann"})
    fed.once(lambda state: state.contact.watched > 0 and state.contact.unread == 0)
    for number in range(30):
        fed.write("requests", f"id-{number}", {"request_id": f"id-{number}", "policy": "hate"})
    fed.write("human_review", "id-1", record("id-1", p=0.9, request={"content": "the post"}))
    fed.write("human_review", "x", b"no decision")
    fed.write("dead_letter", "id-2", b"the post", headers=[("secondlook.error.code", b"late_response")])
    for number in range(30):
        fed.write("auto_action", f"id-{number}", record(f"id-{number}"))
    state = fed.once(
        lambda it: _of("hate", it).decisions == 31 and it.request_latency is not None and it.letters.counted == 1
    )
    assert (1, ["one"]) == (_of("hate", state).escalated, [one.name for one in state.workers])
    assert {"late_response": 1} == state.letters.by_code
    fed.once(lambda it: it.controls is not None and it.controls.in_force["version"] == 1)
    fed.once(lambda it: it.lag.records is None)  # no group has committed anything
    assert ["id-1"] == [one.decision.request_id for one in fed.feed.latest(Asked(route="human-review"), 9)]
    assert "the post" not in repr(fed.feed.latest(Asked(), 99))


def test_the_broker_goes_and_comes_back(broker: EmbeddedBroker, fed: Fed) -> None:
    """Within seconds that is said, and no more once it is back."""
    fed.once(lambda state: state.contact.silent is not None)
    broker.set_down()
    state = fed.once(lambda state: state.word.word == "blind", 20)
    assert "as it was then" in state.word.why
    broker.set_up()
    fed.once(lambda state: state.word.word != "blind")


def test_who_may_read_decisions_alone_is_not_blind(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from brokers too; what may not be read is said."""

    def refused(*_: object) -> None:
        raise BrokerError("this user lacks the right")

    for look in ("_measure", "_read_controls", "_sample"):
        monkeypatch.setattr(Feed, look, refused)
    fed = Fed(broker)
    fed.feed.start()
    try:
        fed.write("auto_action", "alone", record("alone"))
        state = fed.once(lambda state: "blind in part" in [one.word for one in state.findings])
    finally:
        fed.feed.close()
    assert "lacks the right" in (state.contact.problem or "")


@pytest.mark.parametrize(
    ("lacking", "known"),
    [
        ("Follower", {"workers", "lag", "controls"}),
        ("GroupProgress", {"decisions", "workers", "controls"}),
        ("Fleet", {"decisions", "lag"}),
        ("_Sampler", {"decisions", "workers", "lag", "controls"}),
    ],
)
def test_what_may_not_be_opened_keeps_nothing_else_away(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, lacking: str, known: set[str]
) -> None:
    """A right that is missing takes away what needs it; the rest is shown, and it is tried again."""
    attempts: list[object] = []

    def refused(*_: object, **__: object) -> None:
        attempts.append(None)
        raise BrokerError("this user lacks the right")

    monkeypatch.setattr(f"streams.console.feed.{lacking}", refused)
    fed = Fed(broker)
    fed.write("control_status", "one", encode_status(word("one", at=rfc3339(int(time.time() * 1000)))))
    fed.write("auto_action", "one", record("one", policy=lacking))

    def shown(state: State) -> set[str]:
        there = {
            "decisions": _of(lacking, state).decisions,
            "workers": state.workers,
            "lag": state.partitions,
            "controls": state.controls,
        }
        return {name for name, what in there.items() if what}

    fed.feed.start()
    try:
        fed.write("auto_action", "two", record("two", policy=lacking))
        state = fed.once(lambda it: known <= shown(it) and len(attempts) > 1 and it.contact.problem is not None)
        assert known == shown(state)
        assert "lacks the right" in (state.contact.problem or "")
        assert state.contact.hears == ("workers" in known)
    finally:
        fed.feed.close()


def test_what_stood_there_before(broker: EmbeddedBroker) -> None:
    """It is in the shares, and in no rate."""
    fed = Fed(broker)
    for number in range(5):
        fed.write("auto_action", f"before-{number}", record(f"before-{number}", policy="spam"))
    fed.feed.start()
    try:
        state = fed.once(lambda state: state.rates.decisions is not None)
    finally:
        fed.feed.close()
    assert 0.0 == state.rates.decisions
    assert [5] == [one.decisions for one in state.routes if one.policy == "spam"]


def test_no_broker_at_all() -> None:
    """The client's own words are on the page, and the feed goes on trying."""
    feed = Feed(load_settings({"broker": "127.0.0.1:1"}, environ={}), COSTS)
    feed.start()
    try:
        deadline = time.monotonic() + 30
        while feed.state().contact.problem is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        state = feed.state()
        assert ("blind", None) == (state.word.word, state.contact.silent)
        assert "127.0.0.1:1" in state.word.why
    finally:
        feed.close()

"""Topics followed from outside, and how far a group has come in its own."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.errors import BrokerError, TopicError
from streams.kafka.clients import group_name
from streams.kafka.following import Follower, Heard
from streams.kafka.progress import GroupProgress, Reached
from streams.kafka.topics import load_topics
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker

TOPICS = load_topics()
ROLES = ("auto_action", "human_review")


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker([TOPICS[role] for role in (*ROLES, "requests", "responses", "control")]) as broker:
        yield broker


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    return load_settings({"broker": broker.bootstrap}, environ={})


def write(settings: Settings, role: str, *values: bytes, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": settings.broker})
    for value in values:
        producer.produce(TOPICS[role].name, value, partition=partition)
    assert 0 == producer.flush(10)


def heard(follower: Follower, until: Callable[[list[Heard]], bool], seconds: float = 20.0) -> list[Heard]:
    found: list[Heard] = []
    deadline = time.monotonic() + seconds
    while not until(found):
        assert time.monotonic() < deadline, [one.message.value() for one in found]
        found += follower.poll()
    return found


def test_it_begins_at_the_end(settings: Settings) -> None:
    """What stood there before is not read; what comes is, by its role, as live."""
    write(settings, "auto_action", b"before")
    with closing(Follower(settings, ROLES)) as follower:
        heard(follower, lambda _: follower.caught_up)
        write(settings, "human_review", b"after")
        (one,) = heard(follower, bool)
        assert ("human_review", b"after", True) == (one.role, one.message.value(), one.live)


def test_some_of_what_was_before(settings: Settings) -> None:
    """The last of each partition, and it is not live."""
    write(settings, "auto_action", b"1", b"2", b"3")
    with closing(Follower(settings, ROLES, last=2)) as follower:
        found = heard(follower, lambda found: len(found) == 2)
        assert [(b"2", False), (b"3", False)] == [(one.message.value(), one.live) for one in found]
        heard(follower, lambda _: follower.caught_up)
        assert 0 == follower.lag()


def test_what_is_too_much_is_passed_by(settings: Settings) -> None:
    """It goes on at the last of each partition, and says of which role how many that leaves out."""
    with closing(Follower(settings, ROLES)) as follower:
        heard(follower, lambda _: follower.caught_up)
        assert {} == follower.skip(0)
        write(settings, "human_review", *(b"%d" % number for number in range(10)))
        deadline = time.monotonic() + 20
        while follower.lag() < 10:  # the client knows of ends by what it fetches
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert {"human_review": 8} == follower.skip(2)
        found = heard(follower, lambda found: len(found) == 2)
        assert [b"8", b"9"] == [one.message.value() for one in found]
        assert 0 == follower.lag()


def test_an_outage_is_waited_out(broker: EmbeddedBroker, settings: Settings) -> None:
    """Meanwhile nothing comes; after it, all."""
    with closing(Follower(settings, ROLES)) as follower:
        heard(follower, lambda _: follower.caught_up)
        broker.set_down()
        assert [] == follower.poll(1.0)
        broker.set_up()
        write(settings, "auto_action", b"after")
        assert [b"after"] == [one.message.value() for one in heard(follower, bool, 30)]


def test_a_topic_that_is_not_there(settings: Settings) -> None:
    """The line says how to mend it."""
    other = load_settings({"broker": settings.broker, "topic_prefix": "none."}, environ={})
    with pytest.raises(TopicError, match="secondlook topics create"):
        Follower(other, ROLES)


def test_a_groups_progress(settings: Settings) -> None:
    """Committed offsets beside ends; where nothing ever stood there is nothing to commit."""
    write(settings, "requests", b"1", b"2", b"3")
    write(settings, "responses", b"1", partition=1)
    member = Consumer({"bootstrap.servers": settings.broker, "group.id": group_name(settings)})
    member.commit(offsets=[TopicPartition(TOPICS["requests"].name, 0, 2)], asynchronous=False)
    member.close()
    with closing(GroupProgress(settings)) as progress:
        found = progress.look()
    assert (Reached(2, 3), Reached(0, 0), Reached(None, 1)) == (
        found["requests", 0],
        found["requests", 1],
        found["responses", 1],
    )


def test_progress_is_not_known_while_the_broker_is_away(broker: EmbeddedBroker, settings: Settings) -> None:
    """That is said within seconds."""
    with closing(GroupProgress(settings)) as progress:
        progress.look()
        broker.set_down()
        began = time.monotonic()
        with pytest.raises(BrokerError, match="how far the group has come"):
            progress.look()
        assert time.monotonic() - began < 8

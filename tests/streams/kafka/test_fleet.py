"""Which workers are live, by what they say of themselves, whatever the clocks say."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from streams.kafka.clock import BrokerClock
from streams.kafka.control_status import ShadowStatus, StatusWriter, WorkerStatus
from streams.kafka.fleet import GONE_FOR, LIVE_FOR, Fleet, is_split
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.routing import rfc3339
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker

TOPICS = load_topics()
NAMES = topic_names(TOPICS)


@pytest.fixture
def settings() -> Iterator[Settings]:
    with EmbeddedBroker([TOPICS["control"], TOPICS["control_status"]]) as broker:
        yield load_settings({"broker": broker.bootstrap}, environ={})


def say(settings: Settings, worker: str, *, ago: float = 0.0, **status: Any) -> None:
    writer = StatusWriter(settings, NAMES, worker, BrokerClock())
    at = rfc3339(int((time.time() - ago) * 1000))
    said = {
        "event": "alive",
        "control_version": 5,
        "position": 5,
        "honoured": True,
        "hash": "ab",
        "settings_hash": "cd",
        **status,
    }
    writer.write(WorkerStatus(worker=worker, at=at, **said))
    writer.flush(5)


def test_live_is_who_spoke_just_now_and_does_not_stop(settings: Settings) -> None:
    """Who fell silent without a word is told apart from who said that it stops, and forgotten after an hour."""
    say(settings, "live")
    say(settings, "hung", ago=LIVE_FOR + 5)
    say(settings, "forgotten", ago=GONE_FOR + 5)
    say(settings, "ended")
    say(settings, "ended", event="stopped")
    with Fleet(settings) as fleet:
        assert ({"live"}, {"hung"}) == (set(fleet.live), set(fleet.gone))


def test_words_are_remembered_of_so_many(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are made up at each start: those silent the longest are forgotten."""
    monkeypatch.setattr("streams.kafka.fleet._MOST_WORKERS", 2)
    for name in ("first", "second", "first", "third"):
        say(settings, name)
    with Fleet(settings) as fleet:
        assert {"first", "third"} == set(fleet.said)


def test_who_read_as_far_and_has_a_lower_version_refused_it(settings: Settings) -> None:
    """It trusts other keys: what it said does not count as in force."""
    say(settings, "took", control_version=5, position=5)
    say(settings, "refused", control_version=4, position=5)
    with Fleet(settings) as fleet:
        standing = fleet.standing(5, 5, None)
        assert ({"took"}, {"refused"}, False) == (set(standing.in_force), set(standing.unable), standing.everywhere)


def test_who_has_other_content_at_the_same_version_does_not_have_it_in_force(settings: Settings) -> None:
    """It folds the log otherwise. One that is further on is judged by what it says of that."""
    say(settings, "same", control_version=5, position=5, hash="ours")
    say(settings, "other", control_version=5, position=5, hash="theirs")
    say(settings, "further", control_version=6, position=6, hash="next")
    with Fleet(settings) as fleet:
        standing = fleet.standing(5, 5, "ours")
        assert ({"same", "further"}, {"other"}) == (set(standing.in_force), set(standing.unable))


def test_who_leaves_the_shadow_out_counts_where_it_is_the_shadow_that_is_waited_for(settings: Settings) -> None:
    """Anything else is in force on it all the same."""
    say(settings, "looks", shadow=ShadowStatus("a" * 64))
    say(settings, "lacks", shadow=ShadowStatus(problem="no model"))
    with Fleet(settings) as fleet:
        assert fleet.standing(5, 5, None).everywhere
        standing = fleet.standing(5, 5, None, of_shadow=True)
        assert ({"looks"}, {"lacks"}) == (set(standing.in_force), set(standing.unable))
        assert "no model" == standing.unable["lacks"].leaves_out


def test_a_clock_that_is_wrong_hides_nobody_for_long(settings: Settings) -> None:
    """By this machine's clock the worker fell silent long ago; it is live once it is heard."""
    say(settings, "live")
    with Fleet(settings, now=lambda: time.time() + 1000) as fleet:
        assert not fleet.live
        threading.Timer(0.3, say, (settings, "live")).start()
        fleet.listen(10, lambda: bool(fleet.live))
        assert {"live"} == set(fleet.live)


def test_each_live_worker_has_it_in_force_or_is_unable_or_silent(settings: Settings) -> None:
    """Who was live when it was written has to answer, also if it fell silent since."""
    say(settings, "there", position=6)
    say(settings, "unable", position=6, honoured=False, problem="no model")
    say(settings, "behind", position=5)
    say(settings, "hung", position=5, ago=LIVE_FOR + 5)
    with Fleet(settings) as fleet:
        standing = fleet.standing(6, 0, None, ["hung"])
        assert ["there"] == list(standing.in_force)
        assert ["no model"] == [one.cannot for one in standing.unable.values()]
        assert {"behind", "hung"} == set(standing.silent)
        assert not standing.everywhere
        assert not fleet.standing(5, 0, None).silent


def test_a_worker_of_an_older_version_counts_as_silent(settings: Settings) -> None:
    """It is there, and does not say what it has in force; what is no status at all is passed by."""
    old = {"worker": "old", "event": "alive", "applied": True, "control_version": 9, "thresholds": {"*": 0.4}}
    producer = Producer({"bootstrap.servers": settings.broker})
    now = rfc3339(int(time.time() * 1000))
    huge = orjson.dumps({**old, "worker": "huge", "at": now}).replace(b":9", b":%d" % 2**64)  # no JSON could say it
    for value in (orjson.dumps({**old, "at": now}), huge, b"rubbish", None):
        producer.produce(NAMES["control_status"], value, b"old")
    producer.flush(5)
    with Fleet(settings) as fleet:
        assert {"old"} == set(fleet.standing(0, 0, None).silent)


def test_workers_that_differ_in_log_or_settings_are_split(settings: Settings) -> None:
    """Either is seen; the same is not."""
    for worker in ("a", "b"):
        say(settings, worker)
    with Fleet(settings) as fleet:
        assert not is_split(fleet.live.values())
    say(settings, "b", settings_hash="ef")
    with Fleet(settings) as fleet:
        assert is_split(fleet.live.values())

"""Live quality kept by a worker on the embedded broker: a known history, restarts in the middle of it, and what comes of a breach."""

import time
from collections.abc import Iterable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from streams.errors import BrokerError
from streams.kafka.clients import base_config
from streams.kafka.control_history import read_history
from streams.kafka.quality_keeper import QualityKeeper, Timing
from streams.kafka.quality_reading import QualityReading
from streams.kafka.quality_store import CHUNK, QualityStore
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.control_content import Bound, Content, Threshold
from streams.pipeline.control_messages import StopAutomation
from streams.pipeline.quality import books, memory
from streams.pipeline.quality.judging import Figures
from streams.pipeline.scope import EVERYTHING, Scoped
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker
from tests.driving import wait_until
from tests.streams.pipeline.quality.test_books import HISTORY, KNOWN, MODEL, decision, said

TOPICS = load_topics()
OFTEN = Timing(look=0.1, save=0.1)
WRITTEN: dict[str, str] = {"below_threshold": "auto_action"}


@pytest.fixture
def settings() -> Iterator[Settings]:
    with EmbeddedBroker() as broker:
        yield load_settings({"broker": broker.bootstrap}, environ={})


def write(settings: Settings, events: Iterable[tuple[str, Any]]) -> None:
    """A history into its topics, each record to any partition; humans speak later than decisions are made."""
    names = topic_names(load_topics(settings.topic_prefix))
    producer = Producer(base_config(settings))
    stamp = int(time.time() * 1000) - 60_000
    for number, (kind, event) in enumerate(events):
        if kind == "said":
            topic, value = "human_decisions", event
        else:
            topic = WRITTEN.get(event[0].reasons[0], "human_review")
            value = msgspec.json.encode(event[0])
        producer.produce(names[topic], value, str(number), timestamp=stamp + (30_000 if kind == "said" else 0))
    producer.flush(10)


class Fleet:
    """One worker after another, of which each leads for its time; what is in force."""

    def __init__(self, settings: Settings, content: Content | None = None) -> None:
        self.settings = settings
        model = SimpleNamespace(sha256=MODEL, card={})
        log = SimpleNamespace(content=content or Content(), version=9, versions=[(9, content or Content())])
        self.controls: Any = SimpleNamespace(log=log, current=SimpleNamespace(model=model))

    def start(self) -> QualityKeeper:
        keeper = QualityKeeper(
            self.settings, "worker", self.controls, lambda: True, lambda: int(time.time() * 1000), timing=OFTEN
        )
        keeper.start()
        return keeper

    def start_not_leading(self) -> QualityKeeper:
        return QualityKeeper(self.settings, "other", self.controls, lambda: False, lambda: 0, timing=OFTEN)


def figures(keeper: QualityKeeper) -> Figures | None:
    found = keeper.judgement.figures
    return found[0] if found else None


def test_a_known_history_gives_known_figures(settings: Settings) -> None:
    """What cannot be read is passed by."""
    write(settings, [("said", b"{"), *HISTORY])
    producer = Producer(base_config(settings))
    for role in ("auto_action", "human_review", "vectors"):
        producer.produce(TOPICS[role].name, b"not json")
    producer.flush(10)
    keeper = Fleet(settings).start()
    wait_until(lambda: figures(keeper) == KNOWN)
    wait_until(lambda: keeper.lag == 0)
    keeper.close()


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_restart_in_the_middle_gives_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    """Also where the worker was killed before it could store what it had counted."""
    fleet, half = Fleet(settings), len(HISTORY) // 2
    write(settings, HISTORY[:half])
    first = fleet.start()
    wait_until(lambda: figures(first) is not None)
    if is_killed:
        with monkeypatch.context() as patch:
            patch.setattr(QualityStore, "save", lambda *_: 0)
            write(settings, HISTORY[half : half + 50])
            before = figures(first)
            wait_until(lambda: figures(first) != before)
            first.close()
    else:
        first.close()
    write(settings, HISTORY[half + 50 * is_killed :])
    second = fleet.start()
    wait_until(lambda: figures(second) == KNOWN)
    second.close()


def test_who_does_not_lead_says_nothing(settings: Settings) -> None:
    """Nor does it read."""
    write(settings, HISTORY)
    fleet, led = Fleet(settings), [True]
    keeper = QualityKeeper(
        settings, "worker", fleet.controls, lambda: led[0], lambda: int(time.time() * 1000), timing=OFTEN
    )
    keeper.start()
    wait_until(lambda: figures(keeper) == KNOWN)
    led[0] = False
    wait_until(lambda: figures(keeper) is None)
    keeper.close()


def test_human_decisions_wait_until_their_decisions_are_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Books that are begun anew read years of both, and have no room for human decisions whose decision stands further on."""
    monkeypatch.setattr(books, "MOST_EARLY", 0)
    monkeypatch.setattr("streams.kafka.quality_reading._MOST_WAITING", 10)
    monkeypatch.setattr("streams.kafka.quality_reading._AT_ONCE", 20)
    words = [event for event in HISTORY if event[0] == "said"]
    decisions = [event for event in HISTORY if event[0] == "decided"]
    write(settings, [*words, *decisions])
    keeper = Fleet(settings).start()
    wait_until(lambda: figures(keeper) == KNOWN)
    wait_until(lambda: keeper.lag == 0)
    reviews = keeper.judgement.reviews
    assert (len(words), len(words)) == (reviews["counted"], sum(reviews.values()))
    keeper.close()


def test_pages_are_stored_once_and_read_back(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones, so that there are many: a restart in the middle knows every answer."""
    monkeypatch.setattr(memory, "PAGE", 8)
    monkeypatch.setattr("streams.kafka.quality_reading._AT_ONCE", 20)
    fleet, half = Fleet(settings), len(HISTORY) // 2
    write(settings, HISTORY[:half])
    first = fleet.start()
    wait_until(lambda: figures(first) is not None and first.lag == 0)
    first.close()
    before = QualityStore(settings).load()
    assert len(before.pages) > 5
    write(settings, HISTORY[half:])
    second = fleet.start()
    wait_until(lambda: figures(second) == KNOWN)
    second.close()
    assert before.pages.items() <= QualityStore(settings).load().pages.items()


def test_what_is_not_known_is_no_number(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lag of one that does not lead, or cannot keep the books, is not known; nor while the client does not know the ends."""
    keeper = Fleet(settings).start()
    wait_until(lambda: keeper.lag == 0)
    monkeypatch.setattr(QualityReading, "lag", lambda _: None)
    wait_until(lambda: keeper.lag is None)
    keeper.close()
    assert Fleet(settings).start_not_leading().lag is None


def test_a_position_beyond_the_end_is_begun_anew_and_said(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Where a topic was made anew, say: what it holds now is read, and what was counted stays."""
    write(settings, HISTORY)
    first = Fleet(settings).start()
    wait_until(lambda: figures(first) == KNOWN)
    first.close()
    reading = QualityReading(settings, lambda _: 0)
    name = TOPICS["vectors"].name
    reading._next[name] = {0: 10**6}
    reading.save()
    reading.close()
    second = Fleet(settings).start()
    wait_until(lambda: second.lag == 0)
    assert KNOWN == figures(second)
    second.close()
    assert f"live quality goes on at offset 0, not 1000000, of {name} 0: the topic was cut or made anew" in caplog.text


def test_a_state_that_was_cut_short_leaves_the_one_before(settings: Settings) -> None:
    """Of the chunks of two writers none is made one."""
    QualityStore(settings).save([b"a" * (2 * CHUNK + 5), b"b"], {})
    producer = Producer(base_config(settings))
    whole = QualityStore(settings)
    whole.load()
    whole.save([b"c" * (2 * CHUNK)], {})
    assert [b"c" * (2 * CHUNK)] == QualityStore(settings).load().pieces
    for version, generation, value in ((2, 3, b"half of it"), (2, 1 << 60, b"of none"), (1, 9, b"of another version")):
        cut = msgspec.msgpack.encode([version, generation, "another", 0, 2, value])
        producer.produce(TOPICS["quality"].name, cut, "1/0")
    producer.produce(TOPICS["quality"].name, b"not ours", "1/1")
    producer.produce(TOPICS["quality"].name, msgspec.msgpack.encode([2, 3, "third", 0, 1, b"no pieces"]), "1/0")
    producer.flush(10)
    reader = QualityStore(settings)
    assert [b"c" * (2 * CHUNK)] == reader.load().pieces
    reader.save([b"next"], {})
    assert [b"next"] == QualityStore(settings).load().pieces


def test_pages_that_no_state_names_any_more_are_deleted_in_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at once: another worker may be about to name one."""
    store = QualityStore(settings)
    store.save([b"first"], {"one": lambda: b"1", "two": lambda: b"2"})
    store.save([b"second"], {"two": lambda: b"2"})
    assert {"one": b"1", "two": b"2"} == QualityStore(settings).load().pages
    monkeypatch.setattr("streams.kafka.quality_store._UNNAMED_FOR", -60.0)
    later = QualityStore(settings)
    later.load()
    later.save([b"third"], {"two": lambda: b"2"})
    assert {"two": b"2"} == QualityStore(settings).load().pages


def test_a_state_of_another_version_is_begun_anew(settings: Settings) -> None:
    """From the topics' beginning."""
    QualityStore(settings).save([b"of another shape"], {})
    write(settings, HISTORY)
    keeper = Fleet(settings).start()
    wait_until(lambda: figures(keeper) == KNOWN)
    keeper.close()


def alerts(keeper: QualityKeeper, expected: set[str]) -> bool:
    return expected == {one.kind for one in keeper.judgement.alerts}


def bad_audits(count: int = 60) -> list[tuple[str, Any]]:
    """Every second one wrong, under a bound of a tenth."""
    audits = [("decided", (decision(f"audit {n}", 0.05, "audit", control_version=5), 0)) for n in range(count)]
    return [*audits, *(("said", said(f"audit {n}", n % 2)) for n in range(count))]


def under_a_bound() -> Content:
    bound = Threshold(0.3, "bound", MODEL, since=3, bound=Bound(0.1, 0.9))
    return Content(thresholds=Scoped({EVERYTHING: bound}))


def stops(settings: Settings) -> list[StopAutomation]:
    return [one.message for one in read_history(settings).taken.values() if isinstance(one.message, StopAutomation)]


@pytest.mark.parametrize(("on_risk_breach", "expected"), [("alert", 0), ("stop", 1)])
def test_a_breach_stops_automation_only_where_that_is_set(
    on_risk_breach: str, expected: int, settings: Settings
) -> None:
    """Once for one bound, after a restart too; either way it is told."""
    settings = load_settings({"broker": settings.broker, "on_risk_breach": on_risk_breach}, environ={})
    fleet = Fleet(settings, under_a_bound())
    write(settings, bad_audits())
    for _ in range(2):
        keeper = fleet.start()
        wait_until(partial(alerts, keeper, {"risk", "calibration"}))
        wait_until(lambda: len(stops(settings)) == expected)
        keeper.close()
    found = stops(settings)
    assert expected == len(found)
    assert all(one.scope == EVERYTHING and "30 of 60 audits are wrong" in (one.reason or "") for one in found)


def test_a_stop_that_cannot_be_written_is_tried_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The books go on meanwhile."""
    settings = load_settings({"broker": settings.broker, "on_risk_breach": "stop"}, environ={})
    tries: list[object] = []

    def publish(_settings: Settings, message: object, _key: object) -> int:
        tries.append(message)
        if len(tries) < 3:
            raise BrokerError("away")
        return 0

    monkeypatch.setattr("streams.kafka.quality_keeper.publish_control", publish)
    write(settings, bad_audits())
    keeper = Fleet(settings, under_a_bound()).start()
    wait_until(lambda: len(tries) == 3)
    time.sleep(0.5)
    keeper.close()
    assert 3 == len(tries)


def test_what_fails_is_begun_anew(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was last stored; the worker does not end."""
    failures = [True]
    take = QualityKeeper._take

    def failing(*given: Any) -> None:
        if failures:
            failures.clear()
            raise RuntimeError("a bug")
        take(*given)

    monkeypatch.setattr(QualityKeeper, "_take", failing)
    monkeypatch.setattr("streams.kafka.quality_keeper._AGAIN_AFTER", 0.1)
    write(settings, HISTORY)
    keeper = Fleet(settings).start()
    wait_until(lambda: figures(keeper) == KNOWN)
    keeper.close()

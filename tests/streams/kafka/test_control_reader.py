"""The control reader on the embedded broker: what it does when the log cannot be read, was cut, or comes in parts."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Self

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from streams.errors import ControlError
from streams.kafka import control_reader
from streams.kafka.clock import BrokerClock
from streams.kafka.control_reader import ControlReader
from streams.kafka.control_status import Prepared, ShadowStatus, StatusWriter, WorkerStatus, decode_status
from streams.kafka.publishing import publish_control
from streams.kafka.reading import read_values
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.control_messages import ClearShadow, PrepareModel, SetModel, SetShadow, SetThreshold
from streams.pipeline.controls import Baseline
from streams.pipeline.quality.judging import NOTHING, Alert
from streams.pipeline.reasons import Refusal
from streams.pipeline.scope import EVERYTHING
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker
from tests.driving import wait_until
from tests.streams.pipeline.test_controls import OTHER, Model, Shelf

TOPICS = load_topics()
NAMES = topic_names(TOPICS)


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker([TOPICS["control"], TOPICS["control_status"]]) as broker:
        yield broker


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    fast = {"reconnect.backoff.ms": "50", "reconnect.backoff.max.ms": "200"}
    return load_settings({"broker": broker.bootstrap}, kafka_flags=fast, environ={})


class Reader(ControlReader):
    """One whose models can be given to it, closed in the end."""

    def __init__(self, settings: Settings, *has: str) -> None:
        self.shelf = Shelf({sha256: Model(sha256) for sha256 in has})
        clock = BrokerClock()
        status = StatusWriter(settings, NAMES, "worker-1", clock)
        super().__init__(settings, NAMES, Baseline(Model(), 0.4), self.shelf, status, clock)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def said(settings: Settings) -> list[WorkerStatus]:
    return [one for one in map(decode_status, read_values(settings, NAMES["control_status"], [0])) if one is not None]


def test_a_log_that_cannot_be_read_closes_automation_until_it_can(
    broker: EmbeddedBroker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows then whether automation was stopped meanwhile."""
    monkeypatch.setattr(control_reader, "_CHECK_EVERY", 0.2)
    with Reader(replace(settings, control_timeout=5.0)) as reader:
        time.sleep(1.5)
        assert reader.current.problem is None
        assert reader.age < 4
        broker.set_down()
        wait_until(lambda: reader.current.problem is not None)
        assert "could not be read to its end for 5 s (control_timeout)" in str(reader.current.problem)
        assert reader.age > 5
        broker.set_up()
        wait_until(lambda: reader.current.problem is None)
        publish_control(settings, SetThreshold(policy="*", threshold=0.2))
        wait_until(lambda: reader.current.version == 1)
        reader.check()


class Deaf:
    """A client that no answer reaches any more."""

    def poll(self, seconds: float) -> None:
        time.sleep(seconds)

    def consume(self, _most: int, timeout: float) -> list[object]:  # noqa: ARG002 - nothing comes
        return []

    def get_watermark_offsets(self, *_given: object, timeout: float) -> None:  # noqa: ARG002 - nobody is waited for
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("deaf", ["_consumer", "_asking"])
def test_clients_that_no_answer_reaches_are_replaced(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, deaf: str
) -> None:
    """Everything would go to humans for good: the others read on from where these got to."""
    monkeypatch.setattr(control_reader, "_CHECK_EVERY", 0.1)
    monkeypatch.setattr(control_reader, "_RENEWED_AFTER", 0.3)
    with Reader(settings) as reader:
        publish_control(settings, SetThreshold(policy="*", threshold=0.2))
        wait_until(lambda: reader.current.version == 1)
        setattr(reader, deaf, Deaf())
        publish_control(settings, SetThreshold(policy="*", threshold=0.3))
        wait_until(lambda: reader.current.version == 2 and not isinstance(getattr(reader, deaf), Deaf))
        wait_until(lambda: reader.age < 0.3)
        reader.check()


def test_a_model_that_comes_later_is_taken_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker tries again now and then, and says when it can."""
    monkeypatch.setattr(control_reader, "_CHECK_EVERY", 0.2)
    publish_control(settings, SetModel(sha256=OTHER))
    publish_control(settings, SetThreshold(policy="*", threshold=0.9))
    with Reader(settings) as reader:
        assert (2, None) == (reader.current.version, reader.current.model)
        assert "no model" in str(reader.current.problem)
        reader.shelf.has[OTHER] = Model(OTHER)
        wait_until(lambda: reader.current.problem is None)
        assert {EVERYTHING: 0.9} == reader.current.thresholds
    first, *_, last = said(settings)
    assert ("started", False, "stopped", True) == (first.event, first.honoured, last.event, last.honoured)
    assert "honoured" in {one.event for one in said(settings)}


def test_a_shadow_comes_with_its_model_and_nothing_else_changes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out until then, which is said once; what is in force was honoured all along, and looked up no more for it."""
    monkeypatch.setattr(control_reader, "_CHECK_EVERY", 0.1)
    publish_control(settings, SetModel(sha256="d" * 64))
    publish_control(settings, SetThreshold(policy="*", threshold=0.9))
    publish_control(settings, SetShadow(sha256=OTHER, keep_thresholds=True))
    with caplog.at_level("WARNING"), Reader(settings, "d" * 64) as reader:
        assert (3, None, None) == (reader.current.version, reader.current.problem, reader.current.shadow)
        del reader.shelf.has["d" * 64]
        time.sleep(0.5)
        assert f"no model {OTHER}" == reader.current.shadow_problem
        reader.shelf.has |= {OTHER: Model(OTHER), "d" * 64: Model("d" * 64)}
        wait_until(lambda: reader.current.shadow is not None)
        assert ("d" * 64, None) == (reader.current.model and reader.current.model.sha256, reader.current.problem)
        publish_control(settings, ClearShadow())
        wait_until(lambda: reader.current.version == 4)
        assert (None, None) == (reader.current.shadow, reader.current.shadow_problem)
    assert [f"the shadow is left out: no model {OTHER}"] == caplog.messages
    told = {one.event: (one.honoured, one.shadow) for one in said(settings)}
    assert {
        "started": (True, ShadowStatus(problem=f"no model {OTHER}")),
        "shadow_honoured": (True, ShadowStatus(OTHER)),
        "applied": (True, None),
        "stopped": (True, None),
    } == {event: word for event, word in told.items() if event != "alive"}


def test_a_worker_says_when_it_is_ready_for_a_model(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before it knows; what is in force stays as it is. It gives up after a while: whoever asked has gone."""
    monkeypatch.setattr(control_reader, "_CHECK_EVERY", 0.1)
    with Reader(settings) as reader:
        reader.shelf.looking.add(OTHER)
        publish_control(settings, PrepareModel(sha256=OTHER))
        wait_until(lambda: reader.log.position == 1)
        time.sleep(0.5)
        assert reader._prepared is None
        reader.shelf.looking.clear()
        wait_until(lambda: reader._prepared is not None)
        reader.shelf.has[OTHER] = Model(OTHER)
        wait_until(lambda: reader._prepared == Prepared(0, OTHER))
        assert (0, None) == (reader.current.version, reader.current.problem)
        monkeypatch.setattr(control_reader, "_PREPARE_FOR", 0.0)
        publish_control(settings, PrepareModel(sha256="d" * 64))
        wait_until(lambda: reader.log.position == 2 and reader._preparing is None)
    told = [one.prepared for one in said(settings) if one.event == "prepared"]
    assert [Prepared(0, OTHER, f"no model {OTHER}"), Prepared(0, OTHER)] == told


def test_old_refusals_are_told_once(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """They were told when they happened: a later start only counts them, in one line."""
    producer = Producer({"bootstrap.servers": settings.broker})
    for _ in range(3):
        producer.produce(NAMES["control"], b"rubbish")
    producer.flush(5)
    with caplog.at_level("INFO"), Reader(settings) as reader:
        assert not any(reader.refused.values())
        assert ["controls read"] == [one.message for one in caplog.records if "control" in one.message]
        producer.produce(NAMES["control"], b"rubbish")
        producer.flush(5)
        wait_until(lambda: reader.refused[Refusal.INVALID] == 1)


def test_a_log_that_ends_before_what_was_read_ends_the_worker(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cut or made anew: what this worker holds is not what the log says, so a restart reads it."""
    monkeypatch.setattr(control_reader, "_CHECK_EVERY", 0.1)
    with Reader(settings) as reader:
        reader.log.position = 5
        wait_until(lambda: reader._failure is not None)
        with pytest.raises(ControlError, match="was read up to offset 5 and now goes on at 0"):
            reader.check()


def test_a_log_whose_beginning_is_gone_is_not_guessed_at(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was set there may have been a stop."""
    publish_control(settings, SetThreshold(policy="*", threshold=0.2))
    monkeypatch.setattr(control_reader, "watermarks", lambda *_: {0: (1, 1)})
    with Reader(settings) as reader:
        assert "begins at offset 1" in str(reader.current.problem)


def test_messages_that_come_together_are_put_in_force_together(settings: Settings) -> None:
    """No batch is decided under the first of them alone."""
    seen = set()
    with Reader(settings) as reader:
        producer = Producer({"bootstrap.servers": settings.broker, "linger.ms": 50})
        for number in range(100):
            producer.produce(NAMES["control"], b'{"type": "set_threshold", "policy": "p%d", "threshold": 0.5}' % number)
        producer.flush(5)
        while 100 not in seen:
            seen.add(reader.current.version)
    assert len(seen) <= 3


def test_an_alert_is_told_at_once_and_when_it_is_over(settings: Settings) -> None:
    """On control-status, with an event of its own; that its figures move is no event."""
    known = [NOTHING]
    first, second = (Alert("risk", "*", about=f"{count} of 60 audits") for count in (30, 31))
    with Reader(settings) as reader:
        reader.quality = lambda: known[0]
        for alerts, count in (([first], 1), ([second], 1), ([], 2)):
            known[0] = NOTHING._replace(alerts=alerts)
            wait_until(lambda: sum(one.event == "quality_alert" for one in said(settings)) == count)  # noqa: B023 - called at once
    raised, over = (one for one in said(settings) if one.event == "quality_alert")
    assert [("risk", "*", "30 of 60 audits")] == [(one.kind, one.policy, one.about) for one in raised.alerts]
    assert () == tuple(over.alerts)

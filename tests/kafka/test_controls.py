"""The control log on a real broker: what transactions hide, and what they leave behind."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from streams.kafka import control_reader
from streams.kafka.clock import BrokerClock
from streams.kafka.control_reader import ControlReader
from streams.kafka.control_status import StatusWriter
from streams.kafka.publishing import publish_control
from streams.kafka.topics import Topic, topic_names
from streams.pipeline.control_messages import SetThreshold, StopAutomation, encode_control
from streams.pipeline.controls import Baseline
from streams.pipeline.reasons import Reason
from streams.pipeline.scope import EVERYTHING
from streams.settings import Settings, load_settings
from tests.driving import wait_until
from tests.streams.pipeline.test_controls import Model, Shelf

TIMEOUT = 2.0


@pytest.fixture
def settings(kafka: str, prefix: str) -> Settings:
    return load_settings({"broker": kafka, "topic_prefix": prefix, "control_timeout": TIMEOUT}, environ={})


@pytest.fixture
def reader(settings: Settings, topics: dict[str, Topic], monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlReader]:
    monkeypatch.setattr(control_reader, "_CHECK_EVERY", 0.2)
    names, clock = topic_names(topics), BrokerClock()
    status = StatusWriter(settings, names, "worker-1", clock)
    reader = ControlReader(settings, names, Baseline(Model(), 0.4), Shelf(), status, clock)  # type: ignore[arg-type]
    reader.start()
    yield reader
    reader.close()


def test_what_an_open_transaction_hides_closes_automation(
    settings: Settings, topics: dict[str, Topic], reader: ControlReader
) -> None:
    """A stop may stand behind it. Once it is resolved the log is read on; its markers are no messages that are missing."""
    topic = topics["control"].name
    producer = Producer({"bootstrap.servers": settings.broker, "transactional.id": f"{topic}-test"})
    producer.init_transactions()

    def write(threshold: float) -> None:
        producer.begin_transaction()
        producer.produce(topic, encode_control(SetThreshold(policy="*", threshold=threshold)))
        producer.flush(10)

    write(0.2)
    producer.commit_transaction()
    wait_until(lambda: reader.current.version == 1)
    time.sleep(2 * TIMEOUT)
    assert reader.current.problem is None

    write(0.3)
    publish_control(settings, StopAutomation(policy="*"))
    wait_until(lambda: reader.current.problem is not None)
    assert (1, True) == (reader.current.version, "could not be read to its end" in str(reader.current.problem))

    producer.abort_transaction()
    wait_until(lambda: reader.current.problem is None)
    assert {EVERYTHING: 0.2} == reader.current.thresholds
    assert Reason.AUTOMATION_STOPPED == reader.current.ruling("hate", "*", 0).closed

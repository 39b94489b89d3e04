"""The embedded broker, seen by the same clients that a real one has."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from streams.errors import BrokerError
from streams.kafka.topics import load_topics
from streams.trials.brokers import EmbeddedBroker

PRODUCE = 0


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """Give a broker of its own to every test."""
    with EmbeddedBroker() as running:
        yield running


def client(broker: EmbeddedBroker, **options: object) -> dict[str, object]:
    """Return client options for the broker; the faults injected here need no log lines."""
    return {"bootstrap.servers": broker.bootstrap, "log_level": 0, **options}


def produce(broker: EmbeddedBroker, topic: str, value: bytes, **options: object) -> KafkaError | None:
    """Send one record and return its delivery error."""
    errors: list[KafkaError | None] = []
    producer = Producer(client(broker, **options))
    producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error))
    producer.flush(20)
    return errors[0]


def until(condition: Callable[[], bool]) -> bool:
    """Wait for the condition, and say whether it came."""
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_has_every_topic(broker: EmbeddedBroker) -> None:
    """It starts with every topic of the definition, with the defined number of partitions."""
    found = Producer(client(broker)).list_topics(timeout=20).topics
    assert {topic.name: topic.partitions for topic in load_topics().values()} == {
        name: len(topic.partitions) for name, topic in found.items()
    }


def test_a_group_reads_what_was_sent(broker: EmbeddedBroker) -> None:
    """A consumer group reads a record that another client produced."""
    produce(broker, "moderation.requests", b"hello")
    consumer = Consumer(client(broker, **{"group.id": "readers", "auto.offset.reset": "earliest"}))
    consumer.subscribe(["moderation.requests"])
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    assert message.value() == b"hello"


def test_create_topic(broker: EmbeddedBroker) -> None:
    """A topic can be added while it runs."""
    broker.create_topic("another", 7)
    assert len(Producer(client(broker)).list_topics("another", timeout=20).topics["another"].partitions) == 7


def test_down_and_up_again(broker: EmbeddedBroker) -> None:
    """A broker that is down answers nobody, and answers again once it is up."""
    broker.set_down()
    with pytest.raises(KafkaException):
        Producer(client(broker)).list_topics(timeout=0.5)
    broker.set_up()
    assert Producer(client(broker)).list_topics(timeout=20).topics


def test_push_errors(broker: EmbeddedBroker) -> None:
    """A pushed error is met by the next request of its kind, and only by that one."""
    broker.push_errors(PRODUCE, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    error = produce(broker, "moderation.requests", b"refused")
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert produce(broker, "moderation.requests", b"accepted") is None


def test_round_trip_time(broker: EmbeddedBroker) -> None:
    """A request can't be answered before the set round-trip time is over."""
    broker.set_round_trip_time(2000)
    with pytest.raises(KafkaException):
        Producer(client(broker)).list_topics(timeout=1)


def test_unknown_broker_number(broker: EmbeddedBroker) -> None:
    """A fault for a broker that doesn't exist is refused with the number in the message."""
    with pytest.raises(BrokerError, match="broker 9"):
        broker.set_down(9)


def test_several_brokers() -> None:
    """A cluster of three brokers shows three brokers."""
    with EmbeddedBroker(brokers=3) as broker:
        assert len(Producer(client(broker)).list_topics(timeout=20).brokers) == 3


def test_close_twice(broker: EmbeddedBroker) -> None:
    """Closing a closed broker does nothing; using it is an error."""
    broker.close()
    broker.close()
    with pytest.raises(BrokerError, match="closed"):
        broker.set_down()


def test_process_that_died(broker: EmbeddedBroker) -> None:
    """A fault for a broker whose process was killed is an error that says so."""
    broker._process.kill()
    broker._process.wait()
    with pytest.raises(BrokerError, match=r"closed|ended with code -9"):
        broker.set_down()


def test_dies_with_its_parent() -> None:
    """The broker's process ends when the program that started it is killed."""
    program = (
        "import json, psutil, time; from streams.trials.brokers import EmbeddedBroker; broker = EmbeddedBroker();"
        "print(json.dumps([child.pid for child in psutil.Process().children()]), flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as lines:
        (child,) = json.loads(lines.readline())
    assert psutil.pid_exists(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_missing_symbols() -> None:
    """A librdkafka without the mock cluster is refused with a sentence that says what to do."""
    program = (
        "import _ctypes, confluent_kafka.cimpl as cimpl; cimpl.__file__ = _ctypes.__file__;"
        "from streams.trials.brokers.mock_cluster import _MockCluster; _MockCluster(1, [])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "install a wheel" in done.stderr

"""The local Kafka: a real broker that can be stopped, killed and found again."""

from confluent_kafka import Consumer, Producer

from streams.kafka.topics import create_topics, load_topics
from streams.trials.brokers import LocalKafka

TOPIC = load_topics()["requests"]


def produce(bootstrap: str, value: bytes, *, commit: bool = True) -> None:
    """Send one record in a transaction, and commit or abort it."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "tests", "log_level": 0})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(TOPIC.name, value)
    producer.flush(60)
    if commit:
        producer.commit_transaction(60)
    else:
        producer.abort_transaction(60)


def consume(bootstrap: str) -> bytes:
    """Return the first committed record."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "tests", "auto.offset.reset": "earliest", "log_level": 0}
    )
    consumer.subscribe([TOPIC.name])
    message = consumer.poll(60)
    consumer.close()
    assert message is not None
    return bytes(message.value())


def test_an_aborted_record_is_not_read(own_kafka: LocalKafka) -> None:
    """Transactions are real: a consumer of committed records never sees an aborted one."""
    create_topics({"bootstrap.servers": own_kafka.bootstrap}, {"requests": TOPIC})
    produce(own_kafka.bootstrap, b"aborted", commit=False)
    produce(own_kafka.bootstrap, b"committed")
    assert consume(own_kafka.bootstrap) == b"committed"


def test_records_survive_a_restart(own_kafka: LocalKafka) -> None:
    """After a restart the cluster is at the same address with the same records."""
    create_topics({"bootstrap.servers": own_kafka.bootstrap}, {"requests": TOPIC})
    produce(own_kafka.bootstrap, b"kept")
    own_kafka.restart()
    assert consume(own_kafka.bootstrap) == b"kept"


def test_records_survive_a_kill(own_kafka: LocalKafka) -> None:
    """A node that was killed comes back with every committed record."""
    create_topics({"bootstrap.servers": own_kafka.bootstrap}, {"requests": TOPIC})
    produce(own_kafka.bootstrap, b"kept")
    own_kafka.kill()
    assert own_kafka.pids == {}
    own_kafka.start()
    assert consume(own_kafka.bootstrap) == b"kept"

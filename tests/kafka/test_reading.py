"""Reading a topic to its end, on a broker that has transactions."""

from confluent_kafka import Producer

from streams.kafka.clients import base_config
from streams.kafka.reading import read_values
from streams.kafka.topics import Topic, existing_partitions
from streams.settings import load_settings


def test_what_a_transaction_took_back_is_not_read(kafka: str, topics: dict[str, Topic]) -> None:
    """Training must not learn from vectors of a batch that was aborted; what is committed after it is read."""
    settings, wanted = load_settings({"broker": kafka}, environ={}), {"vectors": topics["vectors"]}
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topics["vectors"].name})
    producer.init_transactions(20)
    for value, end in ((b"a", "commit"), (b"b", "abort"), (b"c", "commit"), (b"d", "abort")):
        producer.begin_transaction()
        producer.produce(topics["vectors"].name, value, b"one key, one partition")
        producer.flush(20)  # an abort would take back what has not been sent yet
        getattr(producer, f"{end}_transaction")(20)
    partitions = existing_partitions(base_config(settings), wanted)["vectors"]
    assert [b"a", b"c"] == list(read_values(settings, topics["vectors"].name, partitions))

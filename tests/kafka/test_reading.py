"""Reading a topic to its end, on a broker that has transactions."""

from confluent_kafka import Producer

from streams.kafka.clients import base_config
from streams.kafka.reading import read_values
from streams.kafka.recent import read_recent, read_since
from streams.kafka.topics import Topic, existing_partitions
from streams.settings import Settings, load_settings


def test_the_last_records_are_the_newest_of_all_partitions(kafka: str, topics: dict[str, Topic]) -> None:
    """However many there are in each, behind the markers of batches of one; since a time, none from before it."""
    settings, topic = load_settings({"broker": kafka}, environ={}), topics["vectors"]
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topic.name}-recent"})
    producer.init_transactions(20)
    for number in range(12):
        producer.begin_transaction()
        value, stamp = f"{number}".encode(), 1_700_000_000_000 + 1_000 * number
        producer.produce(topic.name, value, partition=0 if number < 9 else number % 4, timestamp=stamp)
        producer.commit_transaction(20)
    every = range(topic.partitions)
    assert [b"7", b"8", b"9", b"10", b"11"] == values(settings, topic.name, every, last=5)
    since = 1_700_000_008_500
    assert [b"9", b"10", b"11"] == values(settings, topic.name, every, last=5, since=since)
    assert [b"11"] == values(settings, topic.name, every, last=1, since=since)
    assert [] == values(settings, topic.name, every, last=5, since=1_700_000_060_000)
    assert [b"10", b"11", b"9"] == sorted(read_since(settings, topic.name, every, since))
    assert [(1_700_000_011_000, b"11")] == read_recent(settings, topic.name, every, last=1)


def values(settings: Settings, topic: str, partitions: range, *, last: int, since: int | None = None) -> list[bytes]:
    return [value for _, value in read_recent(settings, topic, partitions, last=last, since=since)]


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

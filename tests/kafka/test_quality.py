"""Live quality on a real broker: with transactions, and a compacted topic for its state."""

import uuid

import msgspec
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka.clients import base_config
from streams.kafka.topics import load_topics
from streams.settings import load_settings
from streams.trials.topics import own_topics
from tests.driving import wait_until
from tests.streams.kafka.test_quality_keeper import Fleet, figures, write
from tests.streams.pipeline.quality.test_books import HISTORY, KNOWN, decision


def test_only_what_is_committed_counts_and_a_restart_goes_on(kafka: str) -> None:
    """A decision whose transaction was aborted was never made."""
    settings = load_settings({"broker": kafka, "topic_prefix": f"quality-{uuid.uuid4().hex[:6]}."}, environ={})
    topics = load_topics(settings.topic_prefix)
    names = {role: topic.name for role, topic in topics.items()}
    with own_topics(settings):
        producer = Producer({**base_config(settings), "transactional.id": settings.topic_prefix})
        producer.init_transactions(30)
        producer.begin_transaction()
        for number in range(20):
            undone = decision(f"undone {number}", 0.2, "audit")
            producer.produce(names["human_review"], msgspec.json.encode(undone))
        producer.abort_transaction(30)
        half = len(HISTORY) // 2
        write(settings, HISTORY[:half])
        fleet = Fleet(settings)
        first = fleet.start()
        wait_until(lambda: figures(first) is not None)
        first.close()
        write(settings, HISTORY[half:])
        second = fleet.start()
        wait_until(lambda: figures(second) == KNOWN)
        second.close()


def test_records_that_retention_took_unread_are_counted_and_passed_by(kafka: str) -> None:
    """What was counted before stays, and what came after is counted."""
    settings = load_settings({"broker": kafka, "topic_prefix": f"quality-{uuid.uuid4().hex[:6]}."}, environ={})
    name = load_topics(settings.topic_prefix)["auto_action"].name
    with own_topics(settings):
        fleet, automated = Fleet(settings), [("decided", (decision("", 0.1, "below_threshold"), 0))]
        write(settings, 4 * automated)
        first = fleet.start()
        wait_until(lambda: first.lag == 0)
        first.close()
        producer = Producer(base_config(settings))
        for _ in range(10):
            producer.produce(name, msgspec.json.encode(automated[0][1][0]), partition=0)
        producer.flush(10)
        admin = AdminClient(base_config(settings))  # type: ignore[arg-type]
        for future in admin.delete_records([TopicPartition(name, 0, -1)]).values():
            future.result(20)
        write(settings, 4 * automated)
        second = fleet.start()
        wait_until(lambda: second.lag == 0)
        assert (8, 10) == (second.judgement.figures[0].automated, second.judgement.skipped)
        second.close()

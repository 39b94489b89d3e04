"""What stands behind an open transaction on a real Kafka, for how long, and who says so."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.kafka import delivery
from streams.kafka.calls import Line
from streams.kafka.clock import BrokerClock
from streams.kafka.control_status import StatusWriter, WorkerStatus
from streams.kafka.delivery import BatchAborted, ExactlyOnce
from streams.kafka.fleet import Fleet
from streams.kafka.reading import ends, readable_ends
from streams.kafka.topics import Topic, topic_names
from streams.pipeline.records import REQUESTS, Output
from streams.pipeline.routing import rfc3339
from streams.settings import Settings, load_settings
from streams.trials.outputs import OutputReader, Unread
from streams.trials.worker_process import WorkerProcess
from tests.driving import decisions, everything, send, wait_until

NEVER = 600
"""Seconds: no test waits until the broker itself aborts a transaction of this timeout."""


def opened(kafka: str, name: str, topic: Topic, *, partition: int) -> Producer:
    """A producer with a record in its transaction that stands in the topic already."""
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": name, "transaction.timeout.ms": NEVER * 1000})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic.name, b"hidden", b"key", partition=partition)
    assert 0 == producer.flush(20)
    return producer


def test_a_reader_of_outputs_tells_what_an_open_transaction_hides(
    kafka: str, prefix: str, topics: dict[str, Topic]
) -> None:
    """Until it is over; what was taken back is read past, up to the very end."""
    taken: list[tuple[str, bytes | None]] = []
    settings = load_settings({"broker": kafka, "topic_prefix": prefix}, environ={})
    reader = OutputReader(settings, lambda role, message, _at: taken.append((role, message.value())))
    topic = topics["human_review"]
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(reader.run)
        try:
            producer = opened(kafka, prefix, topic, partition=1)
            producer.commit_transaction(20)
            wait_until(lambda: not reader.unread())
            producer = opened(kafka, prefix, topic, partition=1)
            wait_until(reader.unread)
            assert [Unread(topic.name, 1, reached=2, readable=2, end=3)] == reader.unread()
            producer.abort_transaction(20)
            wait_until(lambda: not reader.unread())
        finally:
            reader.stop()
            reading.result()
    assert [("human_review", b"hidden")] == taken


def test_what_workers_say_is_heard_behind_an_open_transaction(
    kafka: str, prefix: str, topics: dict[str, Topic]
) -> None:
    """A transaction of whoever may write to control-status would hold up every `control` command else."""
    settings = load_settings({"broker": kafka, "topic_prefix": prefix}, environ={})
    hidden = opened(kafka, prefix, topics["control_status"], partition=0)
    writer = StatusWriter(settings, topic_names(topics), "worker", BrokerClock())
    writer.write(WorkerStatus(worker="", event="alive", at=rfc3339(int(time.time() * 1000)), control_version=0))
    writer.flush(20)
    with Fleet(settings) as fleet:
        assert {"worker"} == set(fleet.live)
    hidden.abort_transaction(20)


def test_a_producer_that_was_left_behind_leaves_no_transaction_open(
    kafka: str, prefix: str, topics: dict[str, Topic], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor ends it at once, by its name; what the call that hung does when it comes back changes nothing."""
    comes_back = threading.Event()
    made: list[Producer] = []

    class Hanging(Producer):
        def commit_transaction(self, timeout: float = -1) -> None:
            self.flush(20)
            if self is made[0]:
                assert comes_back.wait(120)
            super().commit_transaction(timeout)

    def make(config: dict[str, object]) -> Producer:
        made.append(Hanging(config))  # type: ignore[arg-type] # as the product has it
        return made[-1]

    monkeypatch.setattr(delivery, "Producer", make)
    monkeypatch.setattr(delivery, "_PATIENCE", 1.0)
    settings = Settings(broker=kafka, topic_prefix=prefix, instance_id="pod-1", transaction_timeout=NEVER)
    names = topic_names(topics)
    way, line = ExactlyOnce(settings, names), Line("sink")
    member = Consumer({"bootstrap.servers": kafka, "group.id": f"{prefix}group"})
    outputs = [Output("human_review", b"key", b"decided", partition=number) for number in range(4)]
    offsets = [TopicPartition(names[REQUESTS], 0, 1)]
    every = range(4)

    def commit() -> None:
        way.commit(outputs, offsets, member.consumer_group_metadata())

    try:
        line.submit(way.start).result(60)
        hung = line.submit(commit)
        wait_until(way.leave_behind)
        topic = names["human_review"]
        assert readable_ends(settings, topic, every) != ends(settings, topic, every)
        line.leave_behind(way.recover)
        with pytest.raises(BatchAborted, match="hung"):
            hung.result(60)
        wait_until(lambda: readable_ends(settings, topic, every) == ends(settings, topic, every))
        line.submit(commit).result(60)
        comes_back.set()
        line.submit(commit).result(60)
        wait_until(lambda: readable_ends(settings, topic, every) == ends(settings, topic, every))
        assert 2 * len(outputs) == len(everything(kafka, topics["human_review"]))
    finally:
        comes_back.set()
        line.close()
        member.close()
    assert 2 == len(made)


@pytest.mark.parametrize("resolved", [False, True], ids=["for good", "until it is over"])
def test_a_takeover_behind_an_open_transaction_waits_for_it_and_not_for_ever(
    kafka: str, prefix: str, topics: dict[str, Topic], models: Path, resolved: bool
) -> None:
    """A record that may yet count stands in the changelog: after `restore_timeout` the worker ends, and says where."""
    foreign = opened(kafka, f"{prefix}foreign", topics["pending"], partition=2)
    base = {"broker": kafka, "topic_prefix": prefix, "model": models, "web_port": 0}
    with WorkerProcess({**base, "restore_timeout": 60 if resolved else 2}) as worker:
        if resolved:
            wait_until(
                lambda: told(worker, "info", f"reading {topics['pending'].name}: 0 records, partition 2 at 0 of 1")
            )
            foreign.abort_transaction(20)
            worker.wait_for("assigned")
            send(kafka, prefix=prefix)
            assert decisions(kafka, prefix=prefix)
            assert 0 == worker.terminate()
        else:
            assert 1 == worker.wait(60)
            (said,) = told(worker, "critical", "the partitions cannot be taken over")
            assert f"{topics['pending'].name} for 2 s, partition 2 at 0 of 1: a transaction that is still open" in said


def told(worker: WorkerProcess, level: str, begins: str) -> list[str]:
    """The lines of this level that begin so."""
    lines = [str(line["message"]) for line in worker.lines() if line.get("level") == level]
    return [line for line in lines if line.startswith(begins)]

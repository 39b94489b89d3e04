"""Positions, offsets and state on a real Kafka: each way in which they can part ends as docs/guarantees.md says."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka.admin import group_members
from streams.kafka.clients import base_config
from streams.kafka.topics import Topic, create_topics
from streams.settings import Settings
from streams.trials.worker_process import WorkerProcess
from tests.driving import IDS, ITEMS, await_waiting, decisions, ids, read, send, wait_until

SESSION = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "1000"}
Start = Callable[..., WorkerProcess]


@pytest.fixture
def worker(kafka: str, prefix: str, topics: dict[str, Topic], models: Path) -> Start:  # noqa: ARG001 - they must be there
    """Give what starts a worker of this test's stream, exactly once."""

    def start(**settings: Any) -> WorkerProcess:
        base = {"broker": kafka, "topic_prefix": prefix, "model": models, "web_port": 0, "transaction_timeout": 5}
        return WorkerProcess({**base, "instance_id": "pod-1", **settings}, kafka=SESSION)

    return start


@pytest.fixture
def admin(kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka})


def settled(results: dict[Any, Any]) -> None:
    for result in results.values():
        result.result(30)


def first_half_decided(start: Start, kafka: str, prefix: str) -> None:
    """A worker decides the first twenty and stops."""
    with start() as first:
        first.wait_for("assigned")
        send(kafka, ITEMS[:20], prefix=prefix)
        read(kafka, ("auto_action", "human_review"), count=20, prefix=prefix)
        assert 0 == first.terminate()


def deserted(kafka: str, group: str) -> str:
    """The group, once the broker knows that nobody is in it: a named member that stops is missed after its session only."""
    admin = AdminClient({"bootstrap.servers": kafka})
    wait_until(lambda: not group_members(admin, group))
    return group


def stops(start: Start, *words: str, **settings: Any) -> None:
    """A worker refuses to go on, in one line with these words."""
    with start(**settings) as refusing:
        assert 1 == refusing.wait(60)
        said = [line["message"] for line in refusing.lines() if line.get("level") == "critical"]
        assert 1 == len([line for line in said if all(word in line for word in words)]), said


def goes_on(start: Start, kafka: str, prefix: str, *, expected: list[str], **settings: Any) -> list[dict[str, Any]]:
    """A worker decides the second half, and every item exactly once in all."""
    with start(**settings) as second:
        second.wait_for("assigned")
        send(kafka, ITEMS[20:], prefix=prefix)
        found = decisions(kafka, count=len(expected), prefix=prefix)
        assert 0 == second.terminate()
    assert expected == ids(found)
    return found


def test_a_second_group_is_refused_until_it_is_told_to_take_over(worker: Start, kafka: str, prefix: str) -> None:
    """Else a typo in the group's name would decide everything a second time."""
    first_half_decided(worker, kafka, prefix)
    stops(worker, "group", "works on these topics", "--new-group-from", group="shadow")
    assert 20 == len(decisions(kafka, count=20, prefix=prefix))
    goes_on(worker, kafka, prefix, expected=IDS, group="shadow", new_group_from="state")


def test_a_group_that_is_at_work_is_not_taken_over(worker: Start) -> None:
    """Two owners would both decide."""
    with worker() as first:
        first.wait_for("assigned")
        stops(worker, "running workers", group="shadow", instance_id="pod-2", new_group_from="latest")


def test_expired_offsets_repeat_nothing(worker: Start, kafka: str, prefix: str, admin: AdminClient) -> None:
    """The changelog knows how far it was read."""
    first_half_decided(worker, kafka, prefix)
    settled(admin.delete_consumer_groups([deserted(kafka, f"{prefix}secondlook")]))
    goes_on(worker, kafka, prefix, expected=IDS)


def test_offsets_that_an_operator_set_are_obeyed(
    worker: Start, kafka: str, prefix: str, topics: dict[str, Topic], admin: AdminClient
) -> None:
    """Read again from the beginning, what was decided lately is a duplicate."""
    first_half_decided(worker, kafka, prefix)
    places = [TopicPartition(topics[role].name, one, 0) for role in ("requests", "responses") for one in range(4)]
    group = deserted(kafka, f"{prefix}secondlook")
    settled(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]))
    goes_on(worker, kafka, prefix, expected=IDS)
    assert 40 == len(read(kafka, ("dead_letter",), count=40, prefix=prefix))


def test_a_changelog_that_was_deleted_is_said(
    worker: Start, kafka: str, prefix: str, topics: dict[str, Topic], admin: AdminClient
) -> None:
    """Requests that waited in it are lost; the operator has to say that this is accepted."""
    first_half_decided(worker, kafka, prefix)
    recreate(kafka, admin, topics["pending"])
    stops(worker, "waited in it are unknown", "--on-data-loss continue")
    goes_on(worker, kafka, prefix, expected=IDS, on_data_loss="continue")


def test_topics_made_anew_are_said_and_read_from_their_beginning(
    worker: Start, kafka: str, prefix: str, topics: dict[str, Topic], admin: AdminClient
) -> None:
    """Also when they have grown past the old positions."""
    first_half_decided(worker, kafka, prefix)
    recreate(kafka, admin, topics["requests"])
    recreate(kafka, admin, topics["responses"])
    stops(worker, "deleted and made anew", "--on-data-loss continue")
    goes_on(worker, kafka, prefix, expected=IDS, on_data_loss="continue")


def test_topics_made_anew_under_a_running_worker_end_it(
    worker: Start, kafka: str, prefix: str, topics: dict[str, Topic], admin: AdminClient
) -> None:
    """It would read on at offsets that mean something else now."""
    with worker() as running:
        running.wait_for("assigned")
        send(kafka, ITEMS[:20], prefix=prefix)
        read(kafka, ("auto_action", "human_review"), count=20, prefix=prefix)
        recreate(kafka, admin, topics["requests"])
        recreate(kafka, admin, topics["responses"])
        assert 1 == running.wait(60)
        assert "deleted and made anew" in running.log.read_text()


def test_records_that_were_deleted_unread_are_said(
    worker: Start, kafka: str, prefix: str, topics: dict[str, Topic], admin: AdminClient
) -> None:
    """Retention that took them looks the same."""
    first_half_decided(worker, kafka, prefix)
    send(kafka, ITEMS[20:30], prefix=prefix)
    everything = [TopicPartition(topics[role].name, one, -1) for role in ("requests", "responses") for one in range(4)]
    settled(admin.delete_records(everything))
    stops(worker, "deleted by retention before they were read", "--on-data-loss continue")
    with worker(on_data_loss="continue") as second:
        second.wait_for("assigned")
        send(kafka, ITEMS[30:], prefix=prefix)
        found = ids(decisions(kafka, count=30, prefix=prefix))
        assert 0 == second.terminate()
    assert sorted(item.request_id for item in [*ITEMS[:20], *ITEMS[30:]]) == found


def test_a_foreign_record_in_the_changelog_is_passed_by(
    worker: Start, kafka: str, prefix: str, topics: dict[str, Topic]
) -> None:
    """Its place is in the log, and what waits beside it is found."""
    with worker() as first:
        first.wait_for("assigned")
        send(kafka, prefix=prefix, responses=False)
        await_waiting(kafka, len(ITEMS), prefix=prefix)
        first.kill()
    producer = Producer({"bootstrap.servers": kafka})
    for partition in range(4):
        producer.produce(topics["pending"].name, b"\x00\xff", b"zz", partition)
        producer.produce(topics["pending"].name, None, None, partition)
    assert 0 == producer.flush(10)
    send(kafka, prefix=prefix, requests=False)
    with worker() as second:
        second.wait_for("assigned")
        found = decisions(kafka, prefix=prefix)
        assert "is passed by" in second.log.read_text()
        assert 0 == second.terminate()
    assert IDS == ids(found)
    assert {"no_response"}.isdisjoint(one["reasons"][0] for one in found)


def test_answers_behind_an_open_transaction_are_waited_for(
    worker: Start, kafka: str, prefix: str, topics: dict[str, Topic]
) -> None:
    """They have come in time, they only can't be read yet: no request times out over them."""
    foreign = Producer({"bootstrap.servers": kafka, "transactional.id": f"{prefix}gateway"})
    foreign.init_transactions(30)
    foreign.begin_transaction()
    for partition in range(4):
        foreign.produce(topics["responses"].name, b"x", b"nobody", partition)
    assert 0 == foreign.flush(10)
    with worker(response_timeout=2) as running:
        running.wait_for("assigned")
        send(kafka, prefix=prefix)
        time.sleep(5)
        assert [] == read(kafka, ("auto_action", "human_review"), count=1, prefix=prefix, timeout=2)
        foreign.commit_transaction(30)
        found = decisions(kafka, prefix=prefix)
        assert 0 == running.terminate()
    assert IDS == ids(found)
    assert {"no_response"}.isdisjoint(one["reasons"][0] for one in found)


def recreate(kafka: str, admin: AdminClient, topic: Topic) -> None:
    """Delete a topic and make it anew, as large as it was."""
    settled(admin.delete_topics([topic.name]))
    wait_until(lambda: topic.name not in admin.list_topics(timeout=10).topics)
    create_topics(base_config(Settings(broker=kafka)), {topic.key: topic})

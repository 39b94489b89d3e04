"""Topics on a real broker: created, found again, and refused when they don't fit."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from streams.errors import TopicError
from streams.kafka.topics import ConfigFindings, Topic, check_configs, check_topics, create_topics, load_topics
from tests.driving import wait_until


def grow(bootstrap: str, topic: Topic, partitions: int) -> None:
    """Give an existing topic more partitions, as kafka-topics.sh does, and wait: brokers tell of them a little later."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for answer in admin.create_partitions([NewPartitions(topic.name, partitions)]).values():
        answer.result()
    wait_until(lambda: len(admin.list_topics(topic.name, timeout=10).topics[topic.name].partitions) == partitions)


def test_created_topics_pass_the_checks(kafka: str, topics: dict[str, Topic]) -> None:
    """What `create_topics` made has the right partitions and is kept and cleaned up as defined."""
    conf = {"bootstrap.servers": kafka}
    findings = check_configs(conf, topics, max_record_bytes=1_000_000)
    assert (check_topics(conf, topics), findings) == ([], ConfigFindings())


def test_create_is_idempotent(kafka: str, topics: dict[str, Topic]) -> None:
    """Creating topics that exist creates nothing and is no error."""
    assert create_topics({"bootstrap.servers": kafka}, topics) == []


def test_create_at_the_same_time(kafka: str, prefix: str) -> None:
    """Of two that create the topics at once, each topic is created by one, and neither fails."""
    wanted = load_topics(prefix)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: create_topics({"bootstrap.servers": kafka}, wanted), range(2)))
    assert sorted(topic.name for topic in wanted.values()) == sorted(made[0] + made[1])


def test_create_refuses_a_wrong_partition_count(kafka: str, topics: dict[str, Topic]) -> None:
    """An existing topic with another partition count is an error that gives the command to mend it."""
    grow(kafka, topics["requests"], 6)
    with pytest.raises(TopicError, match=rf"--topic {topics['responses'].name} --partitions 6"):
        create_topics({"bootstrap.servers": kafka}, topics)


def test_the_given_mending_mends(kafka: str, topics: dict[str, Topic]) -> None:
    """Once all three topics have grown as the message says, nothing is wrong any more."""
    for key in ("requests", "responses", "pending"):
        grow(kafka, topics[key], 6)
    assert check_topics({"bootstrap.servers": kafka}, topics) == []


def test_a_changelog_that_expires(kafka: str, prefix: str) -> None:
    """A changelog whose records expire is a problem, with the command that keeps them."""
    conf = {"bootstrap.servers": kafka}
    wanted = load_topics(prefix)
    expiring = dataclasses.replace(wanted["pending"], config={**wanted["pending"].config, "retention.ms": "3600000"})
    create_topics(conf, {**wanted, "pending": expiring})
    (problem,) = check_configs(conf, wanted, max_record_bytes=1_000_000).errors
    assert f"--entity-name {expiring.name} --add-config retention.ms=-1" in problem


def test_a_topic_that_does_not_take_the_largest_record(kafka: str, prefix: str) -> None:
    """A written topic with a record limit below `max_record_bytes` is a problem, with the command that raises it."""
    conf = {"bootstrap.servers": kafka}
    wanted = load_topics(prefix)
    narrow = dataclasses.replace(
        wanted["human_review"], config={**wanted["human_review"].config, "max.message.bytes": "1000000"}
    )
    create_topics(conf, {**wanted, "human_review": narrow})
    (problem,) = check_configs(conf, wanted, max_record_bytes=1_000_000).errors
    assert f"--entity-name {narrow.name} --add-config max.message.bytes=" in problem


@pytest.mark.parametrize(
    ("setting", "mending"),
    [
        ({"cleanup.policy": "delete"}, "cleanup.policy=compact"),
        ({"max.message.bytes": "500000"}, "max.message.bytes=1048588"),
    ],
)
def test_a_models_topic_that_loses_or_refuses_models(
    kafka: str, prefix: str, setting: dict[str, str], mending: str
) -> None:
    """A model in force must be there for the next worker, and its chunks must be taken: a problem, with the command."""
    conf = {"bootstrap.servers": kafka}
    wanted = load_topics(prefix)
    other = dataclasses.replace(wanted["models"], config={**wanted["models"].config, **setting})
    create_topics(conf, {**wanted, "models": other})
    (problem,) = check_configs(conf, wanted, max_record_bytes=1_000_000).errors
    assert f"--entity-name {other.name} --add-config {mending}" in problem


def test_an_input_topic_with_the_producers_time(kafka: str, prefix: str) -> None:
    """An input topic stamped by its producers works, with a warning that names the command."""
    conf = {"bootstrap.servers": kafka}
    wanted = load_topics(prefix)
    create_topics(conf, {**wanted, "requests": dataclasses.replace(wanted["requests"], config={})})
    findings = check_configs(conf, wanted, max_record_bytes=1_000_000)
    assert findings.errors == ()
    assert "--add-config message.timestamp.type=LogAppendTime" in findings.warnings[0]


def test_create_what_the_broker_refuses(kafka: str, prefix: str) -> None:
    """A topic that the broker won't create is an error with the broker's reason."""
    with pytest.raises(TopicError, match=r"could not be created: .*[Rr]eplication"):
        create_topics({"bootstrap.servers": kafka}, load_topics(prefix), replication_factor=99)

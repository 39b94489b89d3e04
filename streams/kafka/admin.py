"""What is asked of the brokers beside reading and writing: topic ids, deleting records, who is in a group."""

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.errors import BrokerError
from streams.kafka.clients import kafka_error

if TYPE_CHECKING:
    from concurrent.futures import Future

log = logging.getLogger(__name__)

_TIMEOUT: Final = 5.0
_SILENT: Final = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN})  # noqa: SLF001
"""Errors that tell nothing of what was asked."""

_Answer = TypeVar("_Answer")


def has_controller(admin: AdminClient) -> bool:
    """Whether there is anybody to answer such questions: the embedded broker has no controller, and they would time out."""
    metadata = admin.list_topics(timeout=_TIMEOUT)
    return metadata.controller_id in metadata.brokers


def topic_ids(admin: AdminClient, names: Iterable[str]) -> dict[str, str]:
    """The id of each topic, by which one made anew under an old name is told from the old one.

    Empty where the brokers tell none: before Kafka 2.8, without the right to describe them, or the embedded broker, which
    has no controller to ask. Raises KafkaException when no broker answers.
    """
    wanted = list(names)
    if not has_controller(admin):
        return {}
    ids = {}
    for name, answer in admin.describe_topics(TopicCollection(wanted), request_timeout=_TIMEOUT).items():
        try:
            ids[name] = str(_given(answer).topic_id)
        except KafkaException as problem:
            if kafka_error(problem).code() in _SILENT:
                raise  # a topic made anew would not be noticed as long as this assignment lasts
            log.debug("no id of topic %s: %s", name, problem)
    return ids


def delete_records(admin: AdminClient, before: Mapping[TopicPartition, int]) -> bool:
    """Delete the records of each partition before an offset; whether the brokers did. Only disk and time are at stake."""
    problems = records_kept(admin, before)
    for partition, problem in problems.items():
        log.warning(
            "the changelog's old records in partition %d of %s could not be deleted, a restart will take longer: %s",
            partition.partition,
            partition.topic,
            problem.str(),
        )
    return not problems


def records_kept(admin: AdminClient, before: Mapping[TopicPartition, int]) -> dict[TopicPartition, KafkaError]:
    """Delete the records of each partition before an offset; returns the partitions where the brokers did not, and why."""
    wanted = [TopicPartition(one.topic, one.partition, offset) for one, offset in before.items()]
    problems = {}
    for partition, answer in admin.delete_records(wanted, request_timeout=_TIMEOUT).items():
        try:
            _given(answer)
        except KafkaException as problem:
            problems[partition] = kafka_error(problem)
    return problems


def group_members(admin: AdminClient, group: str) -> int:
    """How many members a consumer group has now. Raises BrokerError when that can't be known."""
    try:
        described = _given(admin.describe_consumer_groups([group], request_timeout=_TIMEOUT)[group])
    except KafkaException as problem:
        raise BrokerError(f"cannot tell whether group {group!r} is at work: {kafka_error(problem).str()}") from problem
    return 0 if described.state == ConsumerGroupState.DEAD else len(described.members)


def _given(answer: "Future[_Answer]") -> _Answer:
    """The answer, once it is there. Raises KafkaException, also where the client does not come back in the time it was given."""
    try:
        return answer.result(_TIMEOUT + 1)
    except TimeoutError:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None  # noqa: SLF001 - its public name

"""What is asked of the brokers beside reading and writing: metadata, topic ids, deleting records, who is in a group."""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicCollection, TopicPartition

# Its documented name; its type hints only forget to re-export it.
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined]

from streams.kafka.clients import ClientConfig, admin_config, kafka_error
from streams.kafka.troubles import DENIED, SILENT, failed, heard, no_answer, told

if TYPE_CHECKING:
    from concurrent.futures import Future

    from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined] # likewise

log = logging.getLogger(__name__)

_TIMEOUT: Final = 5.0
_TRY: Final = 1.0
"""Seconds between two looks at what the client has heard, while no broker answers."""

_Answer = TypeVar("_Answer")


def metadata(conf: ClientConfig, timeout: float) -> ClusterMetadata:
    """The brokers, and every topic that this user may see.

    Raises BrokerError, with the reason, when none answers within `timeout` seconds; at once where waiting would not mend it.
    """
    admin = AdminClient(admin_config(conf))
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return admin.list_topics(timeout=max(0.01, min(_TRY, left)))
        except KafkaException as problem:
            admin.poll(0)  # what it has heard comes with its callbacks
            trouble = heard(conf)
            if left <= _TRY or (trouble is not None and trouble.kind.is_final):
                raise no_answer(conf, timeout, kafka_error(problem)) from problem


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
            if kafka_error(problem).code() in SILENT:
                raise  # a topic made anew would not be noticed as long as this assignment lasts
            log.debug("no id of topic %s: %s", name, problem)
    return ids


def allowed_operations(admin: AdminClient, names: Iterable[str]) -> dict[str, frozenset[str] | None]:
    """What this user may do with each topic, in lower case, as the brokers reckon it; None where they do not tell, or it is not there.

    Raises KafkaException when no broker answers.
    """
    wanted = list(names)
    if not wanted or not has_controller(admin):
        return {}
    answers = admin.describe_topics(
        TopicCollection(wanted), include_authorized_operations=True, request_timeout=_TIMEOUT
    )
    found: dict[str, frozenset[str] | None] = {}
    for name, answer in answers.items():
        try:
            found[name] = operation_names(_given(answer).authorized_operations)
        except KafkaException as problem:
            if kafka_error(problem).code() in SILENT:
                raise
            found[name] = frozenset() if kafka_error(problem).code() in DENIED else None
    return found


def operation_names(operations: "Iterable[AclOperation] | None") -> frozenset[str] | None:
    """Their names as `kafka-acls.sh` has them, in lower case."""
    return None if operations is None else frozenset(one.name.replace("_", "").lower() for one in operations)


def delete_records(admin: AdminClient, before: Mapping[TopicPartition, int]) -> bool:
    """Delete the records of each partition before an offset; whether the brokers did. Only disk and time are at stake."""
    problems = records_kept(admin, before)
    for partition, problem in problems.items():
        log.warning(
            "the changelog's old records in partition %d of %s could not be deleted, a restart will take longer: %s",
            partition.partition,
            partition.topic,
            told(problem, f"Delete in {partition.topic}"),
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
        raise failed(
            f"cannot tell whether group {group!r} is at work", kafka_error(problem), f"Describe the group {group}"
        ) from problem
    return 0 if described.state == ConsumerGroupState.DEAD else len(described.members)


def _given(answer: "Future[_Answer]") -> _Answer:
    """The answer, once it is there. Raises KafkaException, also where the client does not come back in the time it was given."""
    try:
        return answer.result(_TIMEOUT + 1)
    except TimeoutError:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None  # noqa: SLF001 - its public name

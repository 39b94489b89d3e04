"""The topics: their one definition (`topics.toml`), creating them, and checking the ones that exist."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib import resources
from shlex import quote
from types import MappingProxyType

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException

# These are its documented names; its type hints only forget to re-export them.
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from streams.errors import DeniedError, TopicError
from streams.kafka.admin import has_controller, metadata
from streams.kafka.clients import ClientConfig, admin_config, kafka_error
from streams.kafka.troubles import DOCTOR, told
from streams.pipeline.model_chunks import CHUNK

# Matching needs both halves of a pair, and their changelog, under the same partition number.
CO_PARTITIONED = ("requests", "responses", "pending")
# Every worker must see these messages in the same order.
SINGLE_PARTITION = ("control", "control_status", "models", "quality")
# What no retention may take.
KEPT = ("pending", "control", "models")
# What a worker writes that can be as large as `max_record_bytes`: an input record, wrapped.
WRITTEN = ("pending", "auto_action", "human_review", "dead_letter")
# Where the broker's own time counts, and what hangs on another clock otherwise.
STAMPED = {
    "requests": "timeouts hang on the producers' clocks while a worker catches up",
    "responses": "timeouts hang on the producers' clocks while a worker catches up",
    "control": "whether a control message expired hangs on its issuer's clock",
    "control_status": "a worker cannot tell its own clock from the broker's",
}
BATCH_FRAMING = 1024
"""Bytes that Kafka puts around a record in a batch of one, with room to spare."""


@dataclass(frozen=True)
class Topic:
    """One topic. `key` is its name in the code, `name` its name on the broker, `config` Kafka's topic settings."""

    key: str
    name: str
    partitions: int
    config: Mapping[str, str]
    purpose: str


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of `topics.toml`."""

    name: str
    partitions: int
    purpose: str
    config: dict[str, str]


@cache
def _definition() -> Mapping[str, _Entry]:
    text = resources.files("streams.kafka").joinpath("topics.toml").read_bytes()
    return MappingProxyType(msgspec.toml.decode(text, type=dict[str, _Entry]))


def load_topics(prefix: str = "") -> dict[str, Topic]:
    """Return every topic by its key, `prefix` put before each name (several pipelines can then share a cluster)."""
    return {
        key: Topic(key, prefix + entry.name, entry.partitions, MappingProxyType(entry.config), entry.purpose)
        for key, entry in _definition().items()
    }


def topic_names(topics: Mapping[str, Topic]) -> dict[str, str]:
    """Role -> name on the broker."""
    return {key: topic.name for key, topic in topics.items()}


def create_topics(
    conf: ClientConfig, topics: Mapping[str, Topic], *, replication_factor: int = -1, timeout: float = 30.0
) -> list[str]:
    """Create the topics that are missing, check those that exist, and return the names of the created ones.

    `conf` holds librdkafka's client options, `bootstrap.servers` among them. A replication factor of -1 is the broker's
    default. `timeout` is in seconds. Raises BrokerError if no broker answers, TopicError if a topic can't be created or
    one that existed can't be used.
    """
    existing = _partition_counts(conf, timeout)
    missing = [topic for topic in topics.values() if topic.name not in existing]
    _refuse_denied(conf, missing, timeout)
    created = _create(_admin(conf), missing, replication_factor, timeout) if missing else []
    _await_visible(conf, [topic.name for topic in missing], timeout)
    problems = check_topics(conf, topics, timeout=timeout)
    if problems:
        raise TopicError("\n".join(problems))
    return created


def check_topics(conf: ClientConfig, topics: Mapping[str, Topic], *, timeout: float = 10.0) -> list[str]:
    """Return what is wrong with the topics on the broker, each with its mending; empty if nothing is.

    Only names and partition counts are looked at: plain metadata, which every broker gives. Raises BrokerError if none
    answers within `timeout` seconds, DeniedError for topics that this user may not see.
    """
    bootstrap = _address(conf)
    counts = _partition_counts(conf, timeout)
    _refuse_denied(conf, [topic for topic in topics.values() if topic.name not in counts], timeout)
    return judge_counts(topics, counts, bootstrap)


def judge_counts(topics: Mapping[str, Topic], counts: Mapping[str, int], bootstrap: str) -> list[str]:
    """What is wrong with topics that have so many partitions each (by name; one that is not there is missing), with its mending."""
    problems = _missing([topic for topic in topics.values() if topic.name not in counts], bootstrap)
    co_partitioned = [topics[key].name for key in CO_PARTITIONED if key in topics and topics[key].name in counts]
    problems += _unequal(co_partitioned, counts, bootstrap)
    for key in SINGLE_PARTITION:
        if key in topics and counts.get(topics[key].name, 1) != 1:
            problems.append(_too_many(topics[key], counts[topics[key].name], bootstrap))
    return problems


def existing_partitions(conf: ClientConfig, topics: Mapping[str, Topic], *, timeout: float = 10.0) -> dict[str, range]:
    """The partition numbers of each topic on the broker, by its key. Raises TopicError if one is missing."""
    counts = _partition_counts(conf, timeout)
    missing = [topic for topic in topics.values() if topic.name not in counts]
    _refuse_denied(conf, missing, timeout)
    if missing:
        raise TopicError("\n".join(_missing(missing, _address(conf))))
    return {key: range(counts[topic.name]) for key, topic in topics.items()}


def other_than_wanted(topics: Mapping[str, Topic], counts: Mapping[str, int], bootstrap: str) -> list[str]:
    """Say which topics have another number of partitions than is wanted of them, and how to add some. They are left as they are.

    Any number will do, as long as the co-partitioned topics agree (`check_topics`); so this is no error.
    """
    said = []
    more = [topic for key, topic in topics.items() if counts[key] < topic.partitions]
    if more:
        commands = "; ".join(_add_partitions(bootstrap, topic.name, topic.partitions) for topic in more)
        said.append(
            f"{_listed(topics, counts, more)}, not {more[0].partitions}: left as they are. To add partitions: stop the producers, "
            "wait until nothing is unread and nothing waits (secondlook_lag_records, secondlook_pending_records), stop the "
            f"workers, run {commands} and start them again. More partitions move keys: a request from before and its response "
            "from after would lie in different ones and never meet, and a request that is sent again would be decided again"
        )
    less = [topic for key, topic in topics.items() if counts[key] > topic.partitions]
    if less:
        said.append(
            f"{_listed(topics, counts, less)}, not {less[0].partitions}: left as they are, Kafka can't take partitions away"
        )
    return said


def _listed(topics: Mapping[str, Topic], counts: Mapping[str, int], some: list[Topic]) -> str:
    return ", ".join(f"{topic.name} has {counts[key]} partitions" for key, topic in topics.items() if topic in some)


@dataclass(frozen=True)
class ConfigFindings:
    """What is not as it should be with the topics on the broker, each with its mending."""

    errors: tuple[str, ...] = ()
    """Nothing should run before these are mended: requests would be forgotten, or a worker stopped by one large record."""
    warnings: tuple[str, ...] = ()
    """It works, less well."""


def check_configs(
    conf: ClientConfig, topics: Mapping[str, Topic], *, max_record_bytes: int, timeout: float = 10.0
) -> ConfigFindings:
    """As `check_topics`; where that finds nothing, hold the topics' settings against what the guarantees rely on.

    A changelog that expires forgets requests that still wait, a control log that expires forgets thresholds, and a topic
    that does not take `max_record_bytes` stops a worker. Raises TopicError if the broker does not tell its topics' settings
    (the embedded one doesn't).
    """
    problems = check_topics(conf, topics, timeout=timeout)
    if problems:
        return ConfigFindings(tuple(problems))
    found = [
        judge_settings(topic, actual, _address(conf), max_record_bytes)
        for topic, actual in _told_configs(conf, topics, timeout)
    ]
    return ConfigFindings(
        tuple(text for one in found for text in one.errors), tuple(text for one in found for text in one.warnings)
    )


def judge_settings(
    topic: Topic, actual: Mapping[str, str | None], bootstrap: str, max_record_bytes: int
) -> ConfigFindings:
    """What is not as it should be with one topic that has these settings."""
    errors = [
        f"topic {topic.name} has {name}={actual.get(name)}, but needs {wanted}. Mend it: "
        + _alter(bootstrap, topic, name, wanted)
        for name, wanted in _needed(topic).items()
        if actual.get(name) != wanted
    ]
    warnings = []
    largest, why = _largest_record(topic, max_record_bytes)
    if largest and int(actual.get("max.message.bytes") or 0) < largest + BATCH_FRAMING:
        wanted = max(largest + BATCH_FRAMING, int(topic.config.get("max.message.bytes", 0)))
        errors.append(
            f"topic {topic.name} takes records of {actual.get('max.message.bytes')} bytes, but {why}. Mend it: "
            + _alter(bootstrap, topic, "max.message.bytes", str(wanted))
        )
    if topic.key in STAMPED and actual.get("message.timestamp.type") != "LogAppendTime":
        warnings.append(
            f"topic {topic.name} has message.timestamp.type={actual.get('message.timestamp.type')}: "
            f"{STAMPED[topic.key]}. Mend it: " + _alter(bootstrap, topic, "message.timestamp.type", "LogAppendTime")
        )
    return ConfigFindings(tuple(errors), tuple(warnings))


def _told_configs(
    conf: ClientConfig, topics: Mapping[str, Topic], timeout: float
) -> Iterator[tuple[Topic, dict[str, str | None]]]:
    """Each topic with its settings, as the broker tells them."""
    resources_of = {ConfigResource(ResourceType.TOPIC, topic.name): topic for topic in topics.values()}
    admin = _admin(conf)  # must outlive the answers
    if not has_controller(admin):
        raise TopicError(f"the broker {_address(conf)} did not tell the settings of its topics: it has no controller")
    for resource, answer in admin.describe_configs(list(resources_of), request_timeout=timeout).items():
        topic = resources_of[resource]
        try:
            yield topic, {name: entry.value for name, entry in answer.result(timeout=timeout + 1).items()}
        except KafkaException as error:
            raise TopicError(
                f"the broker {_address(conf)} did not tell the settings of topic {topic.name}: "
                + told(kafka_error(error), f"DescribeConfigs {topic.name}")
            ) from error


def _largest_record(topic: Topic, max_record_bytes: int) -> tuple[int, str]:
    """Bytes of the largest record that is written to the topic, and whence; 0 where that is not ours to say."""
    if topic.key in WRITTEN:
        return max_record_bytes, f"max_record_bytes is {max_record_bytes}: one large record would stop a worker"
    if topic.key == "models":
        return CHUNK, f"a model comes in chunks of {CHUNK}"
    return 0, ""


def _needed(topic: Topic) -> dict[str, str]:
    """Return the settings on which correctness hangs; how long other topics are kept is the operator's business."""
    if topic.key not in KEPT:
        return {}
    return {
        name: topic.config[name]
        for name in ("cleanup.policy", "retention.ms", "retention.bytes")
        if name in topic.config
    }


def _alter(bootstrap: str, topic: Topic, name: str, wanted: str) -> str:
    return (
        f"kafka-configs.sh --bootstrap-server {quote(bootstrap)} --alter --entity-type topics "
        f"--entity-name {topic.name} --add-config {name}={wanted}"
    )


def _address(conf: ClientConfig) -> str:
    return str(conf["bootstrap.servers"])


def _admin(conf: ClientConfig) -> AdminClient:
    return AdminClient(admin_config(conf))


def _partition_counts(conf: ClientConfig, timeout: float) -> dict[str, int]:
    return partition_counts(metadata(conf, timeout))


def partition_counts(cluster: ClusterMetadata) -> dict[str, int]:
    """The partitions of each topic by its name; nothing of one that is only half there: it is being made, or deleted."""
    topics = cluster.topics.items()
    return {name: len(topic.partitions) for name, topic in topics if topic.error is None and topic.partitions}


def denied_topics(conf: ClientConfig, names: Iterable[str], timeout: float) -> list[str]:
    """Those of the names that this user may not Describe: brokers leave them out where nobody asks for them by name."""
    wanted = list(names)
    if not wanted or not has_controller(_admin(conf)):  # the embedded broker would make what it is asked for
        return []
    # A consumer, because brokers may make what an admin client asks for.
    with closing(Consumer({**conf, "group.id": "secondlook-topics"})) as client:
        errors = {name: client.list_topics(name, timeout=timeout).topics[name].error for name in wanted}
    return [
        name
        for name, error in errors.items()
        if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    ]


def _refuse_denied(conf: ClientConfig, missing: list[Topic], timeout: float) -> None:
    """Raise DeniedError where topics only seem to be missing."""
    denied = denied_topics(conf, (topic.name for topic in missing), timeout)
    if denied:
        raise DeniedError(f"this user lacks the right to Describe {', '.join(denied)} {DOCTOR}")


def _create(admin: AdminClient, topics: list[Topic], replication_factor: int, timeout: float) -> list[str]:
    requests = [NewTopic(one.name, one.partitions, replication_factor, config=dict(one.config)) for one in topics]
    created, problems = [], []
    for name, answer in admin.create_topics(requests, request_timeout=timeout).items():
        try:
            answer.result(timeout=timeout + 1)
        except KafkaException as error:
            # Another worker or operator was quicker: its topic is checked like any that existed.
            if kafka_error(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                problems.append(f"topic {name} could not be created: {told(kafka_error(error), f'Create {name}')}")
        else:
            created.append(name)
    if problems:
        raise TopicError("\n".join(problems))
    return created


def _await_visible(conf: ClientConfig, names: list[str], timeout: float) -> None:
    """Wait until every broker's metadata shows the topics: each learns of new ones a little after the controller.

    Whoever comes next may ask any of them. A client's first question goes to the address that it is given.
    """
    deadline = time.monotonic() + timeout
    for address in _brokers(conf, timeout) if names else ():
        own = {**conf, "bootstrap.servers": address}
        while time.monotonic() < deadline:
            counts = _partition_counts(own, timeout)
            if all(counts.get(name) for name in names):
                break
            time.sleep(0.05)


def _brokers(conf: ClientConfig, timeout: float) -> list[str]:
    """The address of each broker, as they tell it."""
    return [f"{broker.host}:{broker.port}" for broker in metadata(conf, timeout).brokers.values()]


def _missing(topics: list[Topic], bootstrap: str) -> list[str]:
    if not topics:
        return []
    listed = ", ".join(topic.name for topic in topics)
    return [f"missing on {bootstrap}: {listed}. Mend it: {create_command(bootstrap, _prefix(topics[0]))}"]


def _prefix(topic: Topic) -> str:
    return topic.name.removesuffix(_definition()[topic.key].name)


def create_command(bootstrap: str, prefix: str) -> str:
    """The command that creates what is missing."""
    return f"secondlook topics create --broker {quote(bootstrap)}" + (f" --topic-prefix {prefix}" if prefix else "")


def delete_command(bootstrap: str, name: str) -> str:
    """The command that deletes a topic, with all that it holds."""
    return f"kafka-topics.sh --bootstrap-server {quote(bootstrap)} --delete --topic {name}"


def _unequal(names: list[str], counts: Mapping[str, int], bootstrap: str) -> list[str]:
    most = max((counts[name] for name in names), default=0)
    small = [name for name in names if counts[name] != most]
    if not small:
        return []
    listed = ", ".join(f"{name} has {counts[name]}" for name in names)
    commands = "; ".join(_add_partitions(bootstrap, name, most) for name in small)
    why = "these topics must have the same number of partitions, because a worker is given the same numbers of each"
    return [f"{why}, but {listed}. Mend it while nothing waits in them (new partitions move keys): {commands}"]


def _add_partitions(bootstrap: str, name: str, count: int) -> str:
    return f"kafka-topics.sh --bootstrap-server {quote(bootstrap)} --alter --topic {name} --partitions {count}"


def _too_many(topic: Topic, count: int, bootstrap: str) -> str:
    return (
        f"topic {topic.name} has {count} partitions, but its messages need one order, so one partition. Kafka can't take "
        "partitions away, and what it holds must be sent again to a new one. Mend it: "
        f"{delete_command(bootstrap, topic.name)} && {create_command(bootstrap, _prefix(topic))}"
    )

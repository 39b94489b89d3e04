"""The questions that a cluster is asked. Each raises what the client or the project raises where there is no answer."""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined] # documented names

from streams.doctor import facts
from streams.doctor.facts import Known, Member, Trial, Unknown
from streams.kafka.admin import allowed_operations, has_controller, operation_names
from streams.kafka.clients import admin_config, base_config, group_name, kafka_error, producer_config
from streams.kafka.clock import BrokerClock
from streams.kafka.control_history import read_history
from streams.kafka.fleet import Fleet, is_split
from streams.kafka.model_topic import read_models
from streams.kafka.reading import read_once, watermarks
from streams.kafka.rights import Kind
from streams.kafka.topics import denied_topics, load_topics
from streams.kafka.troubles import DENIED, SILENT, told
from streams.pipeline.controls import honour
from streams.pipeline.pending import PartitionStore
from streams.settings import Settings
from streams.worker.models import ModelShelf, baseline

if TYPE_CHECKING:
    from concurrent.futures import Future

_T = TypeVar("_T")

_TIMEOUT: Final = 8.0
_GROUPS_AT_ONCE: Final = 200
_UNWRITTEN: Final = Unknown("no record could be written, by which the broker would tell its time")
_UNTOLD: Final = "the broker does not tell what this user may do"
_NO_TRANSACTIONS: Final = frozenset({KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION})  # noqa: SLF001 - public names
_INSTANCE: Final = ":doctor"
"""In the transactional id: no worker can be called so."""
_KEY: Final = b"doctor"
"""Of the record that is written and taken back: no worker's name."""


def denied(settings: Settings, names: Collection[str]) -> list[str]:
    """Those of the topics that do not show which this user may not see."""
    return denied_topics(base_config(settings), names, _TIMEOUT)


def configs(settings: Settings, topics: Mapping[str, str]) -> dict[str, Known[Mapping[str, str | None]]]:
    """The settings of topics, given and returned by key."""
    admin = _admin(settings)
    asked = {ConfigResource(ResourceType.TOPIC, name): key for key, name in topics.items()}
    found: dict[str, Known[Mapping[str, str | None]]] = {}
    for resource, answer in admin.describe_configs(list(asked), request_timeout=_TIMEOUT).items() if asked else ():
        key = asked[resource]
        entries = _known(answer, f"DescribeConfigs {topics[key]}")
        found[key] = entries if isinstance(entries, Unknown) else {name: one.value for name, one in entries.items()}
    return found


def granted(settings: Settings, names: list[str]) -> dict[tuple[Kind, str], Known[frozenset[str]]]:
    """What this user may do with topics, and with the workers' groups: as the brokers reckon it, whoever gave the right."""
    admin = _admin(settings)
    found: dict[tuple[Kind, str], Known[frozenset[str]]] = {}
    for name, operations in allowed_operations(admin, names).items():
        found["topic", name] = Unknown(_UNTOLD) if operations is None else operations
    group = group_name(settings)
    answer = admin.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=_TIMEOUT)[
        group
    ]
    try:
        operations = operation_names(_given(answer).authorized_operations)
        found["group", group] = Unknown(_UNTOLD) if operations is None else operations
    except KafkaException as problem:
        error = kafka_error(problem)
        is_denied = error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        found["group", group] = frozenset() if is_denied else Unknown(told(error))
    return found


class Written(NamedTuple):
    """What became of a record that was written and taken back, and what its stamp says of the clock."""

    transaction: Known[Trial]
    skew: Known[float]


def try_writing(settings: Settings, *, into_topic: bool) -> Written:
    """Open a transaction under an id of the workers', write a record to control-status, and take it back: nobody reads it.

    Where there are no transactions, the record is a tombstone of a key that nobody has. Unless `into_topic`, no record is written: brokers
    would make a topic that is not there.
    """
    exactly_once = settings.delivery == "exactly_once"
    own: dict[str, object] = {}
    if exactly_once:
        own["transactional.id"] = f"{group_name(settings)}:{_INSTANCE}"
        own["transaction.timeout.ms"] = int(settings.transaction_timeout * 1000)
    producer = Producer(producer_config(settings, log_level=0, **own))
    if not exactly_once:
        unused = Unknown("delivery is at_least_once: none is used")
        return Written(unused, _skew(settings, producer) if into_topic else _UNWRITTEN)
    try:
        producer.init_transactions(_TIMEOUT)
        producer.begin_transaction()
    except KafkaException as problem:
        trial = _trial(kafka_error(problem), own["transactional.id"])
        return Written(trial, _UNWRITTEN)
    skew = _skew(settings, producer) if into_topic else _UNWRITTEN
    with suppress(KafkaException):  # the broker does it, after the transaction's timeout
        producer.abort_transaction(_TIMEOUT)
    return Written(Trial(), skew)


def _trial(error: KafkaError, transactional_id: object) -> Known[Trial]:
    if error.code() in SILENT:
        return Unknown(
            f"none was opened within {_TIMEOUT:g} s: does __transaction_state have leaders, and the cluster as many brokers as its "
            "transaction.state.log.replication.factor?"
        )
    return Trial(
        told(error, f"Write the transactional id {transactional_id}"),
        lacks_right=error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        timeout_too_long=error.code() == KafkaError.INVALID_TRANSACTION_TIMEOUT,
        unsupported=error.code() in _NO_TRANSACTIONS,
    )


def _skew(settings: Settings, producer: Producer) -> Known[float]:
    """Seconds that this machine's clock is ahead of the broker's."""
    topic = load_topics(settings.topic_prefix)["control_status"].name
    clock, sent_at = BrokerClock(), time.time()
    problems: list[KafkaError] = []

    def stored(error: KafkaError | None, message: Message) -> None:
        if error is None:
            clock.stamped(*message.timestamp(), sent_at, time.time())
        else:
            problems.append(error)

    producer.produce(topic, None, _KEY, on_delivery=stored)
    producer.flush(_TIMEOUT)
    if problems:
        return Unknown(told(problems[0], f"Write {topic}"))
    if clock.skew is None:
        return Unknown(
            f"{topic} is not stamped by the broker (message.timestamp.type=LogAppendTime), or nobody answered"
        )
    return clock.skew


def most_transaction(settings: Settings) -> float:
    """The longest transaction that the broker allows, in seconds."""
    admin = _admin(settings)
    broker = next(iter(admin.list_topics(timeout=_TIMEOUT).brokers))
    resource = ConfigResource(ResourceType.BROKER, str(broker))
    entries = _given(admin.describe_configs([resource], request_timeout=_TIMEOUT)[resource])
    return int(entries["transaction.max.timeout.ms"].value) / 1000


def members(settings: Settings) -> tuple[Member, ...]:
    """Who is in the workers' group."""
    admin, group = _admin(settings), group_name(settings)  # it must outlive the answers, here and below
    described = _given(admin.describe_consumer_groups([group], request_timeout=_TIMEOUT)[group])
    return tuple(
        Member(one.client_id, one.host, len(one.assignment.topic_partitions) if one.assignment else 0)
        for one in described.members
    )


def others(settings: Settings) -> dict[str, int]:
    """The other groups that read this pipeline's requests, as far as this user may see them."""
    admin, own = _admin(settings), group_name(settings)
    topic = load_topics(settings.topic_prefix)["requests"].name
    listed = _given(admin.list_consumer_groups(request_timeout=_TIMEOUT))
    if listed.errors:
        raise listed.errors[0]  # of a broker that did not list its own
    names = [one.group_id for one in listed.valid if one.group_id != own]
    some = (names[start : start + _GROUPS_AT_ONCE] for start in range(0, len(names), _GROUPS_AT_ONCE))
    answers = (admin.describe_consumer_groups(each, request_timeout=_TIMEOUT).items() for each in some)
    found = {}
    for name, answer in chain.from_iterable(answers):
        described = _known(answer)
        if isinstance(described, Unknown):
            continue
        reading = [
            one
            for one in described.members
            if one.assignment and any(place.topic == topic for place in one.assignment.topic_partitions)
        ]
        if reading:
            found[name] = len(reading)
    return found


def owner(settings: Settings) -> str:
    """The group that the changelog's first partition belongs to; "" where it is nobody's yet."""
    topic = load_topics(settings.topic_prefix)["pending"].name
    low, high = watermarks(settings, topic, [0])[0]
    store = PartitionStore(0, dedup_window=int(settings.dedup_window * 1000))
    for message in read_once(settings, topic, {0: high}, {0: low}, patience=_TIMEOUT):
        store.apply(message.key(), message.value())
    return "" if store.claim is None else store.claim.group


def in_force(settings: Settings) -> facts.InForce:
    """What the control log says, and whether a worker of these settings and models can do it."""
    log = read_history(settings).log
    given = baseline(settings)
    problem = honour(log.content, log.version, given, ModelShelf(settings.model, given.model).find).problem
    named = log.content.model
    lacks = named is not None and problem is not None
    return facts.InForce(
        log.version,
        log.is_whole,
        named,
        problem,
        fetchable=lacks and read_models(settings, [named or ""]).whole(named or "") is not None,
        budgets=any(one.budget is not None for one in log.content.thresholds.values()),
    )


def fleet(settings: Settings) -> facts.Fleet:
    """The workers, as they speak on control-status."""
    with Fleet(settings) as found:
        live = found.live
        workers = tuple(facts.Worker(name, one.control_version, one.cannot) for name, one in live.items())
        return facts.Fleet(workers, tuple(found.gone), is_split(live.values()))


def _admin(settings: Settings) -> AdminClient:
    admin = AdminClient(admin_config(base_config(settings)))
    if not has_controller(admin):
        raise KafkaException(KafkaError(KafkaError._NOT_IMPLEMENTED, "the broker has no controller to ask"))  # noqa: SLF001
    return admin


def _given(answer: "Future[_T]") -> _T:
    return answer.result(_TIMEOUT + 1)


def _known(answer: "Future[_T]", right: str = "") -> Known[_T]:
    try:
        return _given(answer)
    except KafkaException as problem:
        error = kafka_error(problem)
        return Unknown(told(error, right) if error.code() in DENIED else told(error))
    except TimeoutError:
        return Unknown("no answer")

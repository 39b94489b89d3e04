"""The group consumer, behind one typed wrapper: the source need not know of librdkafka's events, error codes and pausing.

The group's callbacks run inside the client's `consume`, so a fetch may bring records of an assignment that ended in it: it
is for the caller to let them go. A new assignment brings nothing before `read_from`.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, TopicPartition

from streams.errors import MembershipError, TopicError
from streams.kafka.client_log import client_log
from streams.kafka.clients import ClientConfig, Consumed, consume, consumer_config, group_name, headers_of
from streams.kafka.cut_off import CutOff, discard
from streams.kafka.troubles import failed, told
from streams.pipeline.assignment import Place
from streams.pipeline.records import REQUESTS, Record
from streams.settings import Settings

log = logging.getLogger(__name__)

_IDLE_WAIT = 0.1
"""Seconds to wait for the first record of a batch: how soon a stop or a timeout is noticed in silence."""
_AT_ONCE = 50
"""Records taken from the client in one call before it is known how large they are."""
_BATCH_BYTES = 4 * 2**20
"""Of values in a batch, after which it is full, whatever `batch_size` says: three of them are in memory at a time, and what others have written and not committed."""


class Members(Protocol):
    """Who is told what the group decides. Called on the consumer's thread, from within `fetch`."""

    def assigned(self, partitions: Mapping[str, frozenset[int]]) -> None:
        """These partitions are ours now, by role; nothing is read from them before `read_from`."""

    def revoked(self) -> None:
        """All partitions must be given up; they are ours until this returns."""

    def lost(self) -> None:
        """All partitions are somebody else's already."""


@dataclass(slots=True)
class Fetched:
    """What one fetch brought."""

    records: list[Record] = field(default_factory=list)
    ends: list[tuple[Place, int]] = field(default_factory=list)
    """Partitions whose readable end was reached, and its offset."""
    out_of_range: list[Place] = field(default_factory=list)
    """Partitions whose log does not hold the offset that comes next: it was cut, deleted by retention, or made anew."""
    is_full: bool = False
    """Whether it took as much as a batch holds, so that there may be more."""


class GroupConsumer:
    """Reads the input topics as a member of the group. Used from one thread, except where a method says otherwise."""

    def __init__(
        self,
        settings: Settings,
        roles: Mapping[str, str],
        members: Members,
        make: Callable[[ClientConfig], Consumer] = Consumer,
    ) -> None:
        self._settings = settings
        self._roles = roles
        self._names = {role: name for name, role in roles.items()}
        self._members = members
        self._client = make({**consumer_config(settings), "on_commit": _warn_of_failure})
        self._cut_off = CutOff(settings, self._names[REQUESTS])
        self._discarded = False

    def join(self) -> None:
        """Join the group; partitions arrive during a later fetch."""
        self._client.subscribe(
            list(self._roles), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def fetch(self) -> Fetched:
        """The next records and events: all that come within the linger after the first, up to a batch.

        Raises MembershipError when this client can be no member any more, TopicError or BrokerError on what else waiting does
        not mend.
        """
        fetched = Fetched()
        room, size = self._settings.batch_size, 0
        messages = consume(self._client, 1, _IDLE_WAIT)
        full = time.monotonic() + self._settings.batch_linger
        while messages:
            for message in messages:
                self._take(message, fetched)
            room -= len(messages)
            size += sum(map(len, messages))
            if room <= 0 or size >= _BATCH_BYTES:
                fetched.is_full = True
                break
            wanted = min(room, _fitting(self._settings.batch_size - room, size))
            messages = consume(self._client, wanted, max(0.0, full - time.monotonic()))
        return fetched

    def read_from(self, offsets: Mapping[Place, int]) -> None:
        """Read on from these offsets; what was fetched ahead is let go."""
        self._client.assign([TopicPartition(self._names[role], number, at) for (role, number), at in offsets.items()])
        self._client.resume(self._partitions(offsets))

    def read_nothing(self) -> None:
        """Read nothing before the next `read_from`; what was fetched ahead is let go. The group is not left."""
        self._client.assign([])

    def hold(self, places: Collection[Place]) -> None:
        """Read nothing from these partitions until they are released."""
        if places:
            self._client.pause(self._partitions(places))

    def release(self, places: Collection[Place]) -> None:
        """Read these partitions again."""
        if places:
            self._client.resume(self._partitions(places))

    def membership(self) -> object:
        """What the broker fences an earlier member by."""
        return self._client.consumer_group_metadata()

    def commit(self, offsets: list[TopicPartition]) -> None:
        """Commit offsets without waiting for the answer."""
        self._client.commit(offsets=offsets, asynchronous=True)

    def is_cut_off(self) -> bool:
        """Whether this client can reach no broker any more: to be asked again and again while nothing comes."""
        return self._cut_off.look(self._client)

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self._client.close()

    def discard(self) -> None:
        """Leave the group, if that is possible, without waiting for it. The members are told nothing more."""
        self._discarded = True  # leaving calls back, on another thread, when the next client may have an assignment
        discard(self._client.close)

    def _partitions(self, places: Iterable[Place]) -> list[TopicPartition]:
        return [TopicPartition(self._names[role], number) for role, number in places]

    def _take(self, message: Consumed, fetched: Fetched) -> None:
        error = message.error()
        if error is not None:
            self._event(message, error, fetched)
            return
        kind, timestamp = message.timestamp()
        headers, unreadable = None, False
        try:
            headers = headers_of(message)
        except UnicodeDecodeError:
            unreadable = True
        fetched.records.append(
            Record(
                self._roles[message.topic()],
                message.partition(),
                message.offset(),
                timestamp,
                message.key(),
                message.value(),
                headers,
                appended=kind == TIMESTAMP_LOG_APPEND_TIME,
                headers_unreadable=unreadable,
            )
        )

    def _event(self, message: Consumed, error: KafkaError, fetched: Fetched) -> None:
        """The end of a partition, a position that is not there, or an error that waiting may or may not mend."""
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            fetched.ends.append(((self._roles[message.topic()], message.partition()), message.offset()))
        elif code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - likewise
            fetched.out_of_range.append((self._roles[message.topic()], message.partition()))
        elif code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicError(f"{error.str()}: secondlook topics create --broker {self._settings.broker}")
        elif code == KafkaError._FATAL:  # noqa: SLF001 - likewise; `fatal()` is not set on it
            raise MembershipError(_fatal_text(error))
        elif code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise failed("cannot consume", error, f"Read {message.topic()}")
        elif code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise failed("cannot consume", error, f"Read the group {group_name(self._settings)}")
        else:
            client_log.warning("kafka: %s", told(error), extra={"code": error.name()})

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        # Where it goes on is known when the stores are restored. Any place given until then could win in the end: the client
        # may ask the broker for it later, once it knows the leader, and go there from wherever it reads by that time.
        consumer.assign([])
        if self._discarded:
            return
        self._members.assigned(
            {
                role: frozenset(one.partition for one in assigned if self._roles[one.topic] == role)
                for role in self._roles.values()
            }
        )

    def _on_revoke(self, _consumer: Consumer, _revoked: list[TopicPartition]) -> None:
        if not self._discarded:
            self._members.revoked()

    def _on_lost(self, _consumer: Consumer, _lost: list[TopicPartition]) -> None:
        if not self._discarded:
            self._members.lost()


def _fatal_text(error: KafkaError) -> str:
    text = f"cannot consume any more: {error.str()}"
    return f"{text}; give each worker an instance_id of its own" if "group.instance.id" in error.str() else text


def _fitting(taken: int, size: int) -> int:
    """How many more records fill a batch, going by those taken: each call into the client waits for the interpreter's lock."""
    return _AT_ONCE if taken < _AT_ONCE else 1 + (_BATCH_BYTES - size) * taken // max(size, 1)


def _warn_of_failure(error: KafkaError | None, _offsets: list[TopicPartition]) -> None:
    if error is not None:
        log.warning("offsets were not committed, their records may come again: %s", error.str())

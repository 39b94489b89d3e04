"""The source: the group consumer, its partitions, and the batches that it hands on.

Every call to the consumer runs on one thread of its own; everything that touches the stores runs on the event loop.
A rebalance works in the consumer's callbacks: on revocation the batches in flight are waited for, on assignment the
stores are rebuilt from the changelog before the first record is read.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import BrokerError, TopicError
from streams.kafka.clients import Consumed, consumer_config, kafka_error
from streams.kafka.positions import Position
from streams.kafka.restore import read_changelog
from streams.pipeline.matching import Matcher
from streams.pipeline.pending import PartitionStore
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from streams.pipeline.stages import Polled, Ticket
from streams.settings import Settings
from streams.worker.flow import Flow

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Read: TypeAlias = tuple[list[Record], dict[tuple[str, int], int], dict[tuple[str, int], int]]
"""Records, next offsets and frontiers."""
_IDLE_WAIT = 0.1
"""Seconds to wait for the first record of a batch: how soon a stop or a timeout is noticed in silence."""
_PROBE_EVERY = 0.5
"""Seconds between two questions to the broker where the partitions end."""
_PROBE_TIMEOUT = 1.0


class Source:
    """Reads requests and responses, co-partitioned, as one batch after the other."""

    def __init__(self, settings: Settings, names: Mapping[str, str], matcher: Matcher, flow: Flow) -> None:
        self._settings = settings
        self._names = names
        self._roles = {names[REQUESTS]: REQUESTS, names[RESPONSES]: RESPONSES}
        self._matcher = matcher
        self._flow = flow
        self._thread = ThreadPoolExecutor(1, "source")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: Any = None
        self._epoch = 0
        self._paused: frozenset[str] = frozenset()
        self._rejoin = False
        self.positions: dict[tuple[str, int], Position] = {}
        self.consumer = Consumer({**consumer_config(settings), "on_commit": _warn_of_failure})
        self.rebalances = 0
        self.restoring = False
        self._lag_since: float | None = None
        self._probe_at = 0.0
        self._uncommitted: deque[list[TopicPartition]] = deque()

    @property
    def behind_for(self) -> float:
        """Seconds since there last was nothing left to read; 0 when there is nothing."""
        since = self._lag_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def waits(self) -> bool:
        """Whether records are left unread on purpose: a restart would only begin a restore again, or fill up again."""
        return self.restoring or bool(self._paused)

    @property
    def joined(self) -> bool:
        """Whether the group has dealt this worker its share (which is empty where workers outnumber partitions)."""
        return self._epoch > 0

    @property
    def paused(self) -> frozenset[str]:
        """The roles whose partitions are held back because the pending store is full."""
        return self._paused

    async def start(self) -> None:
        """Join the group; partitions arrive with a later poll."""
        self._loop = asyncio.get_running_loop()
        await self._call(self._subscribe)

    async def poll(self) -> Polled | None:
        """The next batch, or None when there is nothing to do. Raises BrokerError or TopicError when it can't go on."""
        polled = await self._call(self._poll)
        if polled is None:
            return None
        records, offsets, frontiers = polled
        ticket = Ticket(self._flow.next_sequence(), self._epoch, offsets, self._group, time.monotonic())
        return Polled(ticket, records, frontiers)

    def rejoin(self) -> None:
        """Give up all partitions and read them anew from what is committed: an aborted batch is redone this way."""
        self._rejoin = True

    def commit_offsets(self, offsets: list[TopicPartition]) -> None:
        """Have the consumer's thread commit these offsets; from any thread, and without waiting.

        Another thread's call would wait for the consumer's own, which may itself wait for the batch in a rebalance.
        """
        self._uncommitted.append(offsets)

    async def close(self) -> None:
        """Leave the group, so that others take over at once."""
        await self._call(self._close)
        self._thread.shutdown(wait=False)

    async def _call(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _on_loop(self, work: Coroutine[Any, Any, _T], timeout: float) -> _T:
        """Run a coroutine on the event loop, from the consumer's thread."""
        if self._loop is None:
            raise RuntimeError("the source has not been started")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    # -- on the consumer's thread -------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        self.consumer.subscribe(
            list(self._roles), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _close(self) -> None:
        self._commit()
        self.consumer.close()

    def _commit(self) -> None:
        """Commit what has been handed over; a commit that fails repeats records, no more."""
        latest: dict[tuple[str, int], TopicPartition] = {}
        while self._uncommitted:
            latest |= {(one.topic, one.partition): one for one in self._uncommitted.popleft()}
        if latest:
            self.consumer.commit(offsets=list(latest.values()), asynchronous=True)

    def _poll(self) -> _Read | None:
        self._commit()
        if self._rejoin:
            self._rejoin = False
            self.consumer.unsubscribe()
            self._subscribe()
        self._hold_back()
        messages = self.consumer.consume(1, timeout=_IDLE_WAIT)
        if messages:
            messages += self.consumer.consume(self._settings.batch_size - 1, timeout=self._settings.batch_linger)
        records = [record for message in messages if (record := self._accept(message)) is not None]
        if not self.positions:
            return None
        self._probe()
        return self._batch(records)

    def _accept(self, message: Consumed) -> Record | None:
        """The record in a message; None for events, and for records of an earlier assignment that come again."""
        error = message.error()
        if error is not None:
            self._event(message, error)
            return None
        topic, partition, offset = self._roles[message.topic()], message.partition(), message.offset()
        position = self.positions.get((topic, partition))
        if position is None or offset < position.next_offset:
            return None
        position.next_offset = offset + 1
        position.read_until = timestamp = message.timestamp()[1]
        return Record(topic, partition, offset, timestamp, message.key(), message.value(), message.headers())

    def _event(self, message: Consumed, error: KafkaError) -> None:
        """An event among the messages: the end of a partition, or an error that waiting may or may not mend."""
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            position = self.positions.get((self._roles[message.topic()], message.partition()))
            if position is not None:  # a transaction's marker takes an offset that no record has
                position.next_offset = max(position.next_offset, message.offset())
        elif code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicError(f"{error.str()}: secondlook topics create --broker {self._settings.broker}")
        elif code == KafkaError._FATAL:  # noqa: SLF001 - its public name; `fatal()` is not set on it
            raise BrokerError(_fatal_text(error))
        elif code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
            raise BrokerError(f"cannot consume: {error.str()}")
        else:
            log.warning("kafka: %s", error.str(), extra={"code": error.name()})

    def _probe(self) -> None:
        now = time.monotonic()
        if now >= self._probe_at:
            self._ask_for_ends()
            self._probe_at = now + _PROBE_EVERY
        for position in self.positions.values():
            position.advance()
        if not any(position.lag for position in self.positions.values()):
            self._lag_since = None
        elif self._lag_since is None:
            self._lag_since = now
        if len(self._paused) == len(self._roles):
            # Both sides are full: only timeouts can make room, so they must not wait for what is not being read.
            for position in self.positions.values():
                position.frontier = int(time.time() * 1000)

    def _ask_for_ends(self) -> None:
        asked_at = int(time.time() * 1000)
        wanted = [TopicPartition(self._names[role], partition, OFFSET_END) for role, partition in self.positions]
        try:
            answers = self.consumer.offsets_for_times(wanted, timeout=_PROBE_TIMEOUT)
        except KafkaException:  # the broker is away: nothing times out that it may hold an answer to
            return
        for answer in answers:
            if answer.error is None:
                self.positions[self._roles[answer.topic], answer.partition].probed(answer.offset, asked_at)

    def _batch(self, records: list[Record]) -> _Read | None:
        waiting = self._matcher.waiting_requests or self._matcher.waiting_responses
        if not records and (self._flow.in_flight or not waiting):
            return None
        touched = {(record.source, record.partition) for record in records}
        offsets = {key: self.positions[key].next_offset for key in touched}
        return records, offsets, {key: position.frontier for key, position in self.positions.items()}

    def _hold_back(self) -> None:
        """Pause a side whose waiting room is full: Kafka keeps its records until there is room."""
        settings, matcher = self._settings, self._matcher
        full = set()
        if matcher.waiting_requests >= settings.max_pending or matcher.waiting_bytes >= settings.max_pending_bytes:
            full.add(REQUESTS)
        if matcher.waiting_responses >= settings.max_pending:
            full.add(RESPONSES)
        for role in full - self._paused:
            log.warning("%s paused: the pending store is full", role)
            self.consumer.pause(self._owned(role))
        for role in self._paused - full:
            self.consumer.resume(self._owned(role))
        self._paused = frozenset(full)

    def _owned(self, role: str) -> list[TopicPartition]:
        return [TopicPartition(self._names[role], partition) for owner, partition in self.positions if owner == role]

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self.restoring = True
        try:
            self._assign(consumer, assigned)
        finally:
            self.restoring = False

    def _assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self.rebalances += 1
        partitions = {
            role: {tp.partition for tp in assigned if self._roles[tp.topic] == role} for role in self._roles.values()
        }
        if partitions[REQUESTS] != partitions[RESPONSES]:
            raise TopicError(
                f"partitions {sorted(partitions[REQUESTS])} of {self._names[REQUESTS]} came with partitions "
                f"{sorted(partitions[RESPONSES])} of {self._names[RESPONSES]}: both topics need the same number of "
                "partitions, and every member of the group must be a secondlook worker"
            )
        committed = self._committed(consumer, assigned)
        stores = {
            partition: self._matcher.restore(partition, entries)
            for partition, entries in read_changelog(
                self._settings, self._names["pending"], sorted(partitions[REQUESTS])
            ).items()
        }
        self._on_loop(self._take_over(stores), self._settings.drain_timeout)
        self.positions = {(self._roles[tp.topic], tp.partition): Position(max(tp.offset, 0)) for tp in committed}
        self._paused = frozenset()
        self._probe_at = 0.0
        self._group = consumer.consumer_group_metadata()
        consumer.assign(committed)
        log.info("assigned", extra={"partitions": sorted(partitions[REQUESTS]), "epoch": self._flow.epoch})

    def _committed(self, consumer: Consumer, assigned: list[TopicPartition]) -> list[TopicPartition]:
        """Where to go on. Waits while a transaction that a dead worker left open may still move these offsets."""
        deadline = time.monotonic() + 4 * self._settings.transaction_timeout
        while True:
            try:
                committed = consumer.committed(assigned, timeout=5)
                failed = next((tp.error for tp in committed if tp.error is not None), None)
                if failed is None:
                    return [
                        TopicPartition(tp.topic, tp.partition, tp.offset if tp.offset >= 0 else OFFSET_BEGINNING)
                        for tp in committed
                    ]
                problem = failed
            except KafkaException as exception:
                problem = kafka_error(exception)
            if time.monotonic() > deadline:
                raise BrokerError(f"cannot read the committed offsets: {problem.str()}")
            time.sleep(0.2)

    def _on_revoke(self, _consumer: Consumer, revoked: list[TopicPartition]) -> None:
        try:
            self._on_loop(self._flow.drained(), self._settings.drain_timeout)
        except TimeoutError:
            log.warning("batches in flight were not committed in time: whoever gets the partitions redoes them")
        self._commit()
        self._let_go()
        log.info("revoked", extra={"partitions": sorted({tp.partition for tp in revoked})})

    def _on_lost(self, _consumer: Consumer, lost: list[TopicPartition]) -> None:
        self._uncommitted.clear()
        self._let_go()
        log.warning("lost", extra={"partitions": sorted({tp.partition for tp in lost})})

    def _let_go(self) -> None:
        self.positions = {}
        self._lag_since = None
        self._on_loop(self._take_over({}), self._settings.drain_timeout)

    async def _take_over(self, stores: dict[int, PartitionStore]) -> None:
        """Replace the stores and begin a new epoch: batches of the old one will not be committed."""
        self._epoch = self._flow.new_epoch()
        self._matcher.stores = stores


def _fatal_text(error: KafkaError) -> str:
    text = f"cannot consume any more: {error.str()}"
    return f"{text}; give each worker an instance_id of its own" if "group.instance.id" in error.str() else text


def _warn_of_failure(error: KafkaError | None, _offsets: list[TopicPartition]) -> None:
    if error is not None:
        log.warning("offsets were not committed, their records may come again: %s", error.str())

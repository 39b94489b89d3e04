"""The sink's two ways of making batches durable, together. Blocking; used from one thread, but for `close` and `leave_behind`.

Exactly once: (1) begin, (2) send the consumed offsets, (3) produce everything, (4) commit. A crash before (4)
leaves nothing visible, and they are read again; after (4) they are done. At least once: (1) produce and flush decisions,
vectors and dead letters, (2) produce and flush the changelog, (3) commit the offsets. A crash before (3) repeats them.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import NoReturn, Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.errors import DeliveryError, DeliveryStopped
from streams.kafka.calls import LeftBehind
from streams.kafka.clients import ClientConfig, group_name, kafka_error, producer_config, transactional_id
from streams.kafka.cut_off import CUT_OFF, CutOff
from streams.kafka.troubles import DENIED, told
from streams.pipeline.records import Output
from streams.pipeline.stages import Outbox
from streams.settings import Settings

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_WARN_EVERY = 5.0
_CALL_TIMEOUT = 1.0
"""Seconds a call into librdkafka may block: short, so that a worker told to stop can."""
_PATIENCE = 5.0
"""Seconds after which a call counts as hung: librdkafka does not always keep to the timeout that it is given."""

_PERMANENT = frozenset(
    {
        *DENIED,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - its public name
    }
)
"""Errors that the same batch would meet again: redoing it would go round for ever."""
_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})  # noqa: SLF001
_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001 - its public name
"""What the client says of records that it let go because of something else: never the cause."""
_MOST_REPLACED = 5
_REPLACED_WITHIN = 60.0
"""Producers given up within so many seconds, after which another one is not going to help."""
_MOST_LEFT_BEHIND = 20
"""Producers left behind in a call that hangs, after which the process must end to be rid of them."""


class BatchAborted(Exception):  # noqa: N818 - a signal to the sink, never seen outside
    """The batch was taken back whole; reading it again from the last committed offsets redoes it."""


class Delivery(Protocol):
    """Makes a batch durable, whole."""

    def start(self) -> None:
        """Get ready to deliver; waits for the broker."""

    def deliver(self, *batches: Outbox) -> None:
        """Write and commit batches of one assignment, in their order: all of them, or none.

        Raises BatchAborted when it must be redone, DeliveryStopped after `close`, DeliveryError when the worker must stop.
        """

    def commit(self, outputs: Iterable[Output], offsets: list[TopicPartition], group: object) -> None:
        """Write records, and commit offsets of a group with them. Raises as `deliver` does."""

    @property
    def replaced(self) -> int:
        """Producers given up so far."""

    @property
    def waiting(self) -> bool:
        """Whether it waits for a broker that is away."""

    def leave_behind(self) -> bool:
        """Give up the call that the delivering thread is in, if it hangs; from any thread. Then `recover`, on another one.

        The call's thread raises LeftBehind when it comes back.
        """

    def recover(self) -> BatchAborted:
        """Have another producer take over from one that was left behind. Raises as `deliver` does."""

    def close(self) -> None:
        """Let go of the broker; never waits long."""


class _Producing:
    """What both ways share: a producer, topic names, and patience with a broker that is away."""

    def __init__(self, settings: Settings, config: ClientConfig, names: Mapping[str, str]) -> None:
        self._config = {**config, "delivery.report.only.error": True}
        self._names = names
        self._group = group_name(settings)
        self._cut_off = CutOff(settings, next(iter(names.values())))
        self._stopping = threading.Event()
        self._failed: KafkaError | None = None
        self._failed_topic = ""
        self._replaced: list[float] = []
        self._replacements = 0
        self._left_behind = 0
        self._waiting = False
        self._call_began: float | None = None
        self._call_lock = threading.Lock()
        self._producer = self._made()

    @property
    def waiting(self) -> bool:
        """See `Delivery`."""
        return self._waiting

    @property
    def replaced(self) -> int:
        """See `Delivery`."""
        return self._replacements

    def start(self) -> None:
        """Nothing to open, unless there are transactions."""

    def leave_behind(self) -> bool:
        """See `Delivery`."""
        with self._call_lock:
            began = self._call_began
            hangs = began is not None and time.monotonic() - began > _PATIENCE
            if hangs:
                self._left_behind += 1
                self._call_began = None
        return hangs

    def recover(self) -> BatchAborted:
        """See `Delivery`."""
        text = f"a call into the Kafka client has hung for {_PATIENCE:g} s"
        if self._left_behind > _MOST_LEFT_BEHIND:
            raise DeliveryError(f"{text}, as {_MOST_LEFT_BEHIND} calls before it: a restart is rid of them")
        self._replace(KafkaError(KafkaError._FATAL, text, fatal=True))  # noqa: SLF001 - its public name
        return BatchAborted(text)

    def close(self) -> None:
        """Stop waiting for the broker, wherever the delivering thread is."""
        self._stopping.set()

    def _made(self) -> Producer:
        """A producer that tells of records it could not write, as long as no other one has taken its place."""
        number = self._replacements

        def on_failure(error: KafkaError | None, message: Message) -> None:
            if (
                error is not None
                and number == self._replacements
                and (self._failed is None or self._failed.code() in _PURGED)
            ):
                self._failed, self._failed_topic = error, message.topic() or ""

        return Producer({**self._config, "on_delivery": on_failure})

    def _replace(self, cause: KafkaError) -> None:
        """Give up a producer that the client declared dead, or that hangs; its successor fences it and aborts what it left open.

        Raises DeliveryError when that does not help.
        """
        now = time.monotonic()
        self._replaced = [at for at in self._replaced if now - at < _REPLACED_WITHIN] + [now]
        if len(self._replaced) > _MOST_REPLACED:
            raise DeliveryError(_fatal_text(cause))
        log.warning(
            "the producer cannot go on, another one takes its place: %s", cause.str(), extra={"code": cause.name()}
        )
        self._replacements += 1
        self._producer = self._made()
        self._failed = None
        self.start()

    def _cause(self, error: KafkaError) -> KafkaError:
        """What lies behind an error: a commit says only that records failed, their delivery reports say why."""
        with suppress(KafkaException):  # raised once the producer is dead, which the error says already
            self._producer.poll(0)
        return self._failed or error

    def _refused_text(self, error: KafkaError) -> str:
        right = f"Write {self._failed_topic}" if self._failed_topic and error is self._failed else ""
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            right = f"Read the group {self._group}"
        if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            right = f"Write the transactional ids of group {self._group}"
        return (
            f"the broker refuses the batch: {told(error, right)}; it is not committed and comes again after the restart"
        )

    def _produce(self, outputs: Iterable[Output]) -> None:
        produce, names = self._producer.produce, self._names
        for one in outputs:
            while True:
                try:
                    if one.headers or one.partition is not None:
                        number = -1 if one.partition is None else one.partition
                        produce(names[one.topic], one.value, one.key, number, headers=one.headers)  # type: ignore[arg-type] # list is invariant
                    else:  # nearly all, and half the time of the call above
                        produce(names[one.topic], one.value, one.key)
                    break
                except BufferError:
                    self._refuse_when_stopping()
                    self._producer.poll(0.05)

    def _refuse_when_stopping(self) -> None:
        if self._stopping.is_set():
            raise DeliveryStopped("stopped while the broker was away; the batch in flight is redone after the restart")

    def _refuse_cut_off(self) -> None:
        """The broker seems to be away. Raises BatchAborted, with another producer in place, when that is this client's affair."""
        if self._timed(lambda: self._cut_off.look(self._producer)):
            self._replace(KafkaError(KafkaError._FATAL, CUT_OFF, fatal=True))  # noqa: SLF001 - its public name
            raise BatchAborted(CUT_OFF)

    def _timed(self, call: Callable[[], _Result]) -> _Result:
        """Make a call, and let `leave_behind` see how long it takes. Raises LeftBehind where that was too long."""
        left_behind = self._left_behind
        self._call_began = time.monotonic()
        try:
            return call()
        finally:
            with self._call_lock:
                if left_behind != self._left_behind:
                    raise LeftBehind
                self._call_began = None

    def _patiently(self, call: Callable[[], object]) -> None:
        """Repeat a call while the broker is merely away; everything else is for the caller to judge."""
        warned = time.monotonic()
        while True:
            try:
                self._timed(call)
            except KafkaException as problem:
                if not kafka_error(problem).retriable():
                    self._waiting = False
                    raise
                self._waiting = True
                self._refuse_when_stopping()
                if time.monotonic() - warned > _WARN_EVERY:
                    warned = time.monotonic()
                    log.warning("waiting for the broker: %s", told(kafka_error(problem)))
                self._refuse_cut_off()
                time.sleep(0.05)
            else:
                self._waiting = False
                return


class ExactlyOnce(_Producing):
    """One transaction for the batches of a call, consumed offsets included.

    A producer is fenced by another process under its name, but also by the broker when it let a transaction stand for too
    long, as an outage makes it do. So it is replaced, unless `fenced_is_final`; of two workers under one name the group ends one.
    """

    def __init__(self, settings: Settings, names: Mapping[str, str], *, fenced_is_final: bool = False) -> None:
        self._fenced_is_final = fenced_is_final
        timeout = int(settings.transaction_timeout * 1000)
        self._id = transactional_id(settings)
        config = producer_config(settings, **{"transactional.id": self._id, "transaction.timeout.ms": timeout})
        super().__init__(settings, config, names)

    def start(self) -> None:
        """Fence and abort whatever an earlier life of this instance left open."""
        try:
            self._patiently(lambda: self._producer.init_transactions(_CALL_TIMEOUT))
        except KafkaException as problem:
            error = kafka_error(problem)
            if error.code() == KafkaError.INVALID_TRANSACTION_TIMEOUT:
                hint = "transaction_timeout is above what the broker allows (its transaction.max.timeout.ms)"
            elif error.code() in DENIED:
                text = told(error, f"Write the transactional id {self._id}")
                raise DeliveryError(f"cannot open transactions: {text}") from problem
            elif error.code() in _FENCED:
                hint = "give each worker an instance_id of its own"
            else:
                hint = "a broker without transactions needs delivery = at_least_once"
            raise DeliveryError(f"cannot open transactions as {self._id!r}: {error.str()}; {hint}") from problem

    def deliver(self, *batches: Outbox) -> None:
        """See the module's numbered steps."""
        written = chain.from_iterable(chain(one.outputs, one.changelog) for one in batches)
        self.commit(written, _offsets(batches, self._names), batches[-1].ticket.assignment.group)

    def commit(self, outputs: Iterable[Output], offsets: list[TopicPartition], group: object) -> None:
        """Steps 1 to 4."""
        self._failed = None  # what an aborted batch left unsent is reported as failed too: it says nothing of this one
        try:
            self._patiently(self._producer.begin_transaction)
            # First, because of the client: while the broker is still ending the transaction before, offsets are sent again after
            # `retry.backoff.ms`, but records that meet it wait 20 ms.
            if offsets:
                self._patiently(lambda: self._producer.send_offsets_to_transaction(offsets, group, _CALL_TIMEOUT))
            self._produce(outputs)
            self._patiently(lambda: self._producer.commit_transaction(_CALL_TIMEOUT))
        except DeliveryStopped:
            with suppress(KafkaException):  # readers would have to wait for the broker to time it out
                self._timed(lambda: self._producer.abort_transaction(_CALL_TIMEOUT))
            raise
        except KafkaException as problem:
            cause = self._cause(kafka_error(problem))
            self._take_back(kafka_error(problem), cause)
            if cause.code() in _PERMANENT:
                raise DeliveryError(self._refused_text(cause)) from problem
            raise BatchAborted(cause.str()) from problem

    def _take_back(self, error: KafkaError, cause: KafkaError) -> None:
        """Abort the transaction; a producer that can't any more is replaced, which aborts it too."""
        log.warning("transaction aborted: %s", cause.str(), extra={"code": cause.name()})
        if not error.fatal():
            try:
                self._patiently(lambda: self._producer.abort_transaction(_CALL_TIMEOUT))
            except KafkaException as problem:
                error = kafka_error(problem)
            else:
                return
        if error.code() in _FENCED and self._fenced_is_final:
            raise DeliveryError(_fatal_text(error))
        self._replace(error)


class AtLeastOnce(_Producing):
    """Flush, then commit the offsets, which `commit_offsets` does for the consumer's group."""

    def __init__(
        self, settings: Settings, names: Mapping[str, str], commit_offsets: Callable[[list[TopicPartition]], object]
    ) -> None:
        # Records wait for a broker that is away; by default they would fail after five minutes, and the worker with them.
        super().__init__(settings, {"message.timeout.ms": 0, **producer_config(settings)}, names)
        self._commit_offsets = commit_offsets

    def deliver(self, *batches: Outbox) -> None:
        """See the module's numbered steps."""
        self._write(chain.from_iterable(one.outputs for one in batches))
        # Only now: a delta that outlived a crash which its decisions did not would lose requests.
        changelog = chain.from_iterable(one.changelog for one in batches)
        self.commit(changelog, _offsets(batches, self._names), batches[-1].ticket.assignment.group)

    def commit(self, outputs: Iterable[Output], offsets: list[TopicPartition], group: object) -> None:  # noqa: ARG002 - the consumer knows its group
        """Steps 2 and 3."""
        self._write(outputs)
        if not offsets:
            return
        self._commit_offsets(offsets)

    def _write(self, outputs: Iterable[Output]) -> None:
        """Produce and flush."""
        self._failed = None
        try:
            self._produce(outputs)
            while self._timed(lambda: self._producer.flush(_CALL_TIMEOUT)):
                self._waiting = True
                self._refuse_when_stopping()
                self._refuse_cut_off()
        except KafkaException as problem:
            self._judge(self._cause(kafka_error(problem)))
        finally:
            self._waiting = False
        if self._failed is not None:
            self._judge(self._failed)

    def _judge(self, error: KafkaError) -> NoReturn:
        """What could not be written is written again, unless the broker would refuse it again."""
        if error.code() in _PERMANENT:
            raise DeliveryError(self._refused_text(error))
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 - its public name
            self._replace(error)
        raise BatchAborted(error.str())


def _offsets(batches: Sequence[Outbox], names: Mapping[str, str]) -> list[TopicPartition]:
    """How far these batches have read; where they have read nothing, an offset that is reached already."""
    last = batches[-1].ticket
    reached = {place: offset for one in batches for place, offset in one.ticket.offsets.items()}
    return [
        TopicPartition(names[source], partition, offset, last.assignment.notes[partition])
        for (source, partition), offset in (reached or last.standing).items()
    ]


def _fatal_text(error: KafkaError) -> str:
    if error.code() in _FENCED:
        return f"another process took over this one's transactions: {error.str()}; give each worker an instance_id of its own"
    return f"the batch in flight can be neither committed nor aborted: {error.str()}; a restart redoes it"

"""What each worker says of itself on control-status: at every change, and every few seconds, so that its silence means something.

The record's key is the worker's name, so that compaction leaves the last word of each.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Final, NamedTuple, Self, TypeAlias

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from streams.kafka.client_log import client_log
from streams.kafka.clients import base_config
from streams.kafka.clock import BrokerClock
from streams.kafka.troubles import DENIED, told
from streams.pipeline.budget import Finding
from streams.pipeline.control_fields import MOST_EXACT
from streams.pipeline.quality.judging import Alert, Figures
from streams.pipeline.scope import Scope
from streams.settings import Settings

ALIVE_EVERY: Final = 3.0
"""Seconds after which a worker speaks again though nothing has changed."""
STOPPED: Final = "stopped"
MOST_MODELS: Final = 50
"""Models that a worker names, the newest first."""
MOST_POLICIES: Final = 1_000
MOST_PARTITIONS: Final = 1_000
MOST_STAGES: Final = 20
MOST_BUDGETS: Final = 100
MOST_ALERTS: Final = 50
MOST_FIGURES: Final = 10
"""Policies and LLMs whose live quality is told, those with most audits first."""
_LONGEST_TEXT = 500
_Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=-1, le=MOST_EXACT)]
_RENEWED_AFTER = 30.0
"""Seconds without a word being stored, after which another client tries."""


class Prepared(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the `prepare_model` at an offset: the worker is ready for it, or why it could not honour the model."""

    offset: _Whole
    sha256: str
    problem: str | None = None


class ShadowStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """The shadow that is set: its model, and why the worker leaves it out, if it does."""

    model: str | None = None
    problem: str | None = None


class BudgetStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a review budget stands, by the worker that moves its threshold."""

    policy: str
    tenant: str
    outcome: str
    state: str
    wanted: float
    decisions: _Whole
    share: float | None = None
    measured: float | None = None

    @classmethod
    def of(cls, scope: Scope, found: Finding) -> Self:
        """From what the worker found."""
        return cls(*scope, found.state, found.wanted, found.count, _rounded(found.share), _rounded(found.measured))


class PendingStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What waits in this worker for its other half: records, and for how many seconds the oldest has (absent: none waits)."""

    requests: _Whole
    responses: _Whole
    oldest: float | None = None


class Work(NamedTuple):
    """What a worker works on: its partitions, whether it is still taking some over, what waits in it (None: not known yet).

    `busy` is the share of the last seconds in which each of its stages was at work.
    """

    partitions: Sequence[int]
    restoring: bool
    pending: PendingStatus | None
    busy: Mapping[str, float] | None = None


NO_WORK: Final = Work((), False, None)


class WorkerStatus(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One worker's word. What an older worker does not say has a default that counts as not being there yet."""

    worker: str
    event: str
    at: str
    group: str = ""
    control_version: _Whole
    position: _Whole = -1
    hash: str = ""
    settings_hash: str = ""
    honoured: bool | None = None
    problem: str | None = None
    offset: _Whole | None = None
    error: str | None = None
    model: str | None = None
    settings_model: str = ""
    settings_threshold: float | None = None
    models: Sequence[str] = ()
    prepared: Prepared | None = None
    shadow: ShadowStatus | None = None
    policies: Sequence[str] = ()
    budgets: Sequence[BudgetStatus] = ()
    alerts: Sequence[Alert] = ()
    quality: Sequence[Figures] = ()
    partitions: Sequence[int] | None = None
    restoring: bool | None = None
    pending: PendingStatus | None = None
    busy: Annotated[Mapping[str, _Share], msgspec.Meta(max_length=MOST_STAGES)] | None = None
    snapshot: _Whole = -1
    """The offset of the last snapshot in the control log that it agrees with; -1: none yet."""

    @property
    def cannot(self) -> str | None:
        """Why it does not do what the log says, if it doesn't."""
        if self.honoured is None:
            return "it is of a version that does not say what it has in force"
        return None if self.honoured else self.problem or "it does not say why"

    @property
    def leaves_out(self) -> str | None:
        """Why it leaves the shadow out, if it does."""
        return None if self.shadow is None else self.shadow.problem


encode_status = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(WorkerStatus)


def decode_status(value: bytes | None) -> WorkerStatus | None:
    """A worker's word, or None where it is none."""
    try:
        return _decoder.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class StatusWriter:
    """Writes this worker's statuses; the stamps they come back with tell the brokers' clock. Never blocks."""

    def __init__(self, settings: Settings, names: Mapping[str, str], worker: str, clock: BrokerClock) -> None:
        self._topic, self._worker, self._clock = names["control_status"], worker, clock
        self._group = settings.group
        self._config = {**base_config(settings), "linger.ms": 0, "message.timeout.ms": 10_000}
        self._producer = Producer(self._config)
        self._written_at = 0.0
        self._stored_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for a word again."""
        return time.monotonic() - self._written_at > ALIVE_EVERY

    def write(self, status: WorkerStatus) -> None:
        """Say it."""
        sent_at = time.time()

        def stored(error: KafkaError | None, message: Message) -> None:
            if error is not None and error.code() in DENIED:
                client_log.warning("control-status: %s", told(error, f"Write {self._topic}"))
            if error is None:
                self._stored_at = time.monotonic()
                kind, stamp = message.timestamp()
                self._clock.stamped(kind, stamp, sent_at, time.time())

        self._written_at = time.monotonic()
        if self._written_at - self._stored_at > _RENEWED_AFTER:
            # Its brokers are away, or it is cut off from them: see streams.kafka.cut_off. A new client does no harm in either case.
            self._producer, self._stored_at = Producer(self._config), self._written_at
        status.worker, status.group = self._worker, self._group
        status.problem, status.error = short(status.problem), short(status.error)
        with suppress(BufferError):  # the broker has been away for long: a later word says the same
            self._producer.produce(self._topic, encode_status(status), self._worker.encode(), on_delivery=stored)
        self.serve()

    def serve(self) -> None:
        """Let the client call back."""
        self._producer.poll(0)

    def flush(self, seconds: float) -> None:
        """Wait for what has been said to be stored."""
        self._producer.flush(seconds)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


def short(text: str | None) -> str | None:
    """As much of a text as a status has room for."""
    return text if text is None or len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"

"""The control reader: every worker reads the whole control topic for itself, then follows it.

It belongs to no group, because a group would share the messages out instead of giving each worker all of them. What the log says
is the same for all (`streams.pipeline.control_log`); what this worker makes of it is in `current`.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from scoring import ErrorModel
from streams.errors import ControlError
from streams.kafka.client_log import client_log
from streams.kafka.clients import Consumed, consume, control_reader_config, kafka_error, reader_config
from streams.kafka.clock import BrokerClock
from streams.kafka.control_keys import load_trust
from streams.kafka.control_status import (
    MOST_ALERTS,
    MOST_BUDGETS,
    MOST_FIGURES,
    MOST_MODELS,
    MOST_PARTITIONS,
    MOST_POLICIES,
    NO_WORK,
    STOPPED,
    BudgetStatus,
    Prepared,
    ShadowStatus,
    StatusWriter,
    Work,
    WorkerStatus,
    short,
)
from streams.kafka.cut_off import discard
from streams.kafka.reading import broker_stamp, read_to_end, signature, unreadable, watermarks
from streams.kafka.troubles import told
from streams.pipeline.control_log import ControlLog, Taken
from streams.pipeline.control_messages import PrepareModel, PrepareShadow, SetModel, SetShadow, Snapshot
from streams.pipeline.controls import Baseline, Controls, honour, try_out, with_shadow
from streams.pipeline.quality.judging import NOTHING, Judgement, most_audited
from streams.pipeline.reasons import REFUSALS
from streams.pipeline.routing import rfc3339
from streams.settings import Settings

log = logging.getLogger(__name__)

_FIRST_FLUSH = 2.0
_AT_ONCE = 500
_CHECK_EVERY = 2.0
"""Seconds between two looks at the end of the log, and between two tries to honour what could not be honoured."""
_CHECK_UNREADABLE_EVERY = 0.25
"""The same while everything goes to humans because the log cannot be read: it should not, once it can."""
_CHECK_TIMEOUT = 1.0
_RENEWED_AFTER = 10.0
"""Seconds without having read the log to its end, after which other clients try: see `streams.kafka.cut_off`."""

_PREPARE_FOR = 60.0
"""Seconds for which a worker goes on trying to get ready for a model: whoever asked has gone by then."""


class Models(Protocol):
    """The models that a worker has or can get."""

    def find(self, sha256: str) -> ErrorModel:
        """The model. Raises ModelError where it cannot be had, or not yet."""

    def is_looking(self, sha256: str) -> bool:
        """Whether it is not known yet if a model can be had."""

    def look_again(self, sha256: str) -> None:
        """Forget that a model could not be had."""

    def names(self) -> list[str]:
        """Those that are there."""


class ControlReader:
    """Holds the controls that this worker acts under (`current`), swapped whole by its thread as messages arrive."""

    def __init__(
        self,
        settings: Settings,
        names: Mapping[str, str],
        baseline: Baseline,
        models: Models,
        status: StatusWriter,
        clock: BrokerClock,
    ) -> None:
        self.log = ControlLog(load_trust(settings))
        self.baseline = baseline
        self.current: Controls = honour(self.log.content, 0, baseline, models.find)
        self.ready = False
        self.refused: dict[str, int] = dict.fromkeys(REFUSALS, 0)
        """Messages refused since the start, by reason; older ones were somebody else's to tell of."""
        self.budgets: Callable[[], Sequence[BudgetStatus]] = tuple
        """What this worker has to say of review budgets."""
        self.quality: Callable[[], Judgement] = lambda: NOTHING
        """What it knows of live quality."""
        self.work: Callable[[], Work] = lambda: NO_WORK
        """What it works on."""
        self._alerts: frozenset[tuple[str, ...]] = frozenset()
        self._settings, self._topic = settings, names["control"]
        self._models = models
        self._preparing: tuple[int, PrepareModel | PrepareShadow, float] | None = None
        """The last `prepare_model` or `prepare_shadow` that is not settled: its offset, itself, and until when it is tried."""
        self._prepared: Prepared | None = None
        self._snapshot = -1
        self._status, self._clock = status, clock
        self._failure: Exception | None = None
        self._unknown_before: str | None = None
        self._denied: str | None = None
        self._read_at = self._checked_at = time.monotonic()
        self._shorter = 0
        self._stopping = threading.Event()
        self._consumer, self._asking = self._clients()
        self._renewed_at = time.monotonic()
        self._thread = threading.Thread(target=self._follow, name="controls", daemon=True)

    def _clients(self) -> tuple[Consumer, Consumer]:
        """One reads, the other asks where the log ends.

        What stands behind an open transaction cannot be read and may be a stop: the end is that of all records.
        """
        return Consumer(control_reader_config(self._settings)), Consumer(
            reader_config(self._settings, isolation="read_uncommitted")
        )

    @property
    def age(self) -> float:
        """Seconds since the log was last known to be read to its end."""
        return time.monotonic() - self._read_at

    def start(self) -> None:
        """Read to the end, so that the first decision is made under the controls in force; then follow. Blocking."""
        low, high = watermarks(self._settings, self._topic, [0])[0]
        self.log = ControlLog(load_trust(self._settings), low)
        old: Counter[str] = Counter()
        first = "and not with a snapshot"
        for message in read_to_end(self._consumer, self._topic, {0: high}, {0: low}):
            one = self._take(message)
            if one.refusal is not None:
                old[one.refusal.code] += 1
                if one.offset == low and isinstance(one.message, Snapshot):
                    first = f"with a snapshot that does not count here ({one.refusal})"
        if not self.log.is_whole:
            self._unknown_before = (
                f"{self._topic} begins at offset {low}, {first}: what was set before is not known. Mend that, or make the topic anew "
                "(delete it, secondlook topics create), restart the workers, and set what is to hold"
            )
        self.log.position = max(self.log.position, high)
        log.info(
            "controls read",
            extra={"version": self.log.version, "hash": self.log.content.hash, "refused_before": dict(old)},
        )
        self._read_at = time.monotonic()
        self._settle()
        self._say("started")
        self._status.flush(_FIRST_FLUSH)  # the first batch should know the brokers' clock
        self.ready = True
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the reader, if anything did: deciding on without controls would be deciding blindly."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop following, and say so."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2)
        if self.ready:
            self._say(STOPPED)
        self._status.flush(1)

    def _follow(self) -> None:
        try:
            while not self._stopping.is_set():
                first = self._consumer.poll(0.1)
                if first is not None:
                    self._read([cast("Consumed", first), *consume(self._consumer, _AT_ONCE, 0)])
                if time.monotonic() - self._checked_at > self._check_every:
                    self._check_end()
                    self._renew()
                    self._checked_at = time.monotonic()
                    self._settle()
                self._tell_alerts()
                if self._status.due:
                    self._say("alive")
                self._status.serve()
        except Exception as problem:  # noqa: BLE001 - the thread's last act: the worker looks here and stops, in one line
            self._failure = problem
        finally:
            self._consumer.close()
            self._asking.close()

    @property
    def _check_every(self) -> float:
        return _CHECK_EVERY if self._unreadable() is None else _CHECK_UNREADABLE_EVERY

    def _read(self, messages: list[Consumed]) -> None:
        """Take what has come, then put it in force, as one: no batch is decided under a part of it."""
        taken = []
        for message in messages:
            error = message.error()
            if error is None:
                taken.append(self._take(message))
                self._denied = None
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                self.log.position = max(self.log.position, message.offset())
                self._denied = None
            elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                self._denied = str(unreadable(self._topic, error))
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - its public name
                raise ControlError(self._made_anew("elsewhere"))
            else:
                client_log.warning("controls: %s", told(error), extra={"code": error.name()})
        if not taken:
            return
        self._settle()
        for one in taken:
            self._tell(one)
        if any(one.is_applied for one in taken):
            self._say("applied", offset=self.log.version - 1)
        if any(one.offset == self._snapshot for one in taken):
            self._say("compacted", offset=self._snapshot)

    def _take(self, message: Consumed) -> Taken:
        offset = message.offset()
        if offset < self.log.position:
            raise ControlError(self._made_anew(f"at {offset}"))
        one = self.log.take(offset, broker_stamp(message), message.value(), signature(message))
        if one.refusal is None and isinstance(one.message, PrepareModel | PrepareShadow):
            self._preparing = offset, one.message, time.monotonic() + _PREPARE_FOR
            self._models.look_again(one.message.sha256)
        elif one.refusal is None and isinstance(one.message, Snapshot):
            self._snapshot = offset
        elif one.is_applied and isinstance(one.message, SetModel | SetShadow):
            self._preparing = None
        return one

    def _tell(self, one: Taken) -> None:
        if one.refusal is None:
            what = "applied" if one.is_applied else "taken"
            log.info("control message %s", what, extra={"offset": one.offset, "version": self.log.version})
            return
        self.refused[one.refusal.code] += 1
        log.error("control message refused: %s", one.refusal, extra={"offset": one.offset, "code": one.refusal.code})
        self._say("refused", offset=one.offset, error=str(one.refusal))

    def _check_end(self) -> None:
        """Ask for the end of the log: that nothing comes may also mean that nothing can be read."""
        if self._denied is not None:  # only what is asked for anew is told of a right that was given since
            self._consumer.assign([TopicPartition(self._topic, 0, self.log.position)])
        try:
            _, end = self._asking.get_watermark_offsets(TopicPartition(self._topic, 0), timeout=_CHECK_TIMEOUT)
        except KafkaException as problem:
            log.debug("controls: %s", kafka_error(problem).str())
            return
        if end == self.log.position:
            self._read_at = time.monotonic()
        self._shorter = self._shorter + 1 if end < self.log.position else 0
        if self._shorter > 1:  # once may be a new leader that does not know the end yet
            raise ControlError(self._made_anew(f"at {end}"))

    def _renew(self) -> None:
        """Have other clients try, when the end has not been reached for a while: these may be cut off."""
        if min(self.age, time.monotonic() - self._renewed_at) < _RENEWED_AFTER:
            return
        self._renewed_at = time.monotonic()
        for one in (self._consumer, self._asking):
            discard(one.close)
        self._consumer, self._asking = self._clients()
        self._consumer.assign([TopicPartition(self._topic, 0, self.log.position)])

    def _made_anew(self, where: str) -> str:
        return (
            f"{self._topic} was read up to offset {self.log.position} and now goes on {where}: it was cut or made anew. "
            "The worker stops; a restart goes by what the topic holds then"
        )

    def _settle(self) -> None:
        """Put in force what the log says, or why it can't be; tell when the one turns into the other."""
        before = self.current
        unread = self._unknown_before or self._unreadable()
        settled = self.current
        if before.version != self.log.version or before.problem is not None or unread is not None:
            settled = honour(self.log.content, self.log.version, self.baseline, self._models.find)
        elif before.shadow_problem is not None:
            settled = with_shadow(before, self.log.content, self.baseline, self._models.find)
        if unread is not None:
            settled = replace(settled, problem=unread)
        self.current = settled
        self._prepare()
        if settled.problem != before.problem:
            self._tell_honoured(before, settled)
        if settled.shadow_problem != before.shadow_problem:
            self._tell_shadow(before, settled)

    def _tell_honoured(self, before: Controls, settled: Controls) -> None:
        if settled.problem is not None:
            log.error("everything goes to humans: %s", settled.problem, extra={"version": settled.version})
        else:
            log.info("controls are honoured again", extra={"version": settled.version})
        if self.ready and (settled.problem is None) != (before.problem is None):
            self._say("honoured" if settled.problem is None else "not_honoured")

    def _tell_shadow(self, before: Controls, settled: Controls) -> None:
        if settled.shadow_problem is not None:
            log.warning("the shadow is left out: %s", settled.shadow_problem, extra={"version": settled.version})
        elif settled.shadow is not None:
            log.info("the shadow is honoured", extra={"version": settled.version})
        same = settled.version == before.version  # else the word on the message says it
        if self.ready and same and (settled.shadow is None) != (before.shadow is None):
            self._say("shadow_honoured" if settled.shadow is not None else "shadow_left_out")

    def _tell_alerts(self) -> None:
        """Speak at once where there is an alert that was not there, or one is over."""
        alerts = frozenset(alert.names for alert in self.quality().alerts)
        if alerts != self._alerts:
            self._alerts = alerts
            self._say("quality_alert")

    def _prepare(self) -> None:
        """Get ready for the model that was asked for last, and say when that is done, or cannot be."""
        if self._preparing is None:
            return
        offset, message, until = self._preparing
        if time.monotonic() > until:
            self._preparing = None
            return
        problem = try_out(message, self.log.content, self.log.version, self.baseline, self._models.find)
        if problem is not None and self._models.is_looking(message.sha256):
            return
        prepared = Prepared(offset, message.sha256, short(problem))
        if prepared != self._prepared:
            self._prepared = prepared
            log.info("model prepared", extra={"model": message.sha256, "problem": problem})
            if self.ready:
                self._say("prepared")

    def _unreadable(self) -> str | None:
        if self._denied is not None:
            return f"{self._denied}: what is in force is not known"
        limit = self._settings.control_timeout
        if self.age <= limit:
            return None
        return f"{self._topic} could not be read to its end for {limit:g} s (control_timeout): what is in force is not known"

    def _say(self, event: str, *, offset: int | None = None, error: str | None = None) -> None:
        """Say on control-status what this worker did and what it has in force now."""
        controls, quality, work = self.current, self.quality(), self.work()
        self._status.write(
            WorkerStatus(
                worker="",
                event=event,
                at=rfc3339(self._clock.now()),
                control_version=self.log.version,
                position=self.log.position,
                hash=self.log.content.hash,
                settings_hash=self.baseline.hash,
                honoured=controls.problem is None,
                problem=controls.problem,
                offset=offset,
                error=error,
                model=None if controls.model is None else controls.model.sha256,
                settings_model=self.baseline.model.sha256,
                settings_threshold=self.baseline.threshold,
                models=self._models.names()[:MOST_MODELS],
                prepared=self._prepared,
                shadow=None if self.log.content.shadow is None else _shadow_status(controls),
                policies=[] if controls.model is None else sorted(controls.model.policies)[:MOST_POLICIES],
                budgets=self.budgets()[:MOST_BUDGETS],
                alerts=quality.alerts[:MOST_ALERTS],
                quality=most_audited(quality.figures)[:MOST_FIGURES],
                partitions=sorted(work.partitions)[:MOST_PARTITIONS],
                restoring=work.restoring,
                pending=work.pending,
                busy=work.busy,
                snapshot=self._snapshot,
            )
        )


def _shadow_status(controls: Controls) -> ShadowStatus:
    model = None if controls.shadow is None else controls.shadow.model
    return ShadowStatus(None if model is None else model.sha256, short(controls.shadow_problem))

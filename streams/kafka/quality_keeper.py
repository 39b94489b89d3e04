"""Keeps the books of live quality: one worker of the group reads decisions, predictors and human decisions from their topics, beside all else.

It leads that has partition 0 of the requests, as for review budgets. Human decisions need not lie in the partitions of their requests, so no
worker could join its own. It has no part in deciding: it works on a thread of its own, rests four times as long as it works, far longer while decisions are behind, and whatever
fails there is told and begun anew. Books and offsets are stored as one (`streams.kafka.quality_store`), so a crash costs a second reading
of what came since, and no count.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from featurizers import SecondlookError
from scoring import ModelError
from scoring.reference import Reference, read_reference
from streams.errors import BrokerError, ControlError
from streams.kafka.clients import Consumed, consume, reader_config
from streams.kafka.control_keys import signing_key
from streams.kafka.control_reader import ControlReader
from streams.kafka.cut_off import CutOff, discard
from streams.kafka.publishing import publish_control
from streams.kafka.quality_store import QualityStore
from streams.kafka.reading import broker_stamp, mends_itself, places_of, unreadable
from streams.pipeline.control_messages import StopAutomation
from streams.pipeline.quality.judging import NOTHING, Breach, Judgement, bounds_in_force
from streams.pipeline.quality.keeping import Ledger
from streams.settings import Settings

log = logging.getLogger(__name__)

ROLES: Final = ("auto_action", "human_review", "vectors", "human_decisions")
_AT_ONCE: Final = 500
_LITTLE_AT_A_TIME: Final = {
    "queued.max.messages.kbytes": 1024,
    "fetch.message.max.bytes": 256 * 1024,
    "fetch.max.bytes": 4 * 1024 * 1024,
}
"""It is in no hurry, and what is fetched ahead is memory that no limit of the worker's counts."""
_REST: Final = 4.0
"""Seconds of rest for each of the processor's time."""
_REST_WHILE_BUSY: Final = 49.0
"""The same while answers wait to be decided in this worker."""
_LEVEL: Final = 500
"""Records unread, below which the topics are read about equally far."""
_LOOK_EVERY: Final = 10.0
_SAVE_EVERY: Final = 60.0
_AGAIN_AFTER: Final = 10.0
_CONTROLS_WITHIN: Final = 5.0
_IN_TIME: Final = timedelta(seconds=30)


class Timing(msgspec.Struct, frozen=True):
    """Seconds between two looks and two saves, and of a period: what the counts are kept by."""

    look: float = _LOOK_EVERY
    save: float = _SAVE_EVERY
    period: float = 900.0


class _Head(msgspec.Struct, array_like=True):
    """What stands before the books in a state: by topic and partition the next offset to read."""

    topics: dict[str, dict[int, int]]


class QualityKeeper:
    """Keeps the books on a thread of its own, while `leads` says that it is this worker that does.

    `controls` tells what is in force, `now` the brokers' time in ms, `busy` whether decisions are behind. Raises SettingsError for a key that does not sign for the workers.
    """

    def __init__(
        self,
        settings: Settings,
        worker: str,
        controls: ControlReader,
        leads: Callable[[], bool],
        now: Callable[[], int],
        busy: Callable[[], bool] = lambda: False,
        timing: Timing | None = None,
    ) -> None:
        self._settings, self._worker = settings, worker
        self._controls, self._leads, self._now, self._busy = controls, leads, now, busy
        self._timing = timing or Timing()
        self._key = signing_key(settings)
        self._judgement = NOTHING
        self._lag = 0
        self._problem = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="quality", daemon=True)

    @property
    def judgement(self) -> Judgement:
        """What was known at the last look; nothing where another worker leads."""
        return self._judgement

    @property
    def lag(self) -> int:
        """Records not yet read, at the last look."""
        return self._lag

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Store the books, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            if not self._leads():
                self._stopping.wait(1.0)
                continue
            try:
                self._lead()
            except SecondlookError as problem:
                if str(problem) != self._problem:
                    self._problem = str(problem)
                    log.warning("live quality cannot be kept, it is tried again and again: %s", problem)
                self._stopping.wait(_AGAIN_AFTER)
            except Exception:
                log.exception("live quality failed; it is begun anew where it was last stored")
                self._stopping.wait(_AGAIN_AFTER)
            self._judgement, self._lag = NOTHING, 0

    def _lead(self) -> None:
        reading = _Reading(self._settings)
        try:
            looked = saved = time.monotonic()
            while self._leads() and not self._stopping.is_set():
                messages = reading.poll()
                began, worked = time.monotonic(), time.thread_time()
                self._take(reading.ledger, messages)
                if began - looked >= self._timing.look:
                    self._look(reading)
                    looked = began
                if began - saved >= self._timing.save:
                    reading.save()
                    saved = began
                rest = _REST_WHILE_BUSY if self._busy() else _REST
                self._stopping.wait(rest * (time.thread_time() - worked))
            reading.save()
        finally:
            discard(reading.close)

    def _take(self, ledger: Ledger, messages: Mapping[str, list[Consumed]]) -> None:
        """Count records, under controls that are not older than they are."""
        decisions = [*messages.get("auto_action", ()), *messages.get("human_review", ())]
        if decisions:
            read = ledger.read((one.value() or b"", self._period(one)) for one in decisions)
            newest = max((decision.control_version for decision, _ in read), default=0)
            self._await_controls(newest)
            self._use_model(ledger)
            ledger.decided(read, self._controls.log.content)
        ledger.answered(one.value() or b"" for one in messages.get("vectors", ()))
        for one in messages.get("human_decisions", ()):
            ledger.said(one.value() or b"")

    def _period(self, message: Consumed) -> int:
        stamp = broker_stamp(message)
        now = self._now()
        return int((now if stamp is None else min(stamp, now)) // (1000 * self._timing.period))

    def _await_controls(self, version: int) -> None:
        deadline = time.monotonic() + _CONTROLS_WITHIN
        while self._controls.log.version < version and time.monotonic() < deadline and not self._stopping.is_set():
            self._stopping.wait(0.05)

    def _use_model(self, ledger: Ledger) -> None:
        model = self._controls.current.model
        if model is not None and model.sha256 != ledger.model:
            ledger.use(model.sha256, _reference(model.card))

    def _look(self, reading: "_Reading") -> None:
        self._use_model(reading.ledger)
        content = self._controls.log.content
        lag = reading.lag()
        found = reading.ledger.judge(bounds_in_force(content), is_level=lag < _LEVEL)
        if self._settings.on_risk_breach == "stop":
            for breach in found.breaches:
                self._stop(breach, reading.ledger)
        self._tell(found)
        self._judgement, self._lag = found, lag

    def _tell(self, found: Judgement) -> None:
        before = {alert.names for alert in self._judgement.alerts}
        for alert in found.alerts:
            if alert.names not in before:
                log.warning("quality alert: %s", alert.about, extra=alert._asdict())

    def _stop(self, breach: Breach, ledger: Ledger) -> None:
        """Stop what was bound, once: who resumes it with the same bound has seen why."""
        scope, content = breach.ruled.scope, self._controls.log.content
        if breach.ruled in ledger.stopped:
            return
        if any(stop.covers(scope) for stop in content.stops):
            ledger.stopped.add(breach.ruled)
            return
        if self._key is None and self._settings.control_keys is not None:
            log.error("automation of %s should stop, but this worker has no key (control_sign_with)", scope.words)
            return
        now = datetime.fromtimestamp(self._now() / 1000, UTC)
        message = StopAutomation(
            **scope._asdict(),
            issued_by=f"{self._worker} (on_risk_breach)",
            reason=f"{breach.wrong} of {breach.audits} audits are wrong, the bound is {breach.bound.max_risk:g}",
            issued_at=now,
            expires_at=now + _IN_TIME,
        )
        try:
            publish_control(self._settings, message, self._key)
        except (BrokerError, ControlError) as problem:
            log.error("automation of %s was not stopped, it is tried again: %s", scope.words, problem)
            return
        ledger.stopped.add(breach.ruled)
        log.error("automation of %s stopped: %s", scope.words, message.reason)


class _Reading:
    """The books as they were last stored, and a consumer that goes on there."""

    def __init__(self, settings: Settings) -> None:
        self._store = QualityStore(settings)
        self._next, self.ledger = _restored(self._store.load())
        places = places_of(settings, *ROLES)
        self._roles = {name: role for role, (name, _) in places.items()}
        self._partitions = [(name, number) for name, numbers in places.values() for number in numbers]
        self._settings = settings
        self._cut_off = CutOff(settings, self._partitions[0][0])
        self._consumer = self._assigned()
        log.info("live quality is kept here", extra={"from": self._next or "the beginning"})

    def _assigned(self) -> Consumer:
        consumer = Consumer({**reader_config(self._settings), **_LITTLE_AT_A_TIME, "enable.partition.eof": False})
        consumer.assign(
            [
                TopicPartition(name, number, self._next.get(name, {}).get(number, OFFSET_BEGINNING))
                for name, number in self._partitions
            ]
        )
        return consumer

    def poll(self) -> dict[str, list[Consumed]]:
        """The next records, by the role of their topic."""
        found: dict[str, list[Consumed]] = {}
        for message in consume(self._consumer, _AT_ONCE, 0.5):
            error = message.error()
            if error is None:
                found.setdefault(self._roles[message.topic()], []).append(message)
                self._next.setdefault(message.topic(), {})[message.partition()] = message.offset() + 1
            elif not mends_itself(error):
                raise unreadable(message.topic(), error)
        if not found and self._cut_off.look(self._consumer):
            discard(self._consumer.close)
            self._consumer = self._assigned()
        return found

    def lag(self) -> int:
        """Records that have not been read, as far as the client knows."""
        lag = 0
        for name, number in self._partitions:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(name, number), cached=True)
            lag += max(0, high - max(low, self._next.get(name, {}).get(number, 0), 0))
        return lag

    def save(self) -> None:
        """Store the books with the offsets."""
        self._store.save([msgspec.msgpack.encode(_Head(self._next)), *self.ledger.pieces()])

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()


def _restored(pieces: list[bytes]) -> tuple[dict[str, dict[int, int]], Ledger]:
    """The offsets and the books of a state; without one that can be read, the beginning."""
    if not pieces:
        return {}, Ledger()
    try:
        return msgspec.msgpack.decode(pieces[0], type=_Head).topics, Ledger.of(pieces[1:])
    except (msgspec.DecodeError, IndexError) as problem:
        log.warning("the state of live quality is of another version (%s): the books are kept anew", problem)
        return {}, Ledger()


def _reference(card: Mapping[str, object]) -> Reference | None:
    try:
        return read_reference(card)
    except ModelError as problem:
        log.warning("no drift is told: %s", problem)
        return None

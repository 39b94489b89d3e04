"""Keeps the books of live quality: one worker of the group reads decisions, predictors and human decisions from their topics, beside all else.

It leads that has partition 0 of the requests, as for review budgets. Human decisions need not lie in the partitions of their requests, so no
worker could join its own. It has no part in deciding: it works on a thread of its own, rests four times as long as it works, far longer while decisions are behind, and whatever
fails there is told and begun anew. Books and offsets are stored as one (`streams.kafka.quality_store`), so a crash costs a second reading
of what came since, and no count.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from featurizers import SecondlookError
from scoring import ModelError
from scoring.reference import Reference, read_reference
from streams.errors import BrokerError, ControlError
from streams.kafka.clients import Consumed
from streams.kafka.control_keys import signing_key
from streams.kafka.control_reader import ControlReader
from streams.kafka.cut_off import discard
from streams.kafka.publishing import publish_control
from streams.kafka.quality_reading import QualityReading
from streams.kafka.reading import broker_stamp
from streams.pipeline.control_messages import StopAutomation
from streams.pipeline.quality.judging import NOTHING, Alert, Breach, Judgement
from streams.pipeline.quality.keeping import Ledger
from streams.pipeline.quality.ruling import Rulings, bounds_in_force
from streams.settings import Settings

log = logging.getLogger(__name__)

_REST: Final = 4.0
"""Seconds of rest for each of the processor's time."""
_REST_WHILE_BUSY: Final = 49.0
"""The same while answers wait to be decided in this worker."""
_LEVEL: Final = 500
"""Records unread, below which the topics are read about equally far."""
_LOOK_EVERY: Final = 10.0
_SAVE_EVERY: Final = 60.0
_BYTES_A_SECOND: Final = 50_000
"""At which states are written at most, whatever they have grown to."""
_STALE: Final = 60.0
"""Seconds without a look, after which nothing is known to be known."""
_AGAIN_AFTER: Final = 10.0
_CONTROLS_WITHIN: Final = 5.0
_IN_TIME: Final = timedelta(seconds=30)


class Timing(msgspec.Struct, frozen=True):
    """Seconds between two looks and two saves, and of a period: what the counts are kept by."""

    look: float = _LOOK_EVERY
    save: float = _SAVE_EVERY
    period: float = 900.0


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
        self._alerts: frozenset[tuple[str, ...]] = frozenset()
        self._lag: int | None = None
        self._looked_at = 0.0
        self._rulings = Rulings(controls.log.versions)
        self._problem = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="quality", daemon=True)

    @property
    def judgement(self) -> Judgement:
        """What was known at the last look; nothing where another worker leads."""
        return self._judgement

    @property
    def lag(self) -> int | None:
        """Records not yet read, at the last look; None where they are not known: another worker leads, or this one cannot keep the books."""
        return self._lag if time.monotonic() - self._looked_at < _STALE else None

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
            self._judgement, self._lag = NOTHING, None

    def _lead(self) -> None:
        reading = QualityReading(self._settings, self._stamp)
        try:
            looked = saved = time.monotonic()
            wait = self._timing.save
            while self._leads() and not self._stopping.is_set():
                messages = reading.poll()
                began, worked = time.monotonic(), time.thread_time()
                self._take(reading.ledger, messages)
                if began - looked >= self._timing.look:
                    self._look(reading)
                    looked = began
                if began - saved >= wait:
                    wait = max(self._timing.save, reading.save() / _BYTES_A_SECOND)
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
            read = ledger.read(self._dated(decisions))
            newest = max((decision.control_version for decision, _ in read), default=0)
            self._await_controls(newest)
            self._use_model(ledger)
            if self._rulings.version != self._controls.log.version:
                self._rulings = Rulings(self._controls.log.versions)
            ledger.decided(read, self._rulings)
        ledger.answered(self._dated(messages.get("vectors", ())))
        ledger.said(self._dated(messages.get("human_decisions", ())))

    def _dated(self, messages: Iterable[Consumed]) -> list[tuple[bytes, int]]:
        return [(one.value() or b"", int(self._stamp(one) // (1000 * self._timing.period))) for one in messages]

    def _stamp(self, message: Consumed) -> int:
        """When it was written (ms), and not after now, whatever its producer says."""
        stamp, now = broker_stamp(message), self._now()
        return now if stamp is None else min(stamp, now)

    def _await_controls(self, version: int) -> None:
        deadline = time.monotonic() + _CONTROLS_WITHIN
        while self._controls.log.version < version and time.monotonic() < deadline and not self._stopping.is_set():
            self._stopping.wait(0.05)

    def _use_model(self, ledger: Ledger) -> None:
        model = self._controls.current.model
        if model is not None and model.sha256 != ledger.model:
            ledger.use(model.sha256, _reference(model.card))

    def _look(self, reading: QualityReading) -> None:
        self._use_model(reading.ledger)
        content = self._controls.log.content
        lag = reading.lag()
        found = reading.ledger.judge(bounds_in_force(content), is_level=lag is not None and lag < _LEVEL)
        if self._settings.on_risk_breach == "stop":
            for breach in found.breaches:
                self._stop(breach, reading.ledger)
        self._tell(found.alerts)
        self._judgement, self._lag, self._looked_at = found, lag, time.monotonic()

    def _tell(self, alerts: list[Alert]) -> None:
        """Log what is new; what had been told before this worker began anew is not."""
        for alert in alerts:
            if alert.names not in self._alerts:
                log.warning("quality alert: %s", alert.about, extra=msgspec.structs.asdict(alert))
        self._alerts = frozenset(alert.names for alert in alerts)

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
            reason=f"{breach.wrong} of {breach.audits} audits are wrong (or humans could not tell), the bound is {breach.bound.max_risk:g}",
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


def _reference(card: Mapping[str, object]) -> Reference | None:
    try:
        return read_reference(card)
    except ModelError as problem:
        log.warning("no drift is told: %s", problem)
        return None

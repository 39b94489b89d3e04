"""Holds review budgets: counts what is decided, and moves their thresholds by control messages, so that every worker has the same.

Every worker counts and judges; one of them moves, the one that has partition 0 of the requests. Ids are spread over the partitions by hash,
so what it decides is a fair draw of all, and who follows it has counted all along.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from streams.errors import BrokerError, ControlError
from streams.kafka.control_keys import signing_key
from streams.kafka.control_status import BudgetStatus
from streams.kafka.publishing import publish_control
from streams.pipeline.budget import BudgetState, Finding, Seen, Window, control
from streams.pipeline.control_limits import AdjustThreshold
from streams.pipeline.controls import Controls
from streams.pipeline.scope import Scope
from streams.settings import Settings

log = logging.getLogger(__name__)

MOVE_EVERY: Final = 60.0
"""Seconds between two moves of one threshold, whoever made the first."""
_LOOK_EVERY: Final = 5.0
_IN_TIME: Final = timedelta(seconds=30)
"""How long a move may take to the broker."""


class BudgetKeeper:
    """Counts on any thread, and looks on one of its own. `leads` says whether it is this worker that moves thresholds.

    `position` is the next offset of the control log to be read, `now` the brokers' time in ms. Raises SettingsError for a key that does
    not sign for the workers.
    """

    def __init__(
        self,
        settings: Settings,
        worker: str,
        controls: Callable[[], Controls],
        position: Callable[[], int],
        leads: Callable[[], bool],
        now: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._worker = settings, worker
        self._controls, self._position, self._leads = controls, position, leads
        self._now, self._clock = now, clock
        self._key = signing_key(settings)
        self._can_move = self._key is not None or settings.control_keys is None
        self._lock = threading.Lock()
        self._windows: dict[Scope, tuple[str, Window]] = {}
        self._moved: dict[Scope, tuple[float, float]] = {}
        """By scope, its threshold, and since when (by `clock`) it is known to be that."""
        self._unwritten: set[Scope] = set()
        self._awaited = 0
        self._findings: Mapping[Scope, Finding] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="budgets", daemon=True)

    @property
    def findings(self) -> Mapping[Scope, Finding]:
        """How each budget stood at the last look."""
        return self._findings

    def told(self) -> list[BudgetStatus]:
        """The same for control-status, where it is this worker that moves them: the others have nothing to add."""
        return [BudgetStatus.of(*one) for one in self._findings.items()] if self._leads() else []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2)

    def count(self, seen: Mapping[Seen, int]) -> None:
        """Count what was decided for good."""
        model = self._controls().model
        with self._lock:
            for one, count in seen.items():
                if model is None or one.model != model.sha256:
                    continue
                if one.scope not in self._windows or self._windows[one.scope][0] != one.model:
                    self._windows[one.scope] = one.model, Window()
                self._windows[one.scope][1].add(self._minute, one.where, one.fate, count)

    def look(self) -> None:
        """Judge every budget, and move one threshold if that is due and ours to do."""
        controls = self._controls()
        found = {scope: self._judge(scope, controls) for scope in sorted(controls.budgets)}
        with self._lock:
            self._windows = {scope: one for scope, one in self._windows.items() if scope in found}
        self._findings = {scope: self._told(scope, one) for scope, one in found.items()}
        now = self._clock()
        moving = (scope for scope, one in found.items() if one.state is BudgetState.MOVING)
        due = [scope for scope in moving if scope in self._moved and now - self._moved[scope][1] >= MOVE_EVERY]
        if due and self._leads() and self._position() >= self._awaited:
            scope = min(due, key=lambda one: self._moved[one][1])
            self._move(scope, found[scope], controls)

    @property
    def _minute(self) -> int:
        return int(self._clock() // 60)

    def _judge(self, scope: Scope, controls: Controls) -> Finding:
        threshold = controls.thresholds[scope]
        is_known = scope in self._moved and self._moved[scope][0] == threshold
        if not is_known and self._position() >= self._awaited:  # else it is about to be what we have set
            self._moved[scope] = threshold, self._clock()
        with self._lock:
            model, window = self._windows.get(scope, ("", Window()))
            is_of_this = controls.model is not None and model == controls.model.sha256
            sample = (window if is_of_this else Window()).sample(self._minute)
        found = control(controls.budgets[scope], threshold, sample)
        if controls.holds_back(scope):
            return replace(found, state=BudgetState.STOPPED, move_to=None)
        if found.state is BudgetState.MOVING and not self._can_move:
            return replace(found, state=BudgetState.NO_KEY, move_to=None)
        return found

    def _told(self, scope: Scope, found: Finding) -> Finding:
        is_stuck = found.state is BudgetState.MOVING and scope in self._unwritten
        return replace(found, state=BudgetState.UNWRITTEN) if is_stuck else found

    def _move(self, scope: Scope, found: Finding, controls: Controls) -> None:
        now = datetime.fromtimestamp(self._now() / 1000, UTC)
        message = AdjustThreshold(
            **scope._asdict(),
            threshold=found.move_to or 0.0,
            issued_by=f"{self._worker} (review budget)",
            reason=f"{found.share:.1%} of {found.count} decisions would go to humans, {found.wanted:.1%} are wanted",
            expected_version=controls.version,
            issued_at=now,
            expires_at=now + _IN_TIME,
        )
        self._moved[scope] = message.threshold, self._clock()
        try:
            self._awaited = publish_control(self._settings, message, self._key) + 1
            self._unwritten.discard(scope)
        except (BrokerError, ControlError) as problem:
            self._unwritten.add(scope)
            log.warning("a review budget's threshold was not moved: %s", problem)
            return
        log.info("review budget of %s: threshold moved to %g, %s", scope.words, message.threshold, message.reason)

    def _follow(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY):
            try:
                self.look()
            except Exception:
                log.exception("review budgets cannot be looked at: no threshold is moved")

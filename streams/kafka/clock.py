"""The brokers' clock: deadlines and frontiers are compared with stamps that brokers gave, so this worker's own clock must not decide."""

import logging
import time

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

log = logging.getLogger(__name__)

_NOTEWORTHY = 5.0
"""Seconds that the two clocks may differ before it is said."""
_PLAUSIBLE_MS = 1_577_836_800_000
"""A stamp from before 2020 is no broker's clock (the embedded broker's isn't one)."""


class BrokerClock:
    """The time by the brokers' clock, as well as it is known: by this worker's own until a broker has stamped a record of ours."""

    def __init__(self) -> None:
        self.skew: float | None = None
        """Seconds that this worker's clock is ahead; None while unknown."""
        self._said = False

    def now(self) -> int:
        """The time in ms since the epoch."""
        return int((time.time() - (self.skew or 0.0)) * 1000)

    def stamped(self, kind: int, stamp: int, sent_at: float, acknowledged_at: float) -> None:
        """A record of ours came back with this stamp (ms), sent and acknowledged at these times (s) of this worker's clock."""
        if kind != TIMESTAMP_LOG_APPEND_TIME or stamp < _PLAUSIBLE_MS:
            return
        # The broker stamped it somewhere in between. What was known holds where it agrees with that: a record that waited for a
        # broker which was away says hardly anything.
        least, most = sent_at - stamp / 1000, acknowledged_at - stamp / 1000
        self.skew = min(max(self.skew or 0.0, least), most)
        noteworthy = abs(self.skew) > _NOTEWORTHY
        if noteworthy and not self._said:
            direction = "ahead of" if self.skew > 0 else "behind"
            log.warning(
                "this machine's clock is %.1f s %s the broker's: the broker's counts here, set this one right",
                abs(self.skew),
                direction,
            )
        self._said = noteworthy

"""What the Kafka client itself has to say, without its repetitions: while a broker is away it says the same many times a second."""

import logging
import re
import time
from collections.abc import Callable
from typing import Final

_EVERY: Final = 60.0
"""Seconds for which a message is only counted after it has been logged."""
_MOST_SHAPES: Final = 1000
_VARIES: Final = re.compile(r"#(?:producer|consumer)-\d+|\[thrd:[^\]]*\]|\(after [^)]*\)|\d+ ?ms|\d+ identical")
"""What differs from one repetition to the next: which client says it, on which thread, after how long."""


class OnceAMinute(logging.Filter):
    """Lets a message pass when it is new, and then once a minute with the number of its repetitions in between."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it; the count goes into the line as `repeated`.

        A client that is lost is no worker that ends: nothing the client says is more than an error.
        """
        if record.levelno > logging.ERROR:
            record.levelno, record.levelname = logging.ERROR, logging.getLevelName(logging.ERROR)
        now, shape = self._clock(), _VARIES.sub("", record.getMessage())
        logged_at, repeated = self._seen.get(shape, (-_EVERY, 0))
        if now - logged_at < _EVERY:
            self._seen[shape] = (logged_at, repeated + 1)
            return False
        if len(self._seen) >= _MOST_SHAPES:
            self._seen = {one: (at, count) for one, (at, count) in self._seen.items() if now - at < _EVERY}
        self._seen[shape] = (now, 0)
        if repeated:
            record.repeated = repeated
        return True


client_log: Final = logging.getLogger("streams.kafka.client")
client_log.addFilter(OnceAMinute())

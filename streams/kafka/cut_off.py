"""Clients that no answer reaches any more, while others get theirs: another one must take such a client's place.

librdkafka forgets the brokers that an answer does not name. A broker that is shut down may name none at all, just before it closes the
connection; a client that meets both at once has nobody left to ask, and never begins anew (2.10 to 2.16; its issue 5301).
It says nothing, and its calls time out as if the brokers were away.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.kafka.clients import admin_config, base_config
from streams.settings import Settings

CUT_OFF: Final = "the Kafka client has lost its brokers for good, others reach them"
_EVERY = 5.0
"""Seconds between two questions."""
_FOR = 20.0
"""Seconds without an answer: twice as long as a client may wait before it connects again."""
_TIMEOUT = 1.0


class _Client(Protocol):
    def list_topics(self, topic: str, timeout: float) -> Any:
        """The topic's metadata, and the brokers. Raises KafkaException."""


class CutOff:
    """Looks after one client, and those that take its place. Used from one thread."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._looked_at = 0.0
        self._since: float | None = None

    def look(self, client: _Client) -> bool:
        """Whether it is cut off: to be asked again and again while nothing comes of it. Takes two seconds at most."""
        began = time.monotonic()
        if began - self._looked_at < _EVERY:
            return False
        if began - self._looked_at > 4 * _EVERY:  # until now something came of it
            self._looked_at, self._since = began, None
            return False
        answered = _answered(client, self._topic)
        self._looked_at = time.monotonic()
        self._since = None if answered else self._since or began
        if self._since is None or self._looked_at - self._since < _FOR:
            return False
        return _answered(self._another(), self._topic)

    def _another(self) -> _Client:
        return AdminClient(admin_config(base_config(self._settings)))


def discard(close: Callable[[], object]) -> None:
    """Close a client whose place another one takes, beside all else: where it is cut off, that takes most of a minute."""
    threading.Thread(target=close, name="discarded", daemon=True).start()


def _answered(client: _Client, topic: str) -> bool:
    try:
        return bool(client.list_topics(topic, timeout=_TIMEOUT).brokers)
    except KafkaException:
        return False

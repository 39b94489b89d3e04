"""The logs of the Kafka in memory: records, transactions and their markers, and what a consumer is handed of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException

Spot = tuple[str, int]
"""A topic's name and a partition."""


def raises(code: int, **flags: bool) -> KafkaException:
    """What a client raises; `flags` are `fatal`, `retriable` and `txn_requires_abort`."""
    return KafkaException(KafkaError(code, "simulated", **flags))


@dataclass
class Transaction:
    """One producer's, with the offsets that commit with it."""

    state: str = "open"
    spots: set[Spot] = field(default_factory=set)
    offsets: dict[Spot, tuple[int, str | None]] = field(default_factory=dict)
    group: str = ""


@dataclass
class Entry:
    """A record in a log, or a transaction's marker (no message), which takes an offset as well."""

    key: bytes | None = None
    value: bytes | None = None
    headers: Any = None
    timestamp: int = 0
    transaction: Transaction | None = None
    marker: bool = False

    @property
    def visible(self) -> bool:
        return not self.marker and (self.transaction is None or self.transaction.state == "committed")


class Log:
    """One partition."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.low = 0

    @property
    def high(self) -> int:
        return len(self.entries)

    @property
    def stable(self) -> int:
        """The offset of the first record of an open transaction, or the end."""
        for offset, entry in enumerate(self.entries):
            if entry.transaction is not None and entry.transaction.state == "open" and not entry.marker:
                return offset
        return self.high


class Message:
    """A consumed record, or an event of its partition."""

    def __init__(self, spot: Spot, offset: int, entry: Entry | None = None, error: int | None = None) -> None:
        self._spot, self._offset, self._entry = spot, offset, entry
        self._error = None if error is None else KafkaError(error)

    def __getattr__(self, name: str) -> Callable[[], Any]:
        return lambda: getattr(self._entry, name)  # key, value, headers

    def __len__(self) -> int:
        return len((self._entry and self._entry.value) or b"")

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return self._spot[0]

    def partition(self) -> int:
        return self._spot[1]

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        assert self._entry is not None
        return TIMESTAMP_LOG_APPEND_TIME, self._entry.timestamp

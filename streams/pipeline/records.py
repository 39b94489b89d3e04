"""What came out of Kafka and what goes back in: plain values, so that everything between knows no client."""

from typing import NamedTuple, TypeAlias

import msgspec

Headers: TypeAlias = list[tuple[str, bytes | None]]

REQUESTS = "requests"
RESPONSES = "responses"


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A consumed record. `source` is the topic's role (`requests` or `responses`), not its name; `timestamp` is in ms."""

    source: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None


def size(record: Record) -> int:
    """Bytes of a record's key, value and headers."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers or ())
    return len(record.key or b"") + len(record.value or b"") + headers


class Output(NamedTuple):
    """A record to produce. `topic` is the role from `topics.toml`; without a `partition` the key decides it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None
    partition: int | None = None

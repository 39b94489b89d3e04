"""What came out of Kafka and what goes back in: plain values, so that everything between knows no client."""

from typing import Final, TypeAlias

import msgspec

Headers: TypeAlias = list[tuple[str, bytes | None]]

REQUESTS = "requests"
RESPONSES = "responses"

HEADER_FRAMING: Final = 16
"""Bytes around one header, at most: two lengths as Kafka writes them (5 each), or msgpack's (1 + 5 + 5)."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A consumed record. `source` is the topic's role (`requests` or `responses`), not its name; `timestamp` is in ms.

    `appended`: the broker stamped it as it came, no producer did. `headers_unreadable`: the name of a header is not UTF-8,
    which the Kafka client cannot give; `headers` is None then.
    """

    source: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None
    appended: bool = False
    headers_unreadable: bool = False


def size(record: "Record | Output") -> int:
    """Bytes of a record's key, value and headers, the headers' framing included."""
    total = len(record.key or b"") + len(record.value or b"")
    return total + headers_size(record.headers) if record.headers else total


def headers_size(headers: Headers) -> int:
    """Bytes of headers, at most: a character of a name takes up to four."""
    return sum(
        HEADER_FRAMING + (len(name) if name.isascii() else len(name.encode(errors="replace"))) + len(value or b"")
        for name, value in headers
    )


class Output(msgspec.Struct, frozen=True, gc=False):
    """A record to produce. `topic` is the role from `topics.toml`; without a `partition` the key decides it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None
    partition: int | None = None

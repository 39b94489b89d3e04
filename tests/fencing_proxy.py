"""A broker's way out: it answers that the cluster has no brokers, and closes the connection before the client has read that.

So does a Kafka node at the end of its shutdown, when the controller has fenced it, if it is the only one: a client that asks
just then is cut off for good (see `streams.kafka.cut_off`). `FencingProxy` stands before the embedded broker and does it to
every client.
"""

import socket
import struct
import threading
import time
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import Self

_METADATA = 3
_FLEXIBLE_SINCE = 9
"""The version of Metadata from which on lengths are varints, and tags follow each struct."""
_TOPIC_IDS_SINCE = 10
_VERSIONS = (12, 13)
_MORE_TOPICS = 100_000
_READING = 0.02
"""Seconds that the client is left for taking the answer in: far less than it then needs to work through so many topics."""


class FencingProxy:
    """Passes bytes between clients and the broker at this port of the machine."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._fenced = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._drop()

    def cut_off(self, seconds: float = 3.0) -> None:
        """Do it to every client that comes in so many seconds; all are made to come, and ask for the brokers first."""
        for version in _VERSIONS:
            _more_topics(version)
        self._fenced = True
        self._drop()
        time.sleep(seconds)
        self._fenced = False
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            connections, self._open = self._open, set()
        for one in connections:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(("127.0.0.1", self._broker_port))
                with self._lock:
                    self._open |= {client, broker}
                versions: dict[int, int] = {}
                for work in (self._pass_requests, self._pass_answers):
                    threading.Thread(target=work, args=(client, broker, versions), daemon=True).start()

    def _pass_requests(self, client: socket.socket, broker: socket.socket, versions: dict[int, int]) -> None:
        with suppress(OSError), client, broker:
            while frame := _frame(client):
                api, version, number = struct.unpack(">hhi", frame[:8])
                if api == _METADATA:
                    versions[number] = version
                broker.sendall(struct.pack(">i", len(frame)) + frame)

    def _pass_answers(self, client: socket.socket, broker: socket.socket, versions: dict[int, int]) -> None:
        with suppress(OSError), client, broker:
            while frame := _frame(broker):
                version = versions.pop(struct.unpack(">i", frame[:4])[0], None)
                if version is not None and self._fenced:
                    frame = _without_brokers(frame, version)
                    client.sendall(struct.pack(">i", len(frame)) + frame)
                    time.sleep(_READING)
                    return
                client.sendall(struct.pack(">i", len(frame)) + frame)


def _frame(connection: socket.socket) -> bytes:
    """One message without its length; empty at the end of the connection."""
    length = _exactly(connection, 4)
    return _exactly(connection, struct.unpack(">i", length)[0]) if length else b""


def _exactly(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        more = connection.recv(length - len(found))
        if not more:
            return b""
        found += more
    return found


def _without_brokers(frame: bytes, version: int) -> bytes:
    """A Metadata answer with its list of brokers emptied, and so many topics beside the real ones that reading it takes a while."""
    assert version >= _FLEXIBLE_SINCE
    begin = 4 + 1 + 4  # correlation id, tags of the header, throttle time
    count, at = _varint(frame, begin)
    for _ in range(count - 1):
        at = _after_text(frame, at + 4)
        at = _after_text(frame, at + 4)
        assert frame[at] == 0, "a broker with tags"
        at += 1
    after_brokers, at = at, _after_text(frame, at) + 4
    before_topics = frame[after_brokers:at]
    count, at = _varint(frame, at)
    more = _more_topics(version)
    return frame[:begin] + b"\x01" + before_topics + _as_varint(count + _MORE_TOPICS) + more + frame[at:]


@lru_cache
def _more_topics(version: int) -> bytes:
    return b"".join(_topic(number, version) for number in range(_MORE_TOPICS))


def _topic(number: int, version: int) -> bytes:
    """A topic without partitions."""
    name = b"topic-%05d" % number
    topic_id = struct.pack(">qq", 1, number) if version >= _TOPIC_IDS_SINCE else b""
    return b"\0\0" + _as_varint(len(name) + 1) + name + topic_id + b"\0" + b"\x01" + b"\x80\0\0\0" + b"\0"


def _after_text(frame: bytes, at: int) -> int:
    length, at = _varint(frame, at)
    return at + max(length - 1, 0)


def _as_varint(value: int) -> bytes:
    found = b""
    while value >= 0x80:
        found, value = found + bytes([value & 0x7F | 0x80]), value >> 7
    return found + bytes([value])


def _varint(frame: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (frame[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if frame[at - 1] < 0x80:
            return value, at

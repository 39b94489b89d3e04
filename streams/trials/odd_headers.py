"""Writes what confluent_kafka cannot: records with a header name that is not UTF-8, as Java, Go or C clients may send them."""

import ctypes
from typing import Any, Final

from confluent_kafka import cimpl

from streams.errors import StreamError
from streams.kafka.clients import base_config
from streams.settings import Settings

_TOPIC, _VALUE, _KEY, _FLAGS, _HEADERS, _END = 1, 4, 5, 7, 10, 0
_COPY: Final = 2
_OURS: Final = {
    "compression.type": "lz4",
    "partitioner": "murmur2_random",
    "enable.idempotence": "true",
    "log_level": "0",
}


class OddProducer:
    """librdkafka's own producer, reached through ctypes. Raises StreamError where it cannot be had, or takes no record."""

    def __init__(self, settings: Settings) -> None:
        self._client: Any = ctypes.CDLL(cimpl.__file__)
        for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
            getattr(self._client, name).restype = ctypes.c_void_p
        self._client.rd_kafka_producev.argtypes = [ctypes.c_void_p]  # the rest is of no fixed number
        reason, size = ctypes.create_string_buffer(512), ctypes.c_size_t(512)
        conf = ctypes.c_void_p(self._client.rd_kafka_conf_new())
        options = {name: value for name, value in base_config(settings).items() if isinstance(value, str)}
        for option, value in {**options, **_OURS}.items():
            if self._client.rd_kafka_conf_set(conf, option.encode(), value.encode(), reason, size):
                raise StreamError(reason.value.decode())
        self._producer = ctypes.c_void_p(self._client.rd_kafka_new(0, conf, reason, size))
        if not self._producer:
            raise StreamError(reason.value.decode())

    def send(self, topic: str, key: bytes | None, value: bytes | None, *names: bytes) -> None:
        """One record, with an empty header of each name."""
        headers = ctypes.c_void_p(self._client.rd_kafka_headers_new(ctypes.c_size_t(len(names))))
        for name in names:
            self._client.rd_kafka_header_add(headers, name, ctypes.c_ssize_t(len(name)), b"", ctypes.c_ssize_t(0))
        arguments: list[Any] = [_TOPIC, ctypes.c_char_p(topic.encode()), _FLAGS, _COPY, _HEADERS, headers]
        for kind, part in ((_VALUE, value), (_KEY, key)):
            arguments += [kind, ctypes.c_char_p(part), ctypes.c_size_t(len(part or b""))]
        if self._client.rd_kafka_producev(self._producer, *arguments, _END):
            raise StreamError(f"the client does not take a record for {topic}")

    def flush(self, seconds: float) -> None:
        """Wait until what was sent is stored."""
        if self._client.rd_kafka_flush(self._producer, int(seconds * 1000)):
            raise StreamError(f"the broker did not take all records with odd headers within {seconds:g} s")

    def close(self) -> None:
        """Let go of the client."""
        self._client.rd_kafka_destroy(self._producer)

"""Writes what confluent_kafka cannot: records with a header name that is not UTF-8, as Java, Go or C clients may send them."""

import ctypes

from confluent_kafka import cimpl

_TOPIC, _VALUE, _KEY, _FLAGS, _HEADERS, _END = 1, 4, 5, 7, 10, 0
_COPY = 2


def send(bootstrap: str, topic: str, key: bytes, value: bytes, *names: bytes) -> None:
    """One record, with an empty header of each name; it is stored when this returns."""
    client = ctypes.CDLL(cimpl.__file__)
    for function in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(client, function).restype = ctypes.c_void_p
    reason, pointer = ctypes.create_string_buffer(512), ctypes.c_void_p
    conf = client.rd_kafka_conf_new()
    client.rd_kafka_conf_set(pointer(conf), b"bootstrap.servers", bootstrap.encode(), reason, ctypes.c_size_t(512))
    producer = pointer(client.rd_kafka_new(0, pointer(conf), reason, ctypes.c_size_t(512)))
    headers = pointer(client.rd_kafka_headers_new(ctypes.c_size_t(len(names))))
    for name in names:
        client.rd_kafka_header_add(headers, name, ctypes.c_ssize_t(len(name)), b"", ctypes.c_ssize_t(0))
    arguments = [_TOPIC, topic.encode(), _FLAGS, _COPY, _HEADERS, headers]
    arguments += [_VALUE, value, ctypes.c_size_t(len(value)), _KEY, key, ctypes.c_size_t(len(key)), _END]
    assert 0 == client.rd_kafka_producev(producer, *arguments)
    assert 0 == client.rd_kafka_flush(producer, 10_000)
    client.rd_kafka_destroy(producer)

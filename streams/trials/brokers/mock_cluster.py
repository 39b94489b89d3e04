"""The embedded broker's process, run by its path: librdkafka's mock cluster reached through ctypes.

It imports nothing of ours: that would take longer than everything else at its start.
"""

import ctypes
import json
import sys
import time
from typing import Any

from confluent_kafka import cimpl

_PAUSE = 0.002

# The functions of rdkafka_mock.h (and rdkafka.h) in use: argument types and result type.
_SIGNATURES: dict[str, tuple[list[Any], Any]] = {
    "rd_kafka_conf_new": ([], ctypes.c_void_p),
    "rd_kafka_conf_set": (
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t],
        ctypes.c_int,
    ),
    "rd_kafka_new": ([ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t], ctypes.c_void_p),
    "rd_kafka_err2str": ([ctypes.c_int], ctypes.c_char_p),
    "rd_kafka_mock_cluster_new": ([ctypes.c_void_p, ctypes.c_int], ctypes.c_void_p),
    "rd_kafka_mock_cluster_bootstraps": ([ctypes.c_void_p], ctypes.c_char_p),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": ([ctypes.c_void_p, ctypes.c_int32], None),
    "rd_kafka_mock_topic_create": ([ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int], ctypes.c_int),
    "rd_kafka_mock_broker_set_down": ([ctypes.c_void_p, ctypes.c_int32], ctypes.c_int),
    "rd_kafka_mock_broker_set_up": ([ctypes.c_void_p, ctypes.c_int32], ctypes.c_int),
    "rd_kafka_mock_broker_set_host_port": (
        [ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p, ctypes.c_int],
        ctypes.c_int,
    ),
    "rd_kafka_mock_broker_set_rtt": ([ctypes.c_void_p, ctypes.c_int32, ctypes.c_int], ctypes.c_int),
    "rd_kafka_mock_push_request_errors_array": (
        [ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)],
        None,
    ),
}


class MockClusterError(Exception):
    """What the library refuses, or lacks; for the program that started the broker it is a BrokerError."""


class _MockCluster:
    """librdkafka's mock cluster in this process; it lives until the process ends."""

    def __init__(self, brokers: int, topics: list[tuple[str, int]]) -> None:
        self._library = _library()
        self._brokers = brokers
        reason = ctypes.create_string_buffer(512)
        conf = self._library.rd_kafka_conf_new()
        # The client that owns the cluster connects to nothing, and would warn about that.
        self._library.rd_kafka_conf_set(conf, b"log_level", b"0", reason, len(reason))
        owner = self._library.rd_kafka_new(0, conf, reason, len(reason))
        self._cluster = owner and self._library.rd_kafka_mock_cluster_new(owner, brokers)
        if not self._cluster:
            raise MockClusterError(f"librdkafka could not start its mock cluster: {reason.value.decode()}")
        # Otherwise the first member of a group waits three seconds for others to join.
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        for name, partitions in topics:
            self.create_topic(name, partitions)

    @property
    def bootstrap(self) -> str:
        listed: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return listed.decode()

    def create_topic(self, name: str, partitions: int) -> None:
        self._check(
            self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, self._brokers), name
        )

    def set_down(self, broker: int) -> None:
        self._check(self._library.rd_kafka_mock_broker_set_down(self._cluster, broker), f"broker {broker}")

    def set_up(self, broker: int) -> None:
        self._check(self._library.rd_kafka_mock_broker_set_up(self._cluster, broker), f"broker {broker}")

    def advertise(self, broker: int, host: str, port: int) -> None:
        code = self._library.rd_kafka_mock_broker_set_host_port(self._cluster, broker, host.encode(), port)
        self._check(code, f"broker {broker}")

    def set_rtt(self, broker: int, milliseconds: int) -> None:
        self._check(self._library.rd_kafka_mock_broker_set_rtt(self._cluster, broker, milliseconds), f"broker {broker}")

    def push_errors(self, api_key: int, code: int, count: int) -> None:
        codes = (ctypes.c_int * count)(*[code] * count)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, api_key, count, codes)

    def _check(self, code: int, subject: str) -> None:
        # The cluster's thread serves what was asked before it clears its wake-up signal: a request that comes right
        # after another would be noticed only a second later.
        time.sleep(_PAUSE)
        if code:
            raise MockClusterError(f"{subject}: {self._library.rd_kafka_err2str(code).decode()}")


def _library() -> ctypes.CDLL:
    # Symbols are looked up in what a library links to as well, so this finds the very librdkafka that the client uses.
    library = ctypes.CDLL(cimpl.__file__)
    for name, (arguments, result) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise MockClusterError(
                f"this build of confluent-kafka lacks {name}, so it has no embedded broker: install a wheel of the "
                "version that secondlook pins (on Linux or macOS), or give the address of a real Kafka with --broker"
            ) from error
        function.argtypes, function.restype = arguments, result
    return library


def _serve() -> None:
    """Answer JSON lines on standard input, one line each, until it ends: with the parent, however that ended."""
    cluster: _MockCluster | None = None
    for line in sys.stdin:
        message = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if cluster is None:
                cluster = _MockCluster(**message)
                answer["bootstrap"] = cluster.bootstrap
            else:
                getattr(cluster, message.pop("command"))(**message)
        except MockClusterError as error:
            answer["error"] = str(error)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()

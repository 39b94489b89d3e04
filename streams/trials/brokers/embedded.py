"""The embedded broker: a Kafka cluster for demos and tests that needs nothing but the confluent-kafka wheel.

It is librdkafka's mock cluster, reached through ctypes and kept in a process of its own, because an odd request can
abort it. Keep to its limits (docs/brokers.md): no transactions worth the name, 5 MiB per partition, nothing on disk.
"""

import contextlib
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from confluent_kafka import cimpl

from streams.errors import BrokerError
from streams.kafka.topics import Topic, load_topics

ALL_BROKERS = -1
_STOP_TIMEOUT = 5.0
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
    "rd_kafka_mock_broker_set_rtt": ([ctypes.c_void_p, ctypes.c_int32, ctypes.c_int], ctypes.c_int),
    "rd_kafka_mock_push_request_errors_array": (
        [ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)],
        None,
    ),
}


class EmbeddedBroker:
    """A context manager: starts the broker with the given topics, and ends it.

    `bootstrap` is its address, "127.0.0.1:port", for any client process on this machine. The other methods inject
    faults; they raise BrokerError if the broker's process has gone. Without `topics` it has all of `load_topics()`.
    """

    def __init__(self, topics: Iterable[Topic] | None = None, *, brokers: int = 1) -> None:
        wanted = load_topics().values() if topics is None else topics
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streams.trials.brokers.embedded"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A Ctrl-C in the terminal is for the program, which may need its broker to finish.
            start_new_session=True,
        )
        try:
            answer = self._ask(brokers=brokers, topics=[[topic.name, topic.partitions] for topic in wanted])
        except BaseException:
            self.close()
            raise
        self.bootstrap: str = answer["bootstrap"]

    def __enter__(self) -> Self:
        """Return the running broker."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the broker."""
        self.close()

    def close(self) -> None:
        """End the broker and forget its records; a second call does nothing."""
        # The child ends by itself at the end of its input, also when this process was killed.
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def create_topic(self, name: str, partitions: int) -> None:
        """Add a topic (the broker answers no CreateTopics request)."""
        self._ask(command="create_topic", name=name, partitions=partitions)

    def set_down(self, broker: int = ALL_BROKERS) -> None:
        """Close a broker's connections and accept no new ones; brokers are numbered from 1."""
        self._ask(command="set_down", broker=broker)

    def set_up(self, broker: int = ALL_BROKERS) -> None:
        """Accept connections again."""
        self._ask(command="set_up", broker=broker)

    def set_round_trip_time(self, milliseconds: int, broker: int = ALL_BROKERS) -> None:
        """Delay every answer by `milliseconds`."""
        self._ask(command="set_rtt", broker=broker, milliseconds=milliseconds)

    def push_errors(self, api_key: int, code: int, count: int = 1) -> None:
        """Let the next `count` requests of one kind fail, e.g. `push_errors(0, KafkaError.NOT_LEADER_FOR_PARTITION)`.

        `api_key` is the request kind's number in Kafka's protocol (0 Produce, 1 Fetch, 3 Metadata, 8 OffsetCommit, ...).
        """
        self._ask(command="push_errors", api_key=api_key, code=code, count=count)

    def _ask(self, **message: Any) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 (both are pipes: see __init__)
        assert stdout is not None  # noqa: S101
        try:
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
            line = stdout.readline()
        except (OSError, ValueError) as error:
            raise BrokerError(f"the embedded broker is closed: {error}") from error
        if not line:
            code = self._process.wait(_STOP_TIMEOUT)
            raise BrokerError(f"the embedded broker's process ended with code {code}; what it said is on stderr")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BrokerError(f"the embedded broker refused {message}: {answer['error']}")
        return answer


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
            raise BrokerError(f"librdkafka could not start its mock cluster: {reason.value.decode()}")
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
            raise BrokerError(f"{subject}: {self._library.rd_kafka_err2str(code).decode()}")


def _library() -> ctypes.CDLL:
    # Symbols are looked up in what a library links to as well, so this finds the very librdkafka that the client uses.
    library = ctypes.CDLL(cimpl.__file__)
    for name, (arguments, result) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise BrokerError(
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
                command: Callable[..., None] = getattr(cluster, message.pop("command"))
                command(**message)
        except BrokerError as error:
            answer["error"] = str(error)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()

"""The embedded broker: a Kafka cluster for demos and tests that needs nothing but the confluent-kafka wheel.

It is librdkafka's mock cluster (`mock_cluster`), kept in a process of its own, because an odd request can abort it. Keep to its limits (docs/brokers.md): no transactions worth the name, 5 MiB per partition, nothing on disk.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from streams.errors import BrokerError
from streams.kafka.topics import Topic, load_topics

ALL_BROKERS = -1
_PROGRAM = Path(__file__).with_name("mock_cluster.py")
_STOP_TIMEOUT = 5.0


class EmbeddedBroker:
    """A context manager: starts the broker with the given topics, and ends it.

    `bootstrap` is its address, "127.0.0.1:port" of each broker, for any client process on this machine. The other methods inject
    faults; they raise BrokerError if the broker's process has gone. Without `topics` it has all of `load_topics()`.
    """

    def __init__(self, topics: Iterable[Topic] | None = None, *, brokers: int = 1) -> None:
        wanted = load_topics().values() if topics is None else topics
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", str(_PROGRAM)],
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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    def advertise(self, host: str, port: int) -> None:
        """Have clients connect to what stands before the first broker, and passes on."""
        self._ask(command="advertise", broker=1, host=host, port=port)
        self.bootstrap = f"{host}:{port}"

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

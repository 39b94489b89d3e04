"""Doubles of confluent_kafka's clients: they note what is asked of them, in order, and fail where they are told to."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition


class Hang(threading.Event):
    """A call that does not come back before this is set."""


UNSENT: Any = SimpleNamespace(topic=lambda: "auto_action")
"""The record that a delivery report is about."""
Fault = BaseException | Hang | None


def problem(code: int, text: str = "injected", **flags: bool) -> KafkaException:
    """An exception as the client raises it; `flags` are `fatal`, `retriable` and `txn_requires_abort`."""
    return KafkaException(KafkaError(code, text, **flags))


def away() -> KafkaException:
    """What a transactional call raises while the broker does not answer."""
    return problem(KafkaError._TIMED_OUT, "no answer", retriable=True)


class Faults:
    """The outcomes of the next calls, by the call's name; a call that none is left for succeeds."""

    def __init__(self) -> None:
        self._coming: dict[str, Iterator[Fault]] = {}
        self.calls: list[str] = []

    def on(self, call: str, *faults: Fault) -> None:
        """Let the next calls of this name meet these faults, in this order; None is a success."""
        self.always(call, faults)

    def always(self, call: str, faults: Iterable[Fault]) -> None:
        """Take the faults from anything that gives one after the other."""
        self._coming[call] = iter(faults)

    def meet(self, call: str) -> None:
        """Note the call, and raise what is due, or hang."""
        self.calls.append(call)
        fault = next(self._coming.get(call, iter(())), None)
        if isinstance(fault, Hang):
            fault.wait()
        elif fault is not None:
            raise fault


class FaultyProducer:
    """Stands in for `confluent_kafka.Producer`: a broker that keeps what was committed, and forgets what was aborted."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.faults = Faults()
        self.committed: list[str] = []
        self.offsets: list[TopicPartition] = []
        self.unreported: deque[KafkaError] = deque()
        self.queued = 0
        self._open: list[str] = []

    @property
    def calls(self) -> list[str]:
        """Every call so far, polls aside."""
        return [call for call in self.faults.calls if call != "poll"]

    def init_transactions(self, _timeout: float) -> None:
        self.faults.meet("init")

    def begin_transaction(self) -> None:
        self.faults.meet("begin")

    def produce(self, topic: str, value: bytes, _key: bytes, _partition: int = -1, *, headers: Any = None) -> None:
        assert headers is None
        self.faults.meet(f"produce {topic}")
        self._open.append(value.decode())

    def send_offsets_to_transaction(self, offsets: list[TopicPartition], group: Any, _timeout: float) -> None:
        assert group == "the group"
        self.faults.meet("offsets")
        self.offsets = offsets

    def commit_transaction(self, _timeout: float) -> None:
        self._report()
        self.faults.meet("commit")
        self.committed += self._open
        self._open = []

    def abort_transaction(self, _timeout: float) -> None:
        self.faults.meet("abort")
        if self._open:  # as the client does: what had not left it yet is reported as failed
            self.config["on_delivery"](KafkaError(KafkaError._PURGE_QUEUE), UNSENT)
        self._open = []

    def list_topics(self, _topic: str, timeout: float) -> Any:  # noqa: ARG002 - nothing is waited for
        self.faults.meet("list topics")
        return SimpleNamespace(brokers={1: None})

    def flush(self, _timeout: float) -> int:
        self._report()
        self.faults.meet("flush")
        if not self.queued:
            self.committed += self._open
            self._open = []
        return self.queued

    def poll(self, _timeout: float) -> int:
        self.faults.meet("poll")
        self._report()
        return 0

    def _report(self) -> None:
        while self.unreported:
            self.config["on_delivery"](self.unreported.popleft(), UNSENT)


class FaultyConsumer:
    """Stands in for `confluent_kafka.Consumer` where offsets are committed; writes into the producer's list of calls."""

    def __init__(self, faults: Callable[[], Faults]) -> None:
        self._faults = faults
        self.offsets: list[TopicPartition] = []

    def commit(self, offsets: list[TopicPartition]) -> None:
        self._faults().meet("commit offsets")
        self.offsets = offsets

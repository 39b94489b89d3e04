"""Calls into a Kafka client, on a thread that can be left behind: some never come back, whatever time they are given."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

_Result = TypeVar("_Result")


class CallHung(KafkaException):
    """A call has not come back: as fatal to the client as what it says to be fatal."""

    def __init__(self, seconds: float) -> None:
        text = f"a call into the Kafka client has hung for {seconds:g} s"
        super().__init__(KafkaError(KafkaError._FATAL, text, fatal=True))  # noqa: SLF001 - its public name


class Caller:
    """Makes one call after the other. Once one has hung, neither this caller nor the client is of any more use."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.hung = False
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon, so that the end of the process does not wait for a call that never ends.
        threading.Thread(target=self._run, name="client-calls", daemon=True).start()

    def make(self, call: Callable[[], _Result]) -> _Result:
        """Make the call; raises what it raises, and CallHung when it takes longer than the patience (s)."""
        future: Future[_Result] = Future()
        self._work.put(lambda: _settle(future, call))
        try:
            return future.result(self._patience)
        except TimeoutError:
            if future.done():
                raise
            self.hung = True
            raise CallHung(self._patience) from None

    def close(self) -> None:
        """End the thread, as soon as the call it is in lets it."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _settle(future: "Future[_Result]", call: Callable[[], _Result]) -> None:
    try:
        future.set_result(call())
    except BaseException as problem:  # noqa: BLE001 - raised again where the call is waited for
        future.set_exception(problem)

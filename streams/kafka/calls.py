"""A thread for blocking calls into a Kafka client that can be left behind: some never come back, whatever time they are given."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

_Result = TypeVar("_Result")


class LeftBehind(BaseException):
    """Unwinds the thread of a call that came back after all: others do its work by now. Caught by nobody but its line."""


class _Job(NamedTuple):
    future: "Future[Any]"
    work: Callable[[], object]


class Line:
    """Does one piece of work after the other, on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._current: Future[Any] | None = None
        self._closed = False
        self._begin(None)

    def submit(self, work: Callable[[], _Result]) -> "Future[_Result]":
        """Do this after what was submitted before; once closed, it is cancelled. From any thread."""
        future: Future[_Result] = Future()
        self._jobs.put(_Job(future, work))
        if self._closed:
            future.cancel()  # nobody comes for it any more, and whoever waits for it would hold up the end of the process
        return future

    def leave_behind(self, instead: Callable[[], BaseException]) -> None:
        """Go on with another thread. What hangs ends with the exception that `instead` gives or raises, which is done first.

        The work that hangs must raise LeftBehind when it comes back.
        """
        hung = self._current
        self._begin(None if hung is None else _Job(hung, lambda: _raise(instead())))

    def close(self) -> None:
        """End the thread after what was submitted."""
        self._closed = True
        self._jobs.put(None)

    def _begin(self, first: _Job | None) -> None:
        # A daemon, so that the end of the process does not wait for a call that never ends.
        threading.Thread(target=self._run, args=(first,), name=self._name, daemon=True).start()

    def _run(self, job: _Job | None) -> None:
        if job is not None and not self._does(job):
            return
        while (job := self._jobs.get()) is not None:
            if job.future.set_running_or_notify_cancel() and not self._does(job):
                return

    def _does(self, job: _Job) -> bool:
        """Do it; whether this thread still counts afterwards."""
        self._current = job.future
        try:
            result = job.work()
        except LeftBehind:
            return False
        except BaseException as problem:  # noqa: BLE001 - raised again where it is waited for
            self._current = None
            job.future.set_exception(problem)
        else:
            self._current = None
            job.future.set_result(result)
        return True


def _raise(problem: BaseException) -> object:
    raise problem

"""A rolling deploy under load: two workers are replaced, one after the other, while requests and responses come by the clock.

    python benchmarks/rolling.py [--rate PAIRS_PER_S] [--away S] [--only NAME] [--model MODEL] [--json PATH]

Exactly once, on a local Kafka (needs Java and Maven). With names (`instance_id`, the pod's name) and without; ended by SIGTERM, with a new worker started
at once or `--away` seconds later (a pod is placed, its image started), and by SIGKILL, as a crash would. A decision's latency counts from the
moment that its response was due to be sent until a committed reader has it. Lost and repeated decisions end it with 1.
"""

import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from threading import Event
from typing import Any, NamedTuple

import numpy as np
from contenders import repeats
from course import Course, Figures, conclude, options
from latency import await_ready
from pacing import Reader, Sender, parts

from featurizers import SecondlookError
from streams.errors import StreamError
from streams.trials.brokers import LocalKafka
from streams.trials.worker_process import WorkerProcess

_WARM_UP, _BEFORE, _BETWEEN, _AFTER = 8.0, 10.0, 8.0, 5.0
"""Seconds of load that do not count, of load before the first worker goes, between the two, and after the second one is ready."""
_LONGEST = 300.0
_STRAGGLERS = 90.0
_LATE = 1.0


class Way(NamedTuple):
    """How workers are replaced. `away` are seconds between the end of the old one and the start of the new one."""

    name: str
    named: bool
    how: signal.Signals = signal.SIGTERM
    away: float = 0.0


class Moments(NamedTuple):
    """When (monotonic) workers were warm, the first worker was told to go, and the last one was ready; and each one's seconds in between."""

    begun: float
    rolled: float
    done: float
    gone: tuple[float, ...]


def ways(away: float) -> tuple[Way, ...]:
    return tuple(
        Way(f"{'named' if named else 'nameless'}, {what}", named, how, apart)
        for what, how, apart in (
            ("SIGTERM", signal.SIGTERM, 0.0),
            (f"SIGTERM, {away:g} s away", signal.SIGTERM, away),
            ("SIGKILL", signal.SIGKILL, 0.0),
        )
        for named in (True, False)
    )


class Roll:
    """Two workers under load, replaced in one way."""

    def __init__(self, course: Course, way: Way, stack: ExitStack) -> None:
        self._course, self._way, self._stack = course, way, stack

    def _start(self, number: int) -> tuple[WorkerProcess, int]:
        name = f"bench-{number}"
        return self._stack.enter_context(
            self._course.running(name) if self._way.named else self._course.running(instance_id=None)
        )

    def run(self, under_load: Callable[[], None]) -> Moments:
        """Begin the load, and replace both; the load goes on meanwhile."""
        running = [self._start(number) for number in (0, 1)]
        for _, port in running:
            await_ready(port)
        under_load()
        time.sleep(_WARM_UP)
        begun = time.monotonic()
        time.sleep(_BEFORE)
        rolled = time.monotonic()
        gone = []
        for number, (process, _) in enumerate(running):
            if number:
                time.sleep(_BETWEEN)
            gone.append(self._replace(number, process))
        return Moments(begun, rolled, time.monotonic(), tuple(gone))

    def _replace(self, number: int, process: WorkerProcess) -> float:
        began = time.monotonic()
        if self._way.how is signal.SIGKILL:
            process.kill()
        elif (code := process.terminate()) != 0:
            raise StreamError(f"a worker ended with {code}: {process.last_words()}")
        time.sleep(self._way.away)
        _, port = self._start(number)
        await_ready(port)
        return time.monotonic() - began


def measure(course: Course, way: Way, rate: float, made: list[tuple[bytes, bytes]]) -> Figures:
    """One way's figures. Raises StreamError when a decision is missing or was made twice."""
    sender, over = Sender(course.track, made), Event()
    count = int(rate * _LONGEST)
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(1))
        reader = stack.enter_context(closing(Reader(course.track)))
        reader.begin(1, count)
        stack.callback(over.set)
        due: list[Any] = []
        sending: list[Any] = []

        def under_load() -> None:
            due.append(time.monotonic() + np.arange(count) / rate)
            sending.append(threads.submit(sender.run, 1, due[0], over.is_set))

        moments = Roll(course, way, stack).run(under_load)
        time.sleep(_AFTER)
        over.set()
        late = sending[0].result()
        seen = reader.finish(_STRAGGLERS, sender.sent)
    decided = course.track.decisions()
    missing = int(np.isnan(seen).sum())
    if missing or repeats(decided) or len(decided) != sender.sent:
        raise StreamError(
            f"{way.name}: of {sender.sent} {len(decided)} decided, {repeats(decided)} again, {missing} not seen"
        )
    return {**figures(due[0][: sender.sent], seen, moments), "sender_late_s": round(late, 3), "decided": sender.sent}


def figures(due: Any, seen: Any, moments: Moments) -> Figures:
    """Latencies (s) before and during the roll, the share that took more than a second, and how long each worker was gone."""
    took = seen - due
    before = took[
        (due >= moments.begun) & (due < moments.rolled - _LATE)
    ]  # what is due just before is decided during it
    during = took[(due >= moments.rolled - _LATE) & (due < moments.done + _AFTER)]
    found: Figures = {}
    for name, part in (("before", before), ("during", during)):
        found |= {f"{name}_p50": _rounded(np.percentile(part, 50)), f"{name}_p99": _rounded(np.percentile(part, 99))}
        found[f"{name}_max"] = _rounded(part.max())
    found["late_share"] = _rounded((during > _LATE).mean())
    return found | {f"gone_{number}": _rounded(gone) for number, gone in enumerate(moments.gone)}


def _rounded(value: Any) -> float:
    return round(float(value), 3)


def main() -> None:
    """Run it, print and write the figures."""
    parser = options(__doc__ or "")
    parser.add_argument("--rate", type=float, default=500.0, help="requests and responses a second")
    parser.add_argument("--away", type=float, default=5.0, help="seconds without the pod, in the cases that have them")
    parser.add_argument("--only", default="", help="only ways with this in their name")
    given = parser.parse_args()
    all_figures: Figures = {}
    made = parts()
    try:
        with LocalKafka() as kafka:
            for number, way in enumerate(ways(given.away)):
                if given.only not in way.name:
                    continue
                found = measure(Course(kafka.bootstrap, given.model, f"rolling-{number}"), way, given.rate, made)
                shown = "  ".join(f"{key} {value:,.3f}" for key, value in found.items())
                print(f"{way.name:28} {shown}", flush=True)
                all_figures |= {f"{way.name}.{key}": value for key, value in found.items()}
    except (SecondlookError, OSError) as problem:
        sys.exit(f"rolling: {problem}")
    conclude("rolling", all_figures, {}, given.json)


if __name__ == "__main__":
    main()

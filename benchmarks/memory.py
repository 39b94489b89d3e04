"""Memory: one worker, held to 512 MB, under more records that have no other half than it can hold.

    python benchmarks/memory.py [--requests N] [--responses N] [--response-timeout S] [--max-pending-bytes B] [--json PATH]

Exactly once, on a local Kafka (needs Java and Maven). 200,000 requests of 5 kB that nobody answers and 100,000 answers of
11 kB that nobody asked for come mixed, as fast as they can be produced. The worker pauses, decides what it cannot hold or
what has waited too long, and goes on reading. In the end every request was decided once, every answer was set aside once,
and the process never had more than 512 MB resident.

The operating system helps: beyond `--data-limit` it gives the worker no more memory (RLIMIT_DATA: heap, stacks of threads and
private mappings, touched or not), and the worker would end.
"""

import random
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from contenders import repeats
from course import Course, Figures, audit, conclude, options, page, peak_mb, producing, total, until
from track import Track, answers

from featurizers import SecondlookError
from streams.errors import StreamError
from streams.trials.brokers import LocalKafka
from streams.trials.worker_process import WorkerProcess

_REQUEST_BYTES = 5000
_PADDINGS = 64
_LIMITS = {"peak_mb": 512.0}
_STACK = 2**20
"""Bytes of a thread's stack: 8 MB each, most of it never touched, would count as data."""


def main() -> None:
    """Run it, print and write the figures."""
    parser = options(__doc__)
    parser.add_argument("--requests", type=int, default=200_000, help="requests that nobody answers")
    parser.add_argument("--responses", type=int, default=100_000, help="answers that nobody asked for")
    parser.add_argument("--response-timeout", type=float, default=20.0, help="seconds")
    parser.add_argument("--max-pending-bytes", type=int, default=192 * 2**20)
    parser.add_argument("--data-limit", type=int, default=640, help="MB that the worker may allocate")
    given = parser.parse_args()
    try:
        with LocalKafka() as kafka:
            course = Course(kafka.bootstrap, given.model, "memory")
            settings = {
                "response_timeout": given.response_timeout,
                "max_pending_bytes": given.max_pending_bytes,
            }
            with _small_stacks(), course.running(**settings) as (process, port):
                most = given.data_limit * 1_000_000
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (most, most))
                figures = under_load(course.track, process, port, given.requests, given.responses)
    except SecondlookError as problem:
        sys.exit(f"memory: {problem}")
    for name, value in figures.items():
        print(f"{name:40} {value:>14,}")
    conclude("memory", figures, _LIMITS, given.json)


@contextmanager
def _small_stacks() -> Iterator[None]:
    """Processes started within get small stacks for their threads."""
    before = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (_STACK, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, before)


class Watch:
    """What the metrics have shown so far: how often reading was held back and went on, and the most that waited."""

    def __init__(self) -> None:
        self.pauses = self.resumes = 0
        self.most_bytes = 0.0
        self._paused = False

    def settled(self, port: int) -> float:
        """Look once; the records that have been decided or set aside by now."""
        samples = page(port)
        if samples:
            paused = total(samples, "secondlook_paused") > 0
            self.pauses += paused and not self._paused
            self.resumes += self._paused and not paused
            self._paused = paused
            self.most_bytes = max(self.most_bytes, total(samples, "secondlook_pending_bytes"))
        return total(samples, "secondlook_decisions_total") + total(samples, "secondlook_dead_letters_total")


def under_load(track: Track, process: WorkerProcess, port: int, requests: int, responses: int) -> Figures:
    """Produce, watch the worker until nothing is left, and check what became of every record."""
    process.wait_for("assigned")
    at_rest, watch, began = peak_mb(process.pid), Watch(), time.perf_counter()
    filler = threading.Thread(target=_produce, args=(track, requests, responses), daemon=True)
    filler.start()
    until(lambda: watch.settled(port) >= requests + responses, process)
    seconds = time.perf_counter() - began
    filler.join()
    until(lambda: watch.settled(port) > 0 and watch.pauses == watch.resumes, process)
    peak = peak_mb(process.pid)
    exit_code = process.terminate()
    books = audit(track)
    books.check(decided=requests, dead=responses)
    if exit_code != 0 or not watch.pauses or watch.pauses != watch.resumes:
        raise StreamError(f"exit code {exit_code}, held back {watch.pauses} times, went on {watch.resumes} times")
    return {
        "seconds": round(seconds, 1),
        **{f"decided_{reason}": count for reason, count in sorted(books.reasons.items())},
        **{f"dead_letter_{code}": count for code, count in sorted(books.codes.items())},
        "decided_again": repeats(books.decided),
        "held_back": watch.pauses,
        "went_on": watch.resumes,
        "most_waiting_mb": round(watch.most_bytes / 1e6, 1),
        "at_rest_mb": at_rest,
        "peak_mb": peak,
    }


def _produce(track: Track, requests: int, responses: int) -> None:
    """Both kinds mixed, as they are needed for both to end at the same time."""
    chance = random.Random(0)
    # Half as compressible as it could be, and never twice in one window of the compression.
    paddings = [chance.randbytes(_REQUEST_BYTES // 2).hex() for _ in range(_PADDINGS)]
    orphans = answers(responses)
    with producing(track) as put:
        sent = 0
        for number in range(requests):
            request_id = f"alone-{number:08d}"
            content = paddings[number % _PADDINGS]
            value = f'{{"request_id":"{request_id}","policy":"hate","content":"{content}"}}'
            put("requests", request_id.encode(), value.encode())
            while sent * requests < (number + 1) * responses:
                key, _, response = next(orphans)
                put("responses", key, response)
                sent += 1


if __name__ == "__main__":
    main()

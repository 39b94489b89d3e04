"""Backlog: answered requests that stood in Kafka for an hour before any worker read them.

    python benchmarks/backlog.py [--pairs N] [--max-pending N ...] [--partitions N ...] [--stamps KIND ...] [--json PATH]

Exactly once, on a local Kafka (needs Java and Maven). Every request has its answer in Kafka, and every record is older than the
response timeout when the worker starts, so whatever times out is the worker's fault: no request may be decided
`no_response`, and none twice. One run for each of
- stamps: `create`, producers' times from an hour ago up to now; `append`, the broker's own, as `topics create` sets it;
- partitions: even, or uneven, where each holds half of what is left;
- which half of each pair was written first: all requests, or all answers;
- the limit of waiting records: far below the backlog, below it, and the default.
"""

import itertools
import sys
import time
from dataclasses import dataclass

from contenders import repeats
from course import Course, Figures, audit, conclude, metric, options, producing, small, until
from track import INPUTS, Track

from featurizers import SecondlookError
from streams.settings import Settings
from streams.trials.brokers import LocalKafka

_MARGIN = 5.0
"""Seconds that a request waits for its response beyond what it took to write the backlog: by the broker's stamps the halves
of a pair lie that far apart."""
_HOUR = 3_600_000
_STAMPS = {"create": "CreateTime", "append": "LogAppendTime"}
_SHAPES = ("even", "uneven")
_SHOWN = ("seconds", "decided", "again", "no_response", "dead")


@dataclass(frozen=True)
class Backlog:
    """How a backlog lies in Kafka. `first` is the role whose records were all written before the other's."""

    stamps: str
    partitions: int
    shape: str
    first: str

    def __str__(self) -> str:
        return f"{self.stamps}.{self.partitions}-{self.shape}.{self.first}-first"


def main() -> None:
    """Run all, print and write the figures."""
    parser = options(__doc__)
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--max-pending", type=int, nargs="+", default=[500, 10_000, Settings().max_pending])
    parser.add_argument("--partitions", type=int, nargs="+", default=[4, 12])
    parser.add_argument("--stamps", nargs="+", choices=_STAMPS, default=list(_STAMPS))
    parser.add_argument("--shapes", nargs="+", choices=_SHAPES, default=_SHAPES)
    parser.add_argument("--first", nargs="+", choices=INPUTS, default=INPUTS)
    given = parser.parse_args()
    cases = itertools.product(given.stamps, given.partitions, given.shapes, given.first)
    figures: Figures = {}
    print(f"{'backlog':40} {'max_pending':>11}  " + " ".join(f"{name:>11}" for name in _SHOWN))
    try:
        with LocalKafka() as kafka:
            for backlog in itertools.starmap(Backlog, cases):
                course = Course(
                    kafka.bootstrap,
                    given.model,
                    f"backlog-{backlog}",
                    partitions=backlog.partitions,
                    inputs={"message.timestamp.type": _STAMPS[backlog.stamps]},
                )
                timeout = _MARGIN + fill(course.track, backlog, given.pairs)
                time.sleep(timeout + 1)  # the records that were written last are old too
                for most in given.max_pending:
                    found = work_off(course, given.pairs, most, timeout)
                    figures |= {f"{backlog}.{most}.{name}": value for name, value in found.items()}
                    shown = " ".join(f"{found[name]:>11,}" for name in _SHOWN)
                    print(f"{backlog!s:40} {most:>11,}  {shown}", flush=True)
                course.track.remove()
    except SecondlookError as problem:
        sys.exit(f"backlog: {problem}")
    faults = ("missing", "again", "no_response", "dead", "exit_code")
    conclude("backlog", figures, {name: 0 for name in figures if name.rpartition(".")[2] in faults}, given.json)


def fill(track: Track, backlog: Backlog, pairs: int) -> float:
    """Write a backlog, one half of all pairs, then the other; the seconds it took. Producers' times spread over an hour."""
    began, since = time.perf_counter(), int(time.time() * 1000) - _HOUR
    with producing(track) as put:
        for role in sorted(INPUTS, key=lambda role: role != backlog.first):
            for number in range(pairs):
                request_id = f"pair-{number:08d}"
                partition = _partition(number, backlog)
                put(role, request_id.encode(), small(role, request_id), partition, since + number * _HOUR // pairs)
    return time.perf_counter() - began


def _partition(number: int, backlog: Backlog) -> int:
    """Where a pair lies. Uneven: every second one in the first partition, every second one of the rest in the next."""
    if backlog.shape == "even":
        return number % backlog.partitions
    zeros = (~number & (number + 1)).bit_length() - 1
    return min(zeros, backlog.partitions - 1)


def work_off(course: Course, pairs: int, max_pending: int, timeout: float) -> Figures:
    """Let a new group's worker decide everything, and count what it wrote."""
    course.track.clear_outputs()
    began = time.perf_counter()
    settings = {"group": f"bench-{max_pending}", "response_timeout": timeout, "max_pending": max_pending}
    with course.running(**settings) as (process, port):
        until(lambda: metric(port, "secondlook_decisions_total") >= pairs, process)
        seconds = time.perf_counter() - began
        exit_code = process.terminate()
    books = audit(course.track)
    return {
        "seconds": round(seconds, 1),
        "decided": len(books.decided),
        "missing": pairs - len(books.decided),
        "again": repeats(books.decided),
        "no_response": books.reasons["no_response"],
        "dead": sum(books.dead.values()),
        "exit_code": exit_code,
    }


if __name__ == "__main__":
    main()

"""Restart times: workers are killed after much has gone through them and while requests wait in them.

    python benchmarks/restart.py [--gone N] [--model MODEL] [--json PATH]

Exactly once, on a local Kafka (needs Java and Maven). Three things are shown, and held against their limits:
- waiting: 100,000 requests wait when the worker is killed; the next worker restores them, and decides all of them once;
- gone: 5,000,000 requests have been decided and 10,000 wait when the worker is killed; time and memory of the restore;
- kept: a second worker joins; the first one keeps partitions, and reads nothing of them again.
"""

import sys
import threading
import time
from typing import Any

from contenders import repeats
from course import PATIENCE, Course, Figures, Put, conclude, metric, options, peak_mb, producing, small, until
from track import Track

from featurizers import SecondlookError
from streams.errors import StreamError
from streams.trials.brokers import LocalKafka
from streams.trials.worker_process import WorkerProcess

_WAITING = 100_000
_WAITING_BEHIND = 10_000
_LIMITS = {"waiting.restore_seconds": 2.0, "gone.restore_seconds": 10.0, "gone.peak_mb": 300.0, "kept.entries_again": 0}
"""At most; a figure above is a failure."""


def main() -> None:
    """Run it, print and write the figures."""
    parser = options(__doc__)
    parser.add_argument("--gone", type=int, default=5_000_000, help="requests decided before the worker is killed")
    given = parser.parse_args()
    figures: Figures = {}
    try:
        with LocalKafka() as kafka:
            for name, case in {
                "waiting": lambda course: waiting(course, _WAITING),
                "gone": lambda course: gone(course, given.gone, _WAITING_BEHIND),
                "kept": kept,
            }.items():
                found = case(Course(kafka.bootstrap, given.model, f"restart-{name}"))
                for key, value in found.items():
                    figures[f"{name}.{key}"] = value
                    print(f"{name + '.' + key:40} {value:>14,}", flush=True)
    except SecondlookError as problem:
        sys.exit(f"restart: {problem}")
    conclude("restart", figures, _LIMITS, given.json)


def waiting(course: Course, count: int) -> Figures:
    """Fill a worker's waiting room, kill it, and let another one decide."""
    with course.running() as (process, port):
        produce(course.track, "requests", count)
        until(lambda: metric(port, "secondlook_pending_records", source="requests") == count, process)
        time.sleep(1)  # committed too
    produce(course.track, "responses", count)
    began = time.perf_counter()
    with course.running() as (process, _):
        back = process.wait_for("restored", PATIENCE)
        until(lambda: course.track.readable() >= count, process)
        seconds = time.perf_counter() - began
        exit_code = process.terminate()
    decided = course.track.decisions()
    if len(decided) != count or repeats(decided) or exit_code != 0:
        raise StreamError(f"{len(decided)} of {count} decided, {repeats(decided)} of them again, exit code {exit_code}")
    return {
        "waiting": back["waiting"],
        "entries": back["entries"],
        "restore_seconds": back["seconds"],
        "start_to_all_decided_seconds": round(seconds, 2),
        "decided_again": repeats(decided),
    }


def gone(course: Course, count: int, behind: int) -> Figures:
    """Send requests and responses through a worker past some that wait, kill it, and take over."""
    with course.running() as (process, port):
        produce(course.track, "requests", behind, name="waits")
        filler = threading.Thread(target=_produce_pairs, args=(course.track, count), daemon=True)
        filler.start()
        until(lambda: metric(port, "secondlook_decisions_total") >= count, process)
        filler.join()
        time.sleep(1)
    with course.running() as (process, port):
        back = process.wait_for("restored", PATIENCE)
        peak = peak_mb(process.pid)
        remembered = metric(port, "secondlook_remembered_ids")
    if back["waiting"] != behind:
        raise StreamError(f"{back['waiting']} requests wait after the restart, not {behind}")
    return {
        "decided_before": count,
        "waiting": back["waiting"],
        "remembered": remembered,
        "entries": back["entries"],
        "restore_seconds": back["seconds"],
        "peak_mb": peak,
    }


def kept(course: Course) -> Figures:
    """Let a second worker join one in which requests wait."""
    with course.running() as (process, port):
        produce(course.track, "requests", _WAITING)
        until(lambda: metric(port, "secondlook_pending_records", source="requests") == _WAITING, process)
        time.sleep(1)
        with course.running("bench-2") as (second, _):
            taken = second.wait_for("restored", PATIENCE)
            until(lambda: len(_restores(process)) > 1, process)
        again = _restores(process)[-1]
    return {
        "partitions_kept": len(again["kept"]),
        "partitions_given": len(taken["partitions"]),
        "entries_of_the_given": taken["entries"],
        "entries_again": again["entries"],
    }


def produce(track: Track, role: str, count: int, *, name: str = "pair") -> None:
    """So many small records of one kind, the same ids every time."""
    with producing(track) as put:
        for number in range(count):
            _put_small(put, role, f"{name}-{number:08d}")


def _produce_pairs(track: Track, count: int) -> None:
    with producing(track) as put:
        for number in range(count):
            _put_small(put, "requests", f"pair-{number:08d}")
            _put_small(put, "responses", f"pair-{number:08d}")


def _put_small(put: Put, role: str, request_id: str) -> None:
    put(role, request_id.encode(), small(role, request_id))


def _restores(process: WorkerProcess) -> list[dict[str, Any]]:
    return [line for line in process.lines() if line.get("message") == "restored"]


if __name__ == "__main__":
    main()

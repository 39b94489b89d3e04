"""Restart times: workers are killed after much has gone through them and while requests wait in them.

    python benchmarks/restart.py [--gone N] [--model MODEL] [--json PATH]

Exactly once, on a local Kafka (needs Java and Maven). Three things are shown, and held against their limits:
- waiting: 100,000 requests wait when the worker is killed; the next worker restores them, and decides all of them once;
- gone: 5,000,000 requests have been decided and 10,000 wait when the worker is killed; time and memory of the restore;
- kept: a second worker joins; the first one keeps partitions, and reads nothing of them again.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from confluent_kafka import Producer
from contenders import repeats, worker
from prometheus_client.parser import text_string_to_metric_families
from track import Track

from featurizers import SecondlookError
from streams.brokers.local_kafka import LocalKafka, free_ports
from streams.errors import StreamError
from streams.worker.processes import WorkerProcess

_PATIENCE = 1800.0
_PAUSE = 0.1
_WAITING = 100_000
_WAITING_BEHIND = 10_000
_LIMITS = {"waiting.restore_seconds": 2.0, "gone.restore_seconds": 10.0, "gone.peak_mb": 300.0, "kept.entries_again": 0}
"""At most; a figure above is a failure."""

Figures = dict[str, float]


def main() -> None:
    """Run it, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gone", type=int, default=5_000_000, help="requests decided before the worker is killed")
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1] / "models")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to a file as well")
    given = parser.parse_args()
    figures: Figures = {}
    try:
        with LocalKafka() as kafka:
            for name, case in {
                "waiting": lambda course: waiting(course, _WAITING),
                "gone": lambda course: gone(course, given.gone, _WAITING_BEHIND),
                "kept": kept,
            }.items():
                found = case(Course(kafka.bootstrap, given.model, name))
                for key, value in found.items():
                    figures[f"{name}.{key}"] = value
                    print(f"{name + '.' + key:40} {value:>14,}", flush=True)
    except SecondlookError as problem:
        sys.exit(f"restart: {problem}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))
    if above := [f"{name} {figures[name]:,} > {limit:,}" for name, limit in _LIMITS.items() if figures[name] > limit]:
        sys.exit(f"restart: above the limit: {'; '.join(above)}")


class Course:
    """The topics of one case, made anew, and its workers."""

    def __init__(self, broker: str, model: Path, name: str) -> None:
        self.track = Track(broker, prefix=f"bench-restart-{name}.")
        self.track.build()
        self._model = model

    @contextmanager
    def running(self, instance: str = "bench", **settings: Any) -> Iterator[tuple[WorkerProcess, int]]:
        """A worker and its web port; killed at the end, if it still runs."""
        port = free_ports(1)
        start = worker("exactly_once", group="bench-restart", instance_id=instance, web_port=port, **settings)
        process = start(self.track, self._model)
        try:
            yield process, port
        finally:
            process.kill()


def waiting(course: Course, count: int) -> Figures:
    """Fill a worker's waiting room, kill it, and let another one decide."""
    with course.running() as (process, port):
        produce(course.track, "requests", count)
        _until(lambda: metric(port, "secondlook_pending_records", source="requests") == count, process)
        time.sleep(1)  # committed too
    produce(course.track, "responses", count)
    began = time.perf_counter()
    with course.running() as (process, _):
        back = process.wait_for("restored", _PATIENCE)
        _until(lambda: course.track.readable() >= count, process)
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
        _until(lambda: metric(port, "secondlook_decisions_total") >= count, process)
        filler.join()
        time.sleep(1)
    with course.running() as (process, port):
        back = process.wait_for("restored", _PATIENCE)
        peak = _peak_mb(process.pid)
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
        _until(lambda: metric(port, "secondlook_pending_records", source="requests") == _WAITING, process)
        time.sleep(1)
        with course.running("bench-2") as (second, _):
            taken = second.wait_for("restored", _PATIENCE)
            _until(lambda: len(_restores(process)) > 1, process)
        again = _restores(process)[-1]
    return {
        "partitions_kept": len(again["kept"]),
        "partitions_given": len(taken["partitions"]),
        "entries_of_the_given": taken["entries"],
        "entries_again": again["entries"],
    }


def produce(track: Track, role: str, count: int, *, name: str = "pair") -> None:
    """So many small records of one kind, the same ids every time."""
    with _producing(track) as put:
        for number in range(count):
            put(role, f"{name}-{number:08d}")


def _produce_pairs(track: Track, count: int) -> None:
    with _producing(track) as put:
        for number in range(count):
            put("requests", f"pair-{number:08d}")
            put("responses", f"pair-{number:08d}")


@contextmanager
def _producing(track: Track) -> Iterator[Callable[[str, str], None]]:
    producer = Producer(
        {
            "bootstrap.servers": track.broker,
            "compression.type": "lz4",
            "linger.ms": 20,
            "partitioner": "murmur2_random",
        }
    )

    def put(role: str, request_id: str) -> None:
        value = _VALUES[role].replace(b"@", request_id.encode())
        while True:
            try:
                producer.produce(track.names[role], value, request_id)
            except BufferError:
                producer.poll(_PAUSE)
            else:
                return

    yield put
    producer.flush()


_VALUES = {
    "requests": b'{"request_id":"@","policy":"hate","content":"one short post"}',
    "responses": b'{"request_id":"@","provider":"openai-chat","body":{"choices":[{"message":{"content":"{\\"violation\\": false}"}}]}}',
}


def metric(port: int, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels; 0 while the worker doesn't answer."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except OSError:
        return 0
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(one.value for one in samples if labels.items() <= one.labels.items())


def _restores(process: WorkerProcess) -> list[dict[str, Any]]:
    return [line for line in process.lines() if line.get("message") == "restored"]


def _until(there: Callable[[], bool], running: WorkerProcess) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not there():
        if time.monotonic() > deadline or running.exit_code is not None:
            raise StreamError(f"what was waited for did not come: {running.last_words()}")
        time.sleep(_PAUSE)


def _peak_mb(pid: int) -> float:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return round(int(status["VmHWM"].split()[0]) * 1024 / 1e6, 1)


if __name__ == "__main__":
    main()

"""A worker is killed while requests wait in it, their responses come while nobody runs, and the next worker decides them all.

    python benchmarks/restore.py [--requests N] [--model MODEL] [--json PATH]

Exactly once, on a local Kafka (needs Java and Maven). Tells how fast the pending store came back from the changelog, and
fails when a request was not decided, or twice.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from contenders import repeats, worker
from prometheus_client.parser import text_string_to_metric_families
from track import INPUTS, Track

from featurizers import SecondlookError
from streams.brokers.local_kafka import LocalKafka, free_ports
from streams.errors import StreamError
from streams.worker.processes import WorkerProcess

_PATIENCE = 600.0
_PAUSE = 0.1


def main() -> None:
    """Run it, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000, help="that wait when the worker is killed")
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1] / "models")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to a file as well")
    given = parser.parse_args()
    try:
        with LocalKafka() as kafka:
            figures = restore(kafka.bootstrap, given.model, given.requests)
    except SecondlookError as problem:
        sys.exit(f"restore: {problem}")
    for name, value in figures.items():
        print(f"{name:32} {value:>12,}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))
    if figures["decided"] != given.requests or figures["decided_again"]:
        sys.exit("restore: every request should have been decided once")


def restore(broker: str, model: Path, count: int) -> dict[str, float]:
    """Fill a worker's waiting room, kill it, and let another one go on."""
    track = Track(broker, prefix="bench-restore.")
    track.build()
    port = free_ports(1)
    start = worker("exactly_once", group="bench-restore", instance_id="bench", web_port=port)
    killed = start(track, model)
    try:
        track.fill(count, roles=INPUTS[:1])
        _wait_for_pending(port, killed, count)
    finally:
        killed.kill()
    track.fill(count, roles=INPUTS[1:])
    began = time.perf_counter()
    successor = start(track, model)
    try:
        successor.wait_for("restored", _PATIENCE)
        back = time.perf_counter() - began
        decided = _await_decisions(track, successor, count)
        seconds = time.perf_counter() - began
        (log,) = [line for line in successor.lines() if line.get("message") == "restored"]
        stopped = successor.terminate()
    finally:
        successor.kill()
    return {
        "pending_when_killed": count,
        "changelog_records_read": log["entries"],
        "restore_seconds": log["seconds"],
        "restored_per_second": round(log["entries"] / log["seconds"]),
        "process_start_to_restored_seconds": round(back, 2),
        "process_start_to_all_decided_seconds": round(seconds, 2),
        "decided": len(decided),
        "decided_again": repeats(decided),
        "exit_code": stopped,
    }


def _wait_for_pending(port: int, running: WorkerProcess, count: int) -> None:
    """Until all requests wait in the worker, and have had the time to be committed."""
    deadline = time.monotonic() + _PATIENCE
    running.wait_for("assigned")
    while _waiting(port) < count:
        if time.monotonic() > deadline or running.exit_code is not None:
            raise StreamError(f"the worker did not take all requests: {running.last_words()}")
        time.sleep(_PAUSE)
    time.sleep(1)


def _waiting(port: int) -> float:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "secondlook_pending_records" and sample.labels == {"source": "requests"}
    )


def _await_decisions(track: Track, running: WorkerProcess, count: int) -> dict[bytes, int]:
    deadline = time.monotonic() + _PATIENCE
    while track.readable() < count:
        if time.monotonic() > deadline or running.exit_code is not None:
            raise StreamError(f"not all requests were decided: {running.last_words()}")
        time.sleep(_PAUSE)
    while len(decided := track.decisions()) < count and time.monotonic() < deadline:  # markers take offsets too
        time.sleep(_PAUSE)
    return decided


if __name__ == "__main__":
    main()

"""What the trials share: a worker on topics of its own, records for it, its metrics, and what it wrote in the end."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.request import urlopen

import msgspec
from confluent_kafka import Producer
from contenders import repeats, worker
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from track import DECISIONS, Track

from streams.errors import StreamError
from streams.pipeline.dead_letters import read_letter
from streams.trials.brokers import free_ports
from streams.trials.worker_process import WorkerProcess

PATIENCE = 1800.0
PAUSE = 0.1

Figures = dict[str, float]


def options(about: str) -> argparse.ArgumentParser:
    """The options that all trials take."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1] / "models")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to a file as well")
    return parser


def conclude(name: str, figures: Figures, limits: Mapping[str, float], path: Path | None) -> None:
    """Write the figures; exit with 1 when one is above its limit."""
    if path:
        path.write_text(json.dumps(figures, indent=2))
    if above := [f"{one} {figures[one]:,} > {limit:,}" for one, limit in limits.items() if figures[one] > limit]:
        sys.exit(f"{name}: above the limit: {'; '.join(above)}")


class Course:
    """The topics of one case, made anew, and its workers."""

    def __init__(self, broker: str, model: Path, name: str, **track: Any) -> None:
        self.track = Track(broker, prefix=f"bench-{name}.", **track)
        self.track.build()
        self._model = model

    @contextmanager
    def running(self, instance: str = "bench", **settings: Any) -> Iterator[tuple[WorkerProcess, int]]:
        """A worker and its web port; killed at the end, if it still runs."""
        port = free_ports(1)
        given = {"group": "bench", "instance_id": instance, "web_port": port, **settings}
        process = worker("exactly_once", **given)(self.track, self._model)
        try:
            yield process, port
        finally:
            process.kill()


class Put(Protocol):
    """Produces one record; waits while the producer is full."""

    def __call__(self, role: str, key: bytes, value: bytes, partition: int = -1, timestamp: int = 0) -> None: ...


@contextmanager
def producing(track: Track) -> Iterator[Put]:
    """A producer to the input topics; everything is in Kafka at the end."""
    producer = Producer(
        {
            "bootstrap.servers": track.broker,
            "compression.type": "lz4",
            "linger.ms": 20,
            "partitioner": "murmur2_random",
        }
    )

    def put(role: str, key: bytes, value: bytes, partition: int = -1, timestamp: int = 0) -> None:
        while True:
            try:
                producer.produce(track.names[role], value, key, partition=partition, timestamp=timestamp)
            except BufferError:
                producer.poll(PAUSE)
            else:
                return

    yield put
    producer.flush()


def small(role: str, request_id: str) -> bytes:
    """A small record of one kind."""
    return _SMALL[role].replace(b"@", request_id.encode())


_SMALL = {
    "requests": b'{"request_id":"@","policy":"hate","content":"one short post"}',
    "responses": b'{"request_id":"@","provider":"openai-chat","body":{"choices":[{"message":{"content":"{\\"violation\\": false}"}}]}}',
}


def page(port: int) -> list[Sample]:
    """All samples of a worker's metrics; none while it does not answer."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except OSError:
        return []
    return [sample for family in families for sample in family.samples]


def total(samples: list[Sample], name: str, **labels: str) -> float:
    """The sum of the samples of this name with these labels."""
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def metric(port: int, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels; 0 while the worker does not answer."""
    return total(page(port), name, **labels)


def until(there: Callable[[], bool], running: WorkerProcess) -> None:
    """Wait until it is so. Raises StreamError when the worker ends, or when it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not there():
        if time.monotonic() > deadline or running.exit_code is not None:
            raise StreamError(f"what was waited for did not come: {running.last_words()}")
        time.sleep(PAUSE)


def peak_mb(pid: int) -> float:
    """The most memory that a process has had resident (MB), as the kernel counts it."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return round(int(status["VmHWM"].split()[0]) * 1024 / 1e6, 1)


@dataclass(slots=True)
class Books:
    """What is readable in the end: how often each request was decided and each record set aside, and why."""

    decided: Counter[bytes] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    dead: Counter[bytes] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)

    def check(self, *, decided: int, dead: int) -> None:
        """Raise StreamError unless so many requests were decided and so many records set aside, each once."""
        found = (len(self.decided), repeats(self.decided), len(self.dead), repeats(self.dead))
        if found != (decided, 0, dead, 0):
            raise StreamError(
                f"{found[0]} of {decided} decided, {found[1]} of them again; {found[2]} of {dead} set aside, {found[3]} of "
                f"them again; reasons {dict(self.reasons)}, codes {dict(self.codes)}"
            )


class _Decision(msgspec.Struct):
    reasons: list[str]


def audit(track: Track) -> Books:
    """Read all decisions and dead letters."""
    books, read = Books(), msgspec.json.Decoder(_Decision).decode
    for message in track.committed(DECISIONS):
        books.decided[message.key()] += 1
        books.reasons[read(message.value()).reasons[0]] += 1
    for message in track.committed(("dead_letter",)):
        books.dead[message.key()] += 1
        books.codes[read_letter(message.headers()).code or "none"] += 1
    return books

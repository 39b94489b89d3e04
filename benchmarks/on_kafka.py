"""The whole worker on a real Kafka, one thing varied at a time: settings, partitions, workers, pending requests."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from contenders import Contender, Lap, Running, cpu_seconds, run, worker
from in_process import BATCH, FOR_EVER, Crowd
from track import INPUTS, Track

from streams.pipeline.ledger import Limits
from streams.pipeline.matching import Arrivals, Matcher
from streams.pipeline.pending import CHANGELOG, PartitionStore

_DELIVERY = "exactly_once"
_NO_LIMIT = {"max_pending": 10_000_000, "max_pending_bytes": 2**34}
_PAUSE = 0.05


class Team:
    """Workers of one group. As a contender it is its first worker, and has ended when one of them has."""

    def __init__(self, members: list[Running]) -> None:
        self._members = members
        self.cpu_seconds = 0.0
        """Processor time that all had taken when they were ended, their start-up included."""

    @property
    def pid(self) -> int:
        return self._members[0].pid

    @property
    def exit_code(self) -> int | None:
        return next((one.exit_code for one in self._members if one.exit_code is not None), None)

    def last_words(self) -> str:
        return " / ".join(one.last_words() for one in self._members)

    def kill(self) -> None:
        self.cpu_seconds = sum(cpu_seconds(one.pid) for one in self._members if one.exit_code is None)
        for one in self._members:
            one.kill()


def contender(number: int = 1, **settings: Any) -> Contender:
    """So many workers of one group, with these settings."""

    def start(track: Track, model: Path) -> Running:
        group = f"bench-{time.time_ns()}"
        return Team([worker(_DELIVERY, group=group, **settings)(track, model) for _ in range(number)])

    return Contender(f"{number} workers {settings}", matching=True, guarantee="exactly once", start=start)


class Course:
    """Laps of the worker on a broker; topics are filled once for each number of partitions."""

    def __init__(self, broker: str, model: Path, *, count: int, seconds: float) -> None:
        self._broker = broker
        self._model = model
        self._count = count
        self._seconds = seconds
        self._tracks: dict[int, Track] = {}

    def track(self, partitions: int = 4) -> Track:
        """The filled topics with so many partitions."""
        if partitions not in self._tracks:
            track = Track(self._broker, partitions=partitions, prefix=f"bench-{partitions}.")
            track.build()
            track.fill(self._count, roles=INPUTS)
            self._tracks[partitions] = track
        return self._tracks[partitions]

    def batch_size(self, records: int) -> dict[str, float]:
        """Throughput with at most so many records in a batch."""
        return _throughput(self._lap(contender(batch_size=records), self.track()))

    def partitions(self, number: int) -> dict[str, float]:
        """Throughput with so many partitions in every topic."""
        return _throughput(self._lap(contender(), self.track(number)))

    def workers(self, number: int) -> dict[str, float]:
        """Throughput of so many workers, from a third of the way on: by then the group has dealt out its partitions."""
        return _throughput(self._lap(contender(number), self.track(), warm=self._count // 3))

    def pending(self, number: int) -> dict[str, float]:
        """Start with so many requests pending, restored from the changelog; then throughput among them."""
        track = self.track()
        settings = {**_NO_LIMIT, "response_timeout": FOR_EVER // 1000}
        lap = self._lap(contender(**settings), track, prepare=partial(write_changelog, track, number))
        return {"start_to_first_decision_s": lap.first, "throughput": lap.throughput, "peak_mib": lap.peak_mib}

    def _lap(self, one: Contender, track: Track, **more: Any) -> Lap:
        return run(one, track, self._model, count=self._count, seconds=self._seconds, **more)


def _throughput(lap: Lap) -> dict[str, float]:
    return {"throughput": lap.throughput}


def write_changelog(track: Track, pending: int) -> None:
    """What a worker's changelog holds while so many requests wait: the matcher's own records, produced by us."""
    matcher = Matcher(response_timeout=FOR_EVER, limits=Limits(2**60, 2**60, 2**60))
    with _producing(track) as put:
        source = Crowd(track.partitions).requests(pending)
        while batch := list(islice(source, BATCH)):
            # Stores of this batch alone: what has been written need not be kept here.
            stores = {number: PartitionStore(number, dedup_window=FOR_EVER) for number in range(track.partitions)}
            for change in matcher.match(stores, Arrivals(batch, {}, {}), now=int(time.time() * 1000)).changes:
                put(change.value, change.key, change.partition)


@contextmanager
def _producing(track: Track) -> Iterator[Callable[[Any, Any, Any], None]]:
    """A way to put records into the changelog; at the end all of them are stored."""
    producer = Producer({"bootstrap.servers": track.broker, "compression.type": "lz4", "linger.ms": 20})

    def put(value: bytes | None, key: bytes, partition: int) -> None:
        while True:
            try:
                producer.produce(track.names[CHANGELOG], value, key, partition)
            except BufferError:
                producer.poll(_PAUSE)
            else:
                return

    yield put
    producer.flush()

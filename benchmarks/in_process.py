"""The pipeline without Kafka: records in, outputs out, on one core. What a worker's own work costs, and how it grows.

Run as a script it measures one standing number of pending requests in a process of its own, for only there is memory
what that number takes:

    python benchmarks/in_process.py PENDING COUNT MODEL
"""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import orjson
from job import now
from track import answers

from featurizers import PRESETS
from scoring import RECORDING, cost_threshold, load_model, read_recording
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.assignment import Assignment
from streams.pipeline.controls import Controls
from streams.pipeline.ledger import Limits
from streams.pipeline.matching import Arrivals, Matcher
from streams.pipeline.pending import PartitionStore
from streams.pipeline.records import REQUESTS, RESPONSES, Record, size
from streams.pipeline.scope import EVERYTHING
from streams.pipeline.stages import MatchedBatch, Pipeline, Polled, Ticket
from streams.settings import Settings

PARTITIONS = 4
BATCH = 500
FOR_EVER = 86_400_000
"""A timeout (ms) beyond the end of any measurement."""
_LARGEST = 4 * 2**20  # answers of 2,000 tokens come near a worker's usual 2 MiB
_FEWEST_FOR_MEMORY = 100_000  # fewer fit into what the process had taken before

Batch = list[Record]


class Stages:
    """The stages of a worker, and batches put through them one after another."""

    def __init__(self, model: Path) -> None:
        matcher = Matcher(response_timeout=FOR_EVER, limits=Limits(2**60, 2**60, 2**60), max_bytes=_LARGEST)
        stores = {number: PartitionStore(number, dedup_window=FOR_EVER) for number in range(PARTITIONS)}
        self.assignment = Assignment(1, frozenset(stores), None, stores=stores, ready=True)
        settings = Settings()
        threshold = cost_threshold(settings.cost_accounting, review=settings.cost_review, mistake=settings.cost_mistake)
        controls = Controls(load_model(model), {EVERYTHING: threshold})
        self._pipeline = Pipeline(matcher, PRESETS["lpp"], lambda: controls, topic_names(load_topics()), now)
        self._sequence = 0

    def intake(self, batch: Batch) -> MatchedBatch:
        """Decode and match."""
        self._sequence += 1
        offsets = {(record.source, record.partition): record.offset + 1 for record in batch}
        ticket = Ticket(self._sequence, self.assignment, offsets, 0.0)
        return self._pipeline.intake(Polled(ticket, Arrivals(batch, offsets, {})))

    def whole(self, batch: Batch) -> MatchedBatch:
        """All stages; what the batch would write is made, and dropped."""
        matched = self.intake(batch)
        stages = self._pipeline
        stages.route(stages.score(stages.featurize(matched)))
        return matched


def pairs(count: int, tokens: int | None = None) -> list[Record]:
    """Requests and responses, each response right behind its request."""
    now = int(time.time() * 1000)
    return [
        Record(source, number % PARTITIONS, number, now, key, value, None)
        for number, (key, request, response) in enumerate(answers(count, tokens))
        for source, value in ((REQUESTS, request), (RESPONSES, response))
    ]


def in_batches(records: Sequence[Record], length: int) -> list[Batch]:
    return [list(records[start : start + length]) for start in range(0, len(records), length)]


def rate(work: Callable[[Batch], MatchedBatch], batches: Iterable[Batch]) -> float:
    """Decisions per second."""
    gc.collect()
    decided = 0
    began = time.perf_counter()
    for batch in batches:
        decided += len(work(batch).matched.cases)
    return decided / (time.perf_counter() - began)


def throughput(records: Sequence[Record], length: int, model: Path) -> dict[str, float]:
    """The whole pipeline on these records, in batches of so many records."""
    stages = Stages(model)
    return {"throughput": rate(stages.whole, in_batches(records, length))}


# -- a standing number of pending requests -----------------------------------------------------------------------------


class Crowd:
    """Requests without end, and responses to whichever of them wait."""

    def __init__(self, partitions: int = PARTITIONS) -> None:
        self._partitions = partitions
        items = read_recording(RECORDING)
        self._requests = [{name: one for name, one in item.request.items() if name != "request_id"} for item in items]
        self._bodies = [orjson.Fragment(orjson.dumps(orjson.loads(bytes(item.response)))) for item in items]
        self._now = int(time.time() * 1000)
        self._next = 0

    def requests(self, count: int) -> Iterator[Record]:
        """The next requests."""
        for number in range(self._next, self._next + count):
            value = orjson.dumps({"request_id": _id(number), **self._requests[number % len(self._requests)]})
            yield self._record(REQUESTS, number, value)
        self._next += count

    def response(self, number: int) -> Record:
        """The response to one request, as recorded."""
        body = self._bodies[number % len(self._bodies)]
        return self._record(
            RESPONSES, number, orjson.dumps({"request_id": _id(number), "provider": "openai-chat", "body": body})
        )

    def _record(self, source: str, number: int, value: bytes) -> Record:
        # A copy of the exact length, as a Kafka client makes it: orjson leaves a hole in memory behind what it returns.
        exact = bytes(memoryview(value))
        return Record(source, number % self._partitions, number, self._now, _id(number).encode(), exact, None)


def _id(number: int) -> str:
    return f"pending-{number:010d}"


def fill(stages: Stages, crowd: Crowd, pending: int) -> int:
    """Let so many requests wait; the bytes of their records."""
    own = 0
    source = crowd.requests(pending)
    while batch := list(islice(source, BATCH)):
        own += sum(map(size, batch))
        stages.intake(batch)
    return own


def steady(crowd: Crowd, waiting: list[int], count: int, *, at_random: bool) -> list[Batch]:
    """Batches that leave the number as it is: each response, to a request that waits, makes room for a new one.

    Answers come in the order of their requests or at random: LLM traffic is near the first, and the second, where every
    answer frees memory somewhere else, is the worst there can be. `waiting` is renewed in place.
    """
    chance = np.random.default_rng(1)
    places = chance.integers(len(waiting), size=count) if at_random else np.arange(count) % len(waiting)
    records = []
    for place in places.tolist():
        (request,) = crowd.requests(1)
        records += [crowd.response(waiting[place]), request]
        waiting[place] = request.offset
    return in_batches(records, BATCH)


def standing(pending: int, count: int, model: Path) -> dict[str, float]:
    """Throughput of the whole pipeline and of intake alone with so many requests waiting; their memory."""
    stages, crowd = Stages(model), Crowd()
    rate(stages.whole, in_batches(pairs(BATCH), BATCH))  # what is made once at first use is not theirs
    gc.collect()
    before = resident()
    own = fill(stages, crowd, pending)
    gc.collect()
    figures = {}
    if pending >= _FEWEST_FOR_MEMORY:
        figures["bytes_beyond_request"] = (resident() - before - own) / pending
    waiting = list(range(pending))
    figures["throughput"] = rate(stages.whole, steady(crowd, waiting, count, at_random=False))
    figures["intake_only"] = rate(stages.intake, steady(crowd, waiting, count, at_random=False))
    figures["throughput_at_random"] = rate(stages.whole, steady(crowd, waiting, count, at_random=True))
    return figures


def resident() -> int:
    """Bytes that this process has in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell a process's memory in /proc")


def standing_apart(pending: int, count: int, model: Path) -> dict[str, float]:
    """`standing`, in a process of its own."""
    command = [sys.executable, __file__, str(pending), str(count), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{pending} pending: {done.stderr.strip()[-600:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    print(json.dumps(standing(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))

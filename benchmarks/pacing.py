"""The two ends of the latency benchmark: a sender that keeps to its schedule whatever comes of it, and a reader.

Both live in the measuring process, on threads, on the same machine as the broker and the worker: records are put together
from ready-made parts, and decisions are known by their keys alone, without a look into their JSON.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition
from track import DECISIONS, Track

from scoring import RECORDING, read_recording

_LEAD = 0.2
"""Seconds by which a request goes ahead of its response: an LLM would take longer."""
_TICK = 0.001
_KEY = "{lap:04d}-{number:08d}"
_NUMBER = slice(5, None)


def parts() -> list[tuple[bytes, bytes]]:
    """Of each recorded answer: its request and its response record, without the beginning that names the id."""
    made = []
    for item in read_recording(RECORDING):
        request = {name: value for name, value in item.request.items() if name != "request_id"}
        body = orjson.loads(bytes(item.response))
        response = {"provider": "openai-chat", "body": body}
        made.append((orjson.dumps(request)[1:], orjson.dumps(response)[1:]))
    return made


class Sender:
    """An open loop: response `i` is due at `start + i / rate`, its request 0.2 s before, no matter how the worker fares."""

    def __init__(self, track: Track, made: Sequence[tuple[bytes, bytes]]) -> None:
        self._names = track.names
        self._made = made
        self._producer = Producer(
            {
                "bootstrap.servers": track.broker,
                "compression.type": "lz4",
                "linger.ms": 2,  # part of the latency; less would only burn the CPU that the worker needs
                "partitioner": "murmur2_random",
                "queue.buffering.max.kbytes": 262_144,
                "log_level": 0,
            }
        )
        self.sent = 0
        """Pairs that this run, or the last one, has sent."""

    def run(self, lap: int, due: Any, over: Callable[[], bool] = lambda: False) -> float:
        """Send all by the clock; returns how late (s) the latest went out. `due` holds monotonic times, rising.

        Once it is `over`, only the responses to what was asked go out.
        """
        times = due.tolist()
        requested = responded = 0
        late = 0.0
        while responded < len(times):
            now = time.monotonic()
            if over():
                times = times[:requested]
            while requested < len(times) and times[requested] - _LEAD <= now:
                self._send("requests", lap, requested, 0)
                requested += 1
            while responded < len(times) and times[responded] <= now:
                late = max(late, time.monotonic() - times[responded])
                self._send("responses", lap, responded, 1)
                responded += 1
            self.sent = responded
            self._producer.poll(0)
            time.sleep(_TICK)
        self._producer.flush()
        return late

    def _send(self, role: str, lap: int, number: int, part: int) -> None:
        key = _KEY.format(lap=lap, number=number).encode()
        value = b'{"request_id":"' + key + b'",' + self._made[number % len(self._made)][part]
        while True:
            try:
                self._producer.produce(self._names[role], value, key)
            except BufferError:  # the broker can't keep up: it counts as late
                self._producer.poll(_TICK)
            else:
                return


class Reader:
    """Notes when each decision of the current lap could be read by a consumer that reads only what is committed."""

    def __init__(self, track: Track) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": track.broker,
                "group.id": f"{track.prefix}latency",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )
        self._consumer.assign(
            [
                TopicPartition(track.names[role], number, OFFSET_END)
                for role in DECISIONS
                for number in range(track.partitions)
            ]
        )
        self._lap = b""
        self._seen: Any = np.empty(0)
        self._left = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def begin(self, lap: int, count: int) -> None:
        """Expect so many decisions."""
        self._seen, self._left = np.full(count, np.nan), count
        self._lap = _KEY.format(lap=lap, number=0).encode()[: _NUMBER.start]

    def finish(self, timeout: float, sent: int | None = None) -> Any:
        """Wait for the rest, of the first `sent`; the times (monotonic) at which they could be read, NaN for what did not come."""
        deadline, never = time.monotonic() + timeout, 0 if sent is None else len(self._seen) - sent
        while self._left > never and time.monotonic() < deadline:
            time.sleep(0.01)
        return self._seen[:sent]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            messages = self._consumer.consume(1, timeout=0.1)
            if messages:  # with what else is there, without waiting until so many have come
                messages += self._consumer.consume(1000, timeout=0)
                self._note(messages, time.monotonic())

    def _note(self, messages: Sequence[Any], now: float) -> None:
        for message in messages:
            key = message.key()
            if message.error() is None and key.startswith(self._lap):
                number = int(key[_NUMBER])
                self._left -= np.isnan(self._seen[number])
                self._seen[number] = now

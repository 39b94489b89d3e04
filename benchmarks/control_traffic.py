"""An operator who issues control messages of every kind under load, and those who read what came of them."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from random import Random
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import OFFSET_END, Consumer, Message, Producer, TopicPartition
from control_check import ALL, Decided, Fold
from control_models import Models
from track import DECISIONS, Track

from streams.errors import StreamError

_POLICIES = ("hate", "harassment", "self-harm", "sexual", "violence")
_PAST = "2020-01-01T00:00:00Z"
_TIMEOUT = 30.0
_Make = Callable[[], bytes]


class Script:
    """What the operator does, kind by kind: each is one message, or two where the second must take the first back.

    A message is put together when it is asked for, from the log as it stands then.
    """

    def __init__(self, models: Models, fold: Fold, chance: Random) -> None:
        self._models, self._fold, self._chance = models, fold, chance

    def messages(self) -> Iterator[bytes]:
        """Messages without end, all kinds equally often, in an order by chance."""
        kinds = [*self._changes(), *self._closed(), *self._refused()]
        while True:
            for kind in self._chance.sample(kinds, len(kinds)):
                for message in kind:
                    yield message()

    def _changes(self) -> list[list[_Make]]:
        """Those that change what is in force, or only ask for something."""
        chance, models, fold = self._chance, self._models, self._fold
        good = (models.own, models.other)

        def stop() -> bytes:
            self._stopped = self._policy()
            return _json("stop_automation", policy=self._stopped, reason="trial")

        def rollback() -> bytes:
            versions = [version for version, state in fold.states.items() if state.model in (None, *good)]
            return _json("rollback", to_version=chance.choice(versions[-50:]))

        return [
            [lambda: _json("set_threshold", policy=self._policy(), threshold=round(chance.uniform(0.05, 0.6), 4))],
            [lambda: self._costs(self._policy())],
            [lambda: _json("set_audit_rate", policy=self._policy(), rate=round(chance.uniform(0, 0.5), 3))],
            [lambda: _json("set_audit_rate", policy=ALL, rate=0.1, expected_version=fold.version, issued_by="trial")],
            [stop, lambda: _json("resume_automation", policy=self._stopped)],
            [lambda: _json("set_model", sha256=chance.choice(good), keep_thresholds=True)],
            [lambda: _json("set_model", sha256=chance.choice(good)), lambda: self._costs(ALL)],
            [rollback],
            [lambda: _json("prepare_model", sha256=chance.choice((*good, models.uncalibrated)), keep_thresholds=True)],
        ]

    def _closed(self) -> list[list[_Make]]:
        """Models that workers cannot honour, each taken back by a rollback."""
        models, fold = self._models, self._fold

        def swap(*names: str) -> _Make:
            def message() -> bytes:
                self._before = fold.version
                return _json("set_model", sha256=self._chance.choice(names), keep_thresholds=True)

            return message

        def back() -> bytes:
            return _json("rollback", to_version=self._before)

        return [
            [swap(models.missing), back],
            [swap(models.wrong_schema, models.corrupt), back],
            [swap(models.uncalibrated), back],
        ]

    def _refused(self) -> list[list[_Make]]:
        """Those that must change nothing; most of them would open automation wide."""
        models, fold = self._models, self._fold

        def wide(**more: Any) -> bytes:
            return _json("set_threshold", policy=ALL, threshold=1.0, **more)

        malformed = (
            b"",
            b"no JSON",
            b"[]",
            _json("set_threshold", policy=ALL, threshold=1.5),
            _json("set_threshold", policy=ALL, treshold=1.0),
            _json("set_model", sha256="current"),
            _json("stop_everything"),
            _json("set_costs", policy=ALL, accounting="review-charged", review=2.0, mistake=1.0),
        )
        return [
            [lambda: wide(expected_version=max(0, fold.version - 1))],
            [lambda: wide(version=1)],
            [lambda: wide(expires_at=_PAST)],
            [lambda: wide(model=models.newcomer)],
            [lambda: _json("resume_automation", policy="nobody-stopped-this")],
            [lambda: _json("rollback", to_version=fold.version + 1_000_000)],
            [lambda: self._chance.choice(malformed)],
        ]

    def _policy(self) -> str:
        return ALL if self._chance.random() < 0.4 else self._chance.choice(_POLICIES)

    def _costs(self, policy: str) -> bytes:
        accounting = self._chance.choice(("false-discovery", "review-charged"))
        review = round(self._chance.uniform(0.05, 0.6), 3)
        return _json("set_costs", policy=policy, accounting=accounting, review=review, mistake=1.0)


def _json(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


class Operator:
    """Writes control messages, one at a time, and folds what it has written."""

    def __init__(self, track: Track, models: Models, seed: int) -> None:
        self.fold = Fold()
        self._models, self._topic = models, track.names["control"]
        self._producer = Producer({"bootstrap.servers": track.broker, "linger.ms": 0})
        self._endless = Script(models, self.fold, Random(seed)).messages()

    def say(self, value: bytes) -> int:
        """Write a message; its offset."""
        stored: list[tuple[int, int]] = []

        def on_delivery(error: Any, message: Message) -> None:
            if error is None:
                stored.append((message.offset(), message.timestamp()[1]))

        self._producer.produce(self._topic, value, on_delivery=on_delivery)
        if self._producer.flush(_TIMEOUT) or not stored:
            raise StreamError("a control message could not be written")
        offset, stamp = stored[0]
        self.fold.take(offset, stamp, value)
        return offset

    def message(self, kind: str, **fields: Any) -> int:
        """Write a message of a kind; its offset."""
        return self.say(_json(kind, **fields))

    def some(self) -> None:
        """Write the next one of those of every kind."""
        self.say(next(self._endless))

    def plain(self) -> None:
        """Put in force what the settings give: their model and costs, nothing audited, nothing stopped."""
        self.message("set_model", sha256=self._models.own)
        self.message("set_costs", policy=ALL, accounting="false-discovery", review=0.64, mistake=1.0)
        self.message("set_audit_rate", policy=ALL, rate=0.0)
        for policy in self.fold.state.stops:
            self.message("resume_automation", policy=policy)

    @contextmanager
    def busy(self, pause: float) -> Iterator[list[int]]:
        """Messages of every kind while it lasts, so many seconds apart, then what is plain. Gives their number in a list."""
        over, written = threading.Event(), [0]

        def issue() -> None:
            while not over.wait(pause):
                self.some()
                written[0] += 1

        thread = threading.Thread(target=issue, daemon=True)
        thread.start()
        try:
            yield written
        finally:
            over.set()
            thread.join()
            self.plain()


class Seen(NamedTuple):
    """A decision, where it stood, and when it could be read (ms since the epoch, this machine's clock)."""

    decided: Decided
    partition: int
    at: float

    @property
    def decided_at(self) -> float:
        """When its worker decided (ms)."""
        return datetime.fromisoformat(self.decided.decided_at).timestamp() * 1000


class Watcher:
    """Reads each decision as soon as it is committed."""

    def __init__(self, track: Track) -> None:
        self.seen: list[Seen] = []
        self._read = msgspec.json.Decoder(Decided).decode
        self._consumer = Consumer(
            {
                "bootstrap.servers": track.broker,
                "group.id": f"{track.prefix}watcher",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )
        numbers = range(track.partitions)
        self._consumer.assign([TopicPartition(track.names[role], n, OFFSET_END) for role in DECISIONS for n in numbers])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_for(self, count: int, patience: float) -> None:
        """Wait until so many decisions are read, for as long as more come."""
        moved, before = time.monotonic(), len(self.seen)
        while len(self.seen) < count and time.monotonic() - moved < patience:
            time.sleep(0.1)
            if len(self.seen) != before:
                moved, before = time.monotonic(), len(self.seen)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._over.is_set():
            found = self._consumer.consume(1, timeout=0.1)
            if found:
                found += self._consumer.consume(1000, timeout=0)
                now = time.time() * 1000
                self.seen += [
                    Seen(self._read(one.value()), one.partition(), now) for one in found if one.error() is None
                ]


class Log(NamedTuple):
    """The control log as it stands: its fold, and by offset when the broker had each message (ms)."""

    fold: Fold
    stamps: dict[int, int]


def read_log(track: Track) -> Log:
    """Read the control topic from its beginning, and fold it."""
    log = Log(Fold(), {})
    for message in track.committed(("control",)):
        stamp = message.timestamp()[1]
        log.stamps[message.offset()] = stamp
        log.fold.take(message.offset(), stamp, message.value())
    return log


class Said(msgspec.Struct):
    """What a worker said on control-status; `stored_at` is when the broker had it (ms)."""

    worker: str
    event: str
    at: str
    control_version: int
    position: int
    hash: str
    honoured: bool
    problem: str | None = None
    offset: int | None = None
    stored_at: int = 0


def read_statuses(track: Track) -> list[Said]:
    """All that the workers said."""
    read = msgspec.json.Decoder(Said).decode
    found = []
    for message in track.committed(("control_status",)):
        one = read(message.value())
        one.stored_at = message.timestamp()[1]
        found.append(one)
    return found

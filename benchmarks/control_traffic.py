"""An operator who issues control messages of every kind under load, and those who read what came of them."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from random import Random
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import OFFSET_END, Consumer, Message, Producer, TopicPartition
from control_check import Decided
from control_fold import Fold, Keys
from control_messages import parse
from control_models import Models
from control_script import Letter, Script, Signer, letter, plain
from track import DECISIONS, Track

from streams.errors import StreamError

SIGNATURE = "secondlook.signature"
_TIMEOUT = 30.0


class Operator:
    """Writes control messages, one at a time, signed if there is a `signer`, and folds what it has written.

    `trusted` are the public keys of others: what those write it learns only from `read_log`.
    """

    def __init__(
        self, track: Track, models: Models, seed: int, signer: Signer | None = None, trusted: Sequence[bytes] = ()
    ) -> None:
        self.fold = Fold(None if signer is None else signer.keys(*trusted))
        self._models, self._topic, self._signer = models, track.names["control"], signer
        self._producer = Producer({"bootstrap.servers": track.broker, "linger.ms": 0})
        self._endless = Script(models, self.fold, Random(seed), signed=signer is not None).messages()

    def say(self, one: Letter) -> int:
        """Write a message; its offset."""
        stored: list[tuple[int, int]] = []

        def on_delivery(error: Any, message: Message) -> None:
            if error is None:
                stored.append((message.offset(), message.timestamp()[1]))

        value, signature = (one.value, None) if self._signer is None else self._signer.sign(one)
        headers = [] if signature is None else [(SIGNATURE, signature)]
        self._producer.produce(self._topic, value, headers=headers, on_delivery=on_delivery)
        if self._producer.flush(_TIMEOUT) or not stored:
            raise StreamError("a control message could not be written")
        offset, stamp = stored[0]
        self.fold.take(offset, stamp, value, signature)
        return offset

    def message(self, kind: str, **fields: Any) -> int:
        """Write a message of a kind; its offset."""
        return self.say(letter(kind, **fields))

    def some(self) -> None:
        """Write the next one of those of every kind."""
        self.say(next(self._endless))

    def plain(self) -> None:
        """Put in force what the settings give."""
        for one in plain(self.fold.state, self._models.own):
            self.say(one)

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
    moves: list[dict[str, Any]]
    """Of thresholds, that the workers made for a budget."""


def read_log(track: Track, keys: Keys | None = None) -> Log:
    """Read the control topic from its beginning, and fold it; with `keys`, only what they have signed counts."""
    log = Log(Fold(keys), {}, [])
    for message in track.committed(("control",)):
        stamp, value = message.timestamp()[1], message.value()
        log.stamps[message.offset()] = stamp
        if log.fold.take(message.offset(), stamp, value, dict(message.headers() or ()).get(SIGNATURE)):
            found = parse(value)
            if found["type"] == "adjust_threshold" and found.get("issued_by"):
                log.moves.append(found)
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

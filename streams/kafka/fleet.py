"""The live workers, as they speak on control-status: which there are, what each has in force, and whether it can do it."""

import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from confluent_kafka import Consumer, KafkaError

from streams.kafka.clients import Consumed, consume, reader_config
from streams.kafka.control_status import ALIVE_EVERY, STOPPED, WorkerStatus, decode_status
from streams.kafka.reading import read_to_end, unreadable, watermarks
from streams.kafka.topics import load_topics, topic_names
from streams.settings import Settings

LIVE_FOR: Final = 4 * ALIVE_EVERY
"""Seconds of silence after which a worker is no longer counted as live."""
GONE_FOR: Final = 3600.0
"""Seconds for which one that fell silent is still spoken of."""
LISTEN: Final = ALIVE_EVERY + 2
"""Seconds within which a live worker speaks."""
_MOST_WORKERS: Final = 5_000
"""Workers whose last words are remembered: their names are made up at each start, and anybody may write such words who may write there."""
_TAIL = 5_000
"""Statuses that are read back: more than a thousand workers write while one counts as live."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the live workers stand to a position in the control log, by name: each is in one of the three."""

    in_force: Mapping[str, WorkerStatus]
    unable: Mapping[str, WorkerStatus]
    silent: Mapping[str, WorkerStatus]

    @property
    def everywhere(self) -> bool:
        """Whether every live worker has it in force, and there is one."""
        return bool(self.in_force) and not self.unable and not self.silent


class Fleet:
    """Follows control-status. A worker is live if it has spoken in the last few seconds and did not say that it stops."""

    def __init__(self, settings: Settings, *, now: Callable[[], float] = time.time) -> None:
        topic = self._topic = topic_names(load_topics(settings.topic_prefix))["control_status"]
        self._now = now
        self.said: dict[str, WorkerStatus] = {}
        self._heard: dict[str, float] = {}
        low, high = watermarks(settings, topic, [0])[0]
        config = reader_config(settings, isolation="read_uncommitted")  # no worker's word is part of a transaction
        self._consumer = Consumer({**config, "client.id": f"control-{uuid.uuid4().hex[:8]}"})
        start = max(low, high - _TAIL)
        for message in read_to_end(self._consumer, topic, {0: high}, {0: start}):
            self._hear(message, at_once=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def listen(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Hear what the workers say, for so long or until the condition holds. Raises BrokerError where that may not be read."""
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            for message in consume(self._consumer, 100, 0.1):
                error = message.error()
                if error is None:
                    self._hear(message, at_once=True)
                elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:  # their silence would mean nothing
                    raise unreadable(self._topic, error)

    @property
    def live(self) -> dict[str, WorkerStatus]:
        """The live workers, by name."""
        return {
            name: one for name, one in sorted(self.said.items()) if one.event != STOPPED and self.age(one) <= LIVE_FOR
        }

    @property
    def gone(self) -> dict[str, WorkerStatus]:
        """Workers that fell silent without a word in the last hour, by name: they ended badly, or hang."""
        return {
            name: one
            for name, one in sorted(self.said.items())
            if one.event != STOPPED and LIVE_FOR < self.age(one) < GONE_FOR
        }

    def missing(self, expected: Collection[str], answered: Callable[[WorkerStatus], bool]) -> list[str]:
        """The workers, live or `expected`, whose last word does not say so; one that says that it stops need not."""
        wanted = {*expected, *self.live}
        return sorted(
            name for name, one in self.said.items() if name in wanted and one.event != STOPPED and not answered(one)
        )

    def age(self, one: WorkerStatus) -> float:
        """Seconds since a worker spoke: since it was heard, or by its own time where that was before we listened."""
        heard = self._heard.get(one.worker)
        if heard is not None:
            return time.monotonic() - heard
        try:
            return abs(self._now() - datetime.fromisoformat(one.at).replace(tzinfo=UTC).timestamp())
        except ValueError:
            return float("inf")

    def standing(
        self,
        position: int,
        version: int,
        content_hash: str | None,
        expected: Collection[str] = (),
        *,
        of_shadow: bool = False,
    ) -> Standing:
        """Who has read the control log up to `position`, made `version` of it, and does what it says. `expected` are workers that have to.

        `of_shadow`: who leaves the shadow out does not. `content_hash` is that of `version`, None where it is not known any more.

        One that has read as far and has a lower version has refused what we took: it trusts other keys. One with other content at the
        same version folds the log otherwise: another version of secondlook runs there.
        """
        workers = {**{name: self.said[name] for name in expected if self.said[name].event != STOPPED}, **self.live}
        read = {name: one for name, one in workers.items() if one.position >= position}
        unable = {
            name: one
            for name, one in read.items()
            if one.cannot
            or one.control_version < version
            or (one.control_version == version and content_hash not in (None, one.hash))
            or (of_shadow and one.leaves_out)
        }
        return Standing(
            {name: one for name, one in read.items() if name not in unable},
            unable,
            {name: one for name, one in workers.items() if name not in read},
        )

    def _hear(self, message: Consumed, *, at_once: bool) -> None:
        status = decode_status(message.value())
        if status is None:
            return
        self.said.pop(status.worker, None)
        self.said[status.worker] = status
        if len(self.said) > _MOST_WORKERS:
            longest_silent = next(iter(self.said))
            del self.said[longest_silent]
            self._heard.pop(longest_silent, None)
        if at_once:
            self._heard[status.worker] = time.monotonic()


def is_split(workers: Collection[WorkerStatus]) -> bool:
    """Whether workers differ in what they have in force, or in what their settings say."""
    return len({(one.hash, one.settings_hash) for one in workers}) > 1

"""Steady traffic of recorded answers, with faults that can be switched on while it runs: for pictures of the console, and its drill."""

import random
import threading
from typing import Any, Final

import orjson
from confluent_kafka import Producer

from scoring import RECORDINGS, Item, read_recording
from streams.kafka.partitioner import home
from streams.kafka.topics import existing_partitions, load_topics
from streams.settings import Settings

_SEED: Final = 20260107
_REVIEWED: Final = 0.7
"""The share of the answers that a human has decided on: the review tool passes those by that were never asked for."""


class Steady:
    """Sends requests and answers of ever new ids, `rate` a second, on a thread of its own. Humans decide as the recording's labels say.

    `poison` is the share of requests that are cut off. Without `answered` no answer is sent, without `logprobs` none has log-probabilities;
    `misplaced` answers lie in another partition than their requests.
    """

    def __init__(self, settings: Settings, rate: float) -> None:
        topics = load_topics(settings.topic_prefix)
        self._names = {role: topic.name for role, topic in topics.items()}
        config: dict[str, Any] = {"bootstrap.servers": settings.broker, "partitioner": "murmur2_random"}
        self._partitions = len(existing_partitions(config, {"responses": topics["responses"]})["responses"])
        self._producer = Producer({**config, "linger.ms": 5})
        self._draw = random.Random(_SEED)  # noqa: S311 - which record is broken is no secret
        # All that the default model was trained on, too: fewer, again and again, would be told as drift, and are.
        self._items = [one for path in RECORDINGS for one in read_recording(path)]
        self._draw.shuffle(self._items)
        self._every = 1 / rate
        self.poison, self.answered, self.logprobs, self.misplaced = 0.01, True, True, False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()
        self._producer.flush(5)

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(self._every):
            self._send(f"post-{number:06}", self._items[number % len(self._items)])
            self._producer.poll(0)
            number += 1

    def _send(self, name: str, item: Item) -> None:
        key, request = name.encode(), orjson.dumps({**item.request, "request_id": name})
        poisoned = self._draw.random() < self.poison
        self._producer.produce(self._names["requests"], request[:-9] if poisoned else request, key)
        if self.answered:
            partition = (home(key, self._partitions) + 1) % self._partitions if self.misplaced else -1
            self._producer.produce(self._names["responses"], self._answer(item), key, partition)
        if self._draw.random() < _REVIEWED:
            human = {"request_id": name, "policy": item.policy, "outcome": item.label, "reviewer": "made up"}
            self._producer.produce(self._names["human_decisions"], orjson.dumps(human), key)

    def _answer(self, item: Item) -> bytes:
        if self.logprobs:
            return bytes(item.response)
        body = orjson.loads(bytes(item.response))
        for choice in body["choices"]:
            choice.pop("logprobs", None)
        return orjson.dumps(body)

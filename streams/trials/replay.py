"""Labelled answers sent through a stream that runs: what becomes of each, and, if asked, what a reviewer who knows the labels says of it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from scoring import Item
from streams.console.decisions import ROLES, Decision, read_decision
from streams.errors import BrokerError
from streams.kafka.clients import kafka_error, producer_config
from streams.kafka.following import Follower, Heard
from streams.kafka.topics import load_topics, topic_names
from streams.kafka.troubles import failed
from streams.pipeline.dead_letters import read_letter
from streams.settings import Settings

REVIEWER: Final = "replay"
_FLUSH: Final = 30.0
_AT_ONCE: Final = 5000


@dataclass
class Replayed:
    """What came of the items, by request id. Pure."""

    labels: Mapping[str, int]
    decisions: dict[str, Decision] = field(default_factory=dict)
    set_aside: Counter[str] = field(default_factory=Counter)
    judged: int = 0

    @property
    def undecided(self) -> int:
        """Items without a decision."""
        return len(self.labels) - len(self.decisions)

    def routes(self) -> dict[str, Counter[str]]:
        """Route -> reason -> decisions."""
        found: dict[str, Counter[str]] = {}
        for one in self.decisions.values():
            found.setdefault(one.route, Counter())[one.reason] += 1
        return dict(sorted(found.items()))

    def wrong(self, route: str | None = None) -> tuple[int, int]:
        """Verdicts (outcomes 0 and 1) that the labels say are wrong, and all of them; of one route, or of both."""
        verdicts = [
            one.llm.outcome != self.labels[request_id]
            for request_id, one in self.decisions.items()
            if one.llm.outcome in (0, 1) and route in (None, one.route)
        ]
        return sum(verdicts), len(verdicts)


def replay(
    settings: Settings, items: Sequence[Item], *, rate: float, judge: bool, patience: float
) -> Iterator[Replayed]:
    """Send the items' requests and answers, `rate` a second, and yield the books now and then, until all are decided or nothing comes.

    With `judge`, each decision that goes to a human is answered with the item's label, in the topic of human decisions. `patience` is in
    seconds. Raises BrokerError, TopicError.
    """
    books = Replayed({item.request_id: item.label for item in items})
    sender = _Sender(settings)
    with closing(Follower(settings, (*ROLES, "dead_letter"))) as follower:
        began = moved = time.monotonic()
        sent = 0
        while books.undecided and time.monotonic() - moved <= patience:
            due = min(len(items), sent + sender.room, int((time.monotonic() - began) * rate) + 1)
            for item in items[sent:due]:
                sender.send("requests", item.request_id, item.request)
                sender.send("responses", item.request_id, item.response)  # as it was saved, with a provider or bare
            came = _take(books, follower.poll(0.1), sender.send if judge else None)
            if came or due > sent:
                moved, sent = time.monotonic(), due
                yield books
            sender.check()
        sender.finish()
    yield books


class _Sender:
    """Writes records; what the broker refuses is told by its topic."""

    def __init__(self, settings: Settings) -> None:
        self._names = topic_names(load_topics(settings.topic_prefix))
        self._broker = settings.broker
        self._producer = Producer(producer_config(settings, **{"linger.ms": 5}))
        self._lost: list[tuple[str, KafkaError]] = []

    @property
    def room(self) -> int:
        """How many items to send now at most: none while the broker does not take what was sent."""
        return _AT_ONCE if len(self._producer) < _AT_ONCE else 0

    def send(self, role: str, request_id: str, value: object) -> None:
        """Write a value as JSON under the id. Raises BrokerError where it is known to be refused."""
        topic = self._names[role]
        try:
            self._producer.produce(topic, msgspec.json.encode(value), request_id.encode(), on_delivery=self._told)
        except KafkaException as problem:  # what is known to be refused is not even tried
            raise _refused(topic, kafka_error(problem)) from problem

    def check(self) -> None:
        """Raise BrokerError if the broker has refused anything."""
        self._producer.poll(0)
        if self._lost:
            raise _refused(*self._lost[0])

    def finish(self) -> None:
        """Wait until all is written. Raises BrokerError if it is not."""
        if self._producer.flush(_FLUSH):
            raise BrokerError(f"{self._broker} has not taken all records within {_FLUSH:g} s")
        self.check()

    def _told(self, error: KafkaError | None, record: Message) -> None:
        if error is not None:
            self._lost.append((record.topic() or "", error))


def _refused(topic: str, error: KafkaError) -> BrokerError:
    return failed(f"not all could be written to {topic}", error, f"Write {topic}")


def _take(books: Replayed, heard: Sequence[Heard], send: Callable[[str, str, object], None] | None) -> bool:
    """Enter what came into the books; whether any of it was of the items."""
    came = False
    for one in heard:
        if one.role not in ROLES:
            if (one.message.key() or b"").decode(errors="replace") in books.labels:
                books.set_aside[read_letter(one.message.headers()).code or "(no code)"] += 1
                came = True
            continue
        decision = read_decision(one.message.value())
        if decision is None or decision.request_id not in books.labels:
            continue
        came = True
        books.decisions[decision.request_id] = decision
        if send is not None and one.role == "human_review":
            send("human_decisions", decision.request_id, _judgement(decision, books.labels[decision.request_id]))
            books.judged += 1
    return came


def _judgement(decision: Decision, label: int) -> dict[str, Any]:
    """What a review tool would write; it repeats of the decision what training and live quality need."""
    return {
        "request_id": decision.request_id,
        "policy": decision.policy,
        "outcome": label,
        "llm": {"outcome": decision.llm.outcome},
        "reviewer": REVIEWER,
        "channel": "audit" if decision.reason == "audit" else "review",
        "audit_probability": decision.audit_probability,
        "decided_at": round(time.time() * 1000),
    }

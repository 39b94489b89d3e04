"""Live quality: do human decisions agree with the LLM verdicts they reviewed?

Metrics only: its offsets are committed automatically and it has no part in the guarantees.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError

from scoring.human import CHOSEN, HumanDecision
from streams.kafka.client_log import client_log
from streams.kafka.clients import base_config, consume, group_name
from streams.kafka.cut_off import CutOff, discard
from streams.kafka.troubles import told
from streams.pipeline.routing import AUTO_ACTION, HUMAN_REVIEW
from streams.settings import Settings

AGREES, DISAGREES, UNKNOWN, UNREADABLE = "agrees", "disagrees", "unknown", "unreadable"


_decode = msgspec.json.Decoder(HumanDecision).decode


class Said(NamedTuple):
    """What is counted of a human decision: `channel` is that of the contract or `unknown`, `route` that of the decision it is about."""

    policy: str
    agreement: str
    channel: str = UNKNOWN
    route: str = UNKNOWN


def agreement(values: list[bytes]) -> Counter[Said]:
    """Count human decisions; what cannot be read is counted as such."""
    counts: Counter[Said] = Counter()
    for value in values:
        try:
            human = _decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            counts[Said("", UNREADABLE)] += 1
            continue
        counts[Said(human.policy, _verdict(human), human.channel or UNKNOWN, _route(human))] += 1
    return counts


def _route(human: HumanDecision) -> str:
    """Where the decision had gone: what came by an appeal or a report went to no human if it could be automated."""
    if human.channel in CHOSEN:
        chance = human.audit_probability
        return UNKNOWN if chance is None else HUMAN_REVIEW if chance == 1 else AUTO_ACTION
    return HUMAN_REVIEW


def _verdict(human: HumanDecision) -> str:
    """Unknown unless both gave a verdict: neither a human nor an LLM without one can be disagreed with."""
    if human.label is None or human.llm is None or human.llm.outcome not in (0, 1):
        return UNKNOWN
    return AGREES if human.label == human.llm.outcome else DISAGREES


def quality_group(settings: Settings) -> str:
    """The group by which the workers share the human decisions."""
    return f"{group_name(settings)}-quality"


class HumanDecisions:
    """Reads the human-decisions topic as part of a group of its own; `errors` counts what the client met instead of records."""

    def __init__(self, settings: Settings, names: Mapping[str, str]) -> None:
        self.errors = 0
        self._thread = ThreadPoolExecutor(1, "human-decisions")
        self._settings, self._topic = settings, names["human_decisions"]
        self._cut_off = CutOff(settings, self._topic)
        self._consumer = self._joined()

    def _joined(self) -> Consumer:
        consumer = Consumer(
            {
                **base_config(self._settings),
                "group.id": quality_group(self._settings),
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe([self._topic])
        return consumer

    async def poll(self) -> list[bytes]:
        """The values of the next human decisions; empty after half a second of silence."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._poll)

    def _poll(self) -> list[bytes]:
        values = []
        for message in consume(self._consumer, 100, 0.5):
            error = message.error()
            if error is None:
                values.append(message.value() or b"")
            else:
                self.errors += 1
                client_log.warning("human decisions: %s", told(error, self._right(error)), extra={"code": error.name()})
        if not values and self._cut_off.look(self._consumer):
            discard(self._consumer.close)
            self._consumer = self._joined()
        return values

    def _right(self, error: KafkaError) -> str:
        is_group = error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        return f"Read the group {quality_group(self._settings)}" if is_group else f"Read {self._topic}"

    async def close(self) -> None:
        """Leave the group."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._consumer.close)
        self._thread.shutdown(wait=False)

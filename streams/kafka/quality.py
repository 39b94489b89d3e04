"""Live quality: do human decisions agree with the LLM verdicts they reviewed?

A human decision repeats the `llm` object of the decision that it reviews, so no state is needed to compare the two.
Metrics only: its offsets are committed automatically and it has no part in the guarantees.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec
from confluent_kafka import Consumer

from streams.kafka.clients import base_config
from streams.settings import Settings

log = logging.getLogger(__name__)

AGREES, DISAGREES, UNKNOWN, UNREADABLE = "agrees", "disagrees", "unknown", "unreadable"


class _Llm(msgspec.Struct):
    outcome: int | None = None


class HumanDecision(msgspec.Struct):
    """A human's answer to one review: `outcome` 0 (does not violate) or 1 (violates), `llm` as in the decision."""

    request_id: str
    policy: str
    outcome: int
    llm: _Llm | None = None


_decode = msgspec.json.Decoder(HumanDecision).decode


def agreement(values: list[bytes]) -> Counter[tuple[str, str]]:
    """Count (policy, agreement) over human decisions; what cannot be read is counted as such."""
    counts: Counter[tuple[str, str]] = Counter()
    for value in values:
        try:
            human = _decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            counts["", UNREADABLE] += 1
            continue
        if human.llm is None or human.llm.outcome not in (0, 1):
            counts[human.policy, UNKNOWN] += 1
        else:
            counts[human.policy, AGREES if human.outcome == human.llm.outcome else DISAGREES] += 1
    return counts


class HumanDecisions:
    """Reads the human-decisions topic as part of a group of its own."""

    def __init__(self, settings: Settings, names: Mapping[str, str]) -> None:
        self._thread = ThreadPoolExecutor(1, "human-decisions")
        self._consumer = Consumer(
            {
                **base_config(settings),
                "group.id": f"{settings.topic_prefix}{settings.group}-quality",
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.subscribe([names["human_decisions"]])

    async def poll(self) -> list[bytes]:
        """The values of the next human decisions; empty after half a second of silence."""
        loop = asyncio.get_running_loop()
        messages = await loop.run_in_executor(self._thread, self._consumer.consume, 100, 0.5)
        return [message.value() or b"" for message in messages if message.error() is None]

    async def close(self) -> None:
        """Leave the group."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._consumer.close)
        self._thread.shutdown(wait=False)

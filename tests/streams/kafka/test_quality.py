"""Live quality: human verdicts beside the LLM's."""

import json
from typing import Any

import pytest

from streams.kafka.quality import agreement


def human(outcome: int, **more: Any) -> bytes:
    return json.dumps({"request_id": "a", "policy": "hate", "outcome": outcome, **more}).encode()


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (human(1, llm={"outcome": 1}), "agrees"),
        (human(0, llm={"outcome": 1}), "disagrees"),
        (human(2, llm={"outcome": 1}), "unknown"),
        (human(3, llm={"outcome": 0}), "unknown"),
        (human(2, llm={"outcome": 2}), "unknown"),
        (human(1, llm={"outcome": 2}), "unknown"),
        (human(1, llm={}), "unknown"),
        (human(1), "unknown"),
    ],
)
def test_only_two_verdicts_agree_or_disagree(value: bytes, verdict: str) -> None:
    """A human or an LLM who found no verdict is counted as unknown, not as a disagreement."""
    assert {("hate", verdict): 1} == agreement([value])


@pytest.mark.parametrize(
    "value", [b"", b"[" * 100_000, human(4), b'{"request_id": "a", "outcome": 1}', b'{"policy": "hate", "outcome": 1}']
)
def test_what_breaks_the_contract_is_unreadable(value: bytes) -> None:
    """It is counted, under no policy."""
    assert {("", "unreadable"): 1} == agreement([value])

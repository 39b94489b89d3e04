"""Whatever the bytes: only ResponseError, and time linear in their number."""

import importlib.util
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurizers import PRESETS, ResponseError, decode, featurize

FUZZER = Path(__file__).parents[2] / "benchmarks/fuzz_featurize.py"
FUZZED = int(os.environ.get("SECONDLOOK_FUZZED_BODIES", "1000"))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "request_id",
                    "provider",
                    "body",
                    "choices",
                    "message",
                    "content",
                    "logprobs",
                    "token",
                    "logprob",
                    "top_logprobs",
                    "bytes",
                    "text",
                    "tokens",
                    "token_logprobs",
                    "output",
                    "type",
                    "candidates",
                    "logprobsResult",
                    "chosenCandidates",
                    "topCandidates",
                    "model",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


def survive(value: bytes) -> None:
    try:
        response = decode(value)
    except ResponseError:
        return
    for spec in PRESETS.values():
        featurize([response], spec)


@given(st.binary())
def test_any_bytes(value: bytes) -> None:
    """Any bytes either decode or raise ResponseError."""
    survive(value)


@given(st.dictionaries(st.sampled_from(["body", "choices", "output", "candidates", "content", "provider"]), JSON))
def test_any_json(document: dict[str, Any]) -> None:
    """Any JSON under the formats' own names either decodes or raises ResponseError."""
    survive(json.dumps(document).encode())


def test_mutated_recordings() -> None:
    """Mutated recorded bodies raise ResponseError or have sound vectors (SECONDLOOK_FUZZED_BODIES sets how many)."""
    spec = importlib.util.spec_from_file_location("fuzz_featurize", FUZZER)
    assert spec is not None
    assert spec.loader is not None
    fuzzer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzzer)
    results, _ = fuzzer.fuzz(FUZZED, seed=int(os.environ.get("SECONDLOOK_FUZZ_SEED", "0")))
    assert FUZZED == results.total()
    assert results["outcome found"]
    assert results["not_a_record"]
    assert results["unreadable_answer"]


def seconds(work: Callable[[], object]) -> float:
    def once() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return min(once() for _ in range(3))


def long_answer(body: Callable[..., Any], words: int) -> bytes:
    """An answer whose outcome follows a long rationale."""
    alternatives = {" no": -0.7, " so": -1.2, " to": -3.0, " go": -4.0, " do": -5.0}
    head, tail = ('{"rationale": "', -0.1, {"{": -0.1, "x": -3.0}), ('", "outcome": ', -0.1, {"x": -0.1, "y": -3.0})
    return json.dumps(
        body([head, *[(" no", -0.7, alternatives)] * words, tail, ("1", -0.2, {"1": -0.2, "0": -2.0}), ("}", -0.1, {})])
    ).encode()


@pytest.mark.parametrize("trouble", ["none", "reasoning before", "lost characters"])
def test_linear_time(body: Callable[..., Any], trouble: str) -> None:
    """An answer of 10,000 tokens costs about what 100 answers of 100 tokens do."""

    def run(values: list[bytes]) -> Callable[[], object]:
        return lambda: featurize([decode(value) for value in values], PRESETS["lpp"])

    def answer(words: int) -> bytes:
        value = long_answer(body, words)
        # The tokens no longer add up to the text, which then has to be looked up among their bytes.
        document = json.loads(value)
        tokens = document["choices"][0]["logprobs"]["content"]
        if trouble == "reasoning before":
            tokens.insert(0, {"token": "<think>", "logprob": -0.1})
        elif trouble == "lost characters":
            for token in tokens[2:-3:5]:
                token |= {"token": "\ufffd", "bytes": []}
        return json.dumps(document).encode()

    long, short = seconds(run([answer(10_000)])), seconds(run([answer(100)] * 100))
    assert long < 10 * short  # quadratic would be 100


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        ("", '"outcome":'),
        ('"outcome"', " "),
        ('{"outcome": "', "\\"),
        ("", "{"),
        ("", "'outcome': '"),
        ("", "sorry "),
        ("", "the answer for "),
        ("My answer:\n", "<a>, so *** "),
        ('{"outcome": 1}\n', "the above is. "),
        ("Safety: Safe", "\nthe final "),
        ('{"outcome": 1}', ", so"),
    ],
)
def test_hostile_text(head: str, piece: str) -> None:
    """A text made to slow a pattern down takes time in proportion to its length."""

    def run(length: int) -> Callable[[], object]:
        text = head + piece * (length // len(piece)) + '\n{"outcome": 1}'
        response = decode(json.dumps({"choices": [{"message": {"content": text}}]}).encode())
        return lambda: [featurize([response], spec) for spec in PRESETS.values()]

    assert seconds(run(200_000)) < 40 * seconds(run(20_000))  # quadratic would be 100

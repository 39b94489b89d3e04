"""Answers in every provider's format, built from one description."""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

Token = tuple[str, float | None, dict[str, float]]  # text, log-probability, alternatives with theirs
Body = dict[str, Any]


def _item(text: str, logprob: float | None) -> Body:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _openai(tokens: Sequence[Token]) -> list[Body]:
    return [
        _item(text, logprob) | {"top_logprobs": [_item(*pair) for pair in alternatives.items()]}
        for text, logprob, alternatives in tokens
    ]


def _chat(tokens: Sequence[Token], text: str, finish: str) -> Body:
    message = {"role": "assistant", "content": text, "refusal": None}
    logprobs = {"content": _openai(tokens), "refusal": None} if tokens else None
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}],
    }


def _responses(tokens: Sequence[Token], text: str, finish: str) -> Body:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": _openai(tokens)}
    return {
        "id": "resp_1",
        "object": "response",
        "model": "m",
        "status": "incomplete" if finish == "length" else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if finish == "length" else None,
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "status": "completed", "content": [part]},
        ],
    }


def _completions(tokens: Sequence[Token], text: str, finish: str) -> Body:
    logprobs = {
        "tokens": [token for token, _, _ in tokens],
        "token_logprobs": [logprob for _, logprob, _ in tokens],
        "top_logprobs": [alternatives for _, _, alternatives in tokens],
        "text_offset": [0] * len(tokens),
    }
    choice = {"index": 0, "text": text, "logprobs": logprobs if tokens else None, "finish_reason": finish}
    return {"id": "cmpl-1", "object": "text_completion", "model": "m", "choices": [choice]}


def _gemini(tokens: Sequence[Token], text: str, finish: str) -> Body:
    def item(token: str, logprob: float | None) -> Body:
        return {"token": token, "tokenId": 7, "logProbability": logprob}

    result = {
        "chosenCandidates": [item(token, logprob) for token, logprob, _ in tokens],
        "topCandidates": [{"candidates": [item(*pair) for pair in top.items()]} for _, _, top in tokens],
    }
    candidate = {
        "content": {"role": "model", "parts": [{"text": "hm, 3?", "thought": True}, {"text": text}]},
        "finishReason": "MAX_TOKENS" if finish == "length" else "STOP",
        "avgLogprobs": -0.1,
        "logprobsResult": result,
    }
    return {"candidates": [candidate], "modelVersion": "m", "usageMetadata": {}}


def _none(tokens: Sequence[Token], text: str, finish: str) -> Body:
    assert not tokens
    return {
        "id": "msg_1",
        "type": "message",
        "model": "m",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "max_tokens" if finish == "length" else "end_turn",
    }


FORMATS = {
    "openai-chat": _chat,
    "openai-responses": _responses,
    "completions": _completions,
    "gemini": _gemini,
    "none": _none,
}


@pytest.fixture(scope="session")
def body() -> Callable[..., Body]:
    """Builds a provider's body; the text is that of the tokens unless given."""

    def build(
        tokens: Sequence[Token] = (), *, provider: str = "openai-chat", text: str | None = None, finish: str = "stop"
    ) -> Body:
        assert provider in FORMATS, f"a new provider needs a body in {__file__}: {provider}"
        return FORMATS[provider](tokens, "".join(token[0] for token in tokens) if text is None else text, finish)

    return build


@pytest.fixture(scope="session")
def values(body: Callable[..., Body]) -> Callable[..., dict[str, float]]:
    """The predictors of one answer by name, under a spec."""
    from featurizers import PRESETS, SCHEMA, decode, featurize

    def compute(tokens: Sequence[Token] = (), spec: Any = "lpp", **how: Any) -> dict[str, float]:
        value = json.dumps(body(tokens, **how)).encode()
        vectors = featurize([decode(value)], PRESETS[spec] if isinstance(spec, str) else spec)
        return dict(zip(SCHEMA.names, vectors.values[0].tolist(), strict=True))

    return compute


@pytest.fixture(scope="session")
def verdict() -> list[Token]:
    """`{"outcome": 1, "confidence": 80}` in eight tokens, with probabilities easy to reckon with."""
    ln = math.log
    return [
        ('{"', ln(0.9), {'{"': ln(0.9), "```": ln(0.1)}),
        ('outcome":', ln(0.5), {'outcome":': ln(0.5), "x": ln(0.25), "y": ln(0.25)}),
        (" ", 0.0, {" ": 0.0, "1": -9999.0}),
        ("1", ln(0.6), {"1": ln(0.6), "0": ln(0.2), " 2": ln(0.1), '"3"': ln(0.05), "7": ln(0.05)}),
        (', "confidence": ', ln(0.8), {', "confidence": ': ln(0.8), "}": ln(0.2)}),
        ("8", ln(0.5), {"8": ln(0.5), "9": ln(0.5)}),
        ("0", ln(0.4), {"5": ln(0.6), "0": ln(0.4)}),
        ("}", ln(0.99), {"}": ln(0.99), ",": ln(0.01)}),
    ]


@pytest.fixture(scope="session")
def native_reader() -> Any:
    """The native reader; where it is not built its tests are skipped, unless it must be there."""
    from featurizers import readers

    reader = readers.load("")
    if reader.name != "native" and not os.environ.get("SECONDLOOK_REQUIRE_NATIVE"):
        pytest.skip(f"{reader.why}: `make native` needs cargo")
    assert reader.name == "native", reader.why
    return reader


@pytest.fixture(scope="module", params=["python", "native"])
def each_reader(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests that hold with either reader."""
    from featurizers import readers

    chosen = readers.python("a test") if request.param == "python" else request.getfixturevalue("native_reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "reader", chosen)
        yield

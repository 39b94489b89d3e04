"""From a provider's body to an `Answer`: its text, its tokens, and how it ended.

Where an answer is a tool call, its text is the JSON of the call's arguments; providers return no log-probabilities then.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from featurizers.wire import Alternative, Body, Choice, Logprobs, LogprobsResult, Part, Token

T = TypeVar("T")

REFUSING = frozenset({"content_filter", "refusal", "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION"})
TRUNCATING = frozenset({"length", "max_tokens", "max_output_tokens", "MAX_TOKENS"})


class Answer(NamedTuple):
    """What every format boils down to. `tokens` is empty where the format carries no log-probabilities."""

    text: str
    tokens: list[Token]
    refused: bool
    truncated: bool


class NoAnswerError(Exception):
    """The body lacks what its format promises; `decode` turns it into a `ResponseError`."""


def _first_choice(body: Body) -> Choice:
    if not body.choices:
        raise NoAnswerError("it has no `choices`")
    return body.choices[0]


def _chat(body: Body) -> Answer:
    choice = _first_choice(body)
    message = choice.message
    if message is None:
        raise NoAnswerError("its first choice has no `message`")
    content = message.content
    text = content if isinstance(content, str) else _text(content)
    if not text and message.tool_calls:
        text = "".join(call.function.arguments or "" for call in message.tool_calls if call.function is not None)
    tokens = (choice.logprobs.content if choice.logprobs is not None else None) or []
    reason = choice.finish_reason
    return Answer(text, tokens, bool(message.refusal) or reason in REFUSING, reason in TRUNCATING)


def _completions(body: Body) -> Answer:
    choice = _first_choice(body)
    if choice.text is None:
        raise NoAnswerError("its first choice has no `text`")
    tokens = _completion_tokens(choice.logprobs) if choice.logprobs is not None else []
    reason = choice.finish_reason
    return Answer(choice.text, tokens, reason in REFUSING, reason in TRUNCATING)


def _completion_tokens(logprobs: Logprobs) -> list[Token]:
    texts = logprobs.tokens or []
    emitted = _padded(logprobs.token_logprobs, len(texts))
    tops = _padded(logprobs.top_logprobs, len(texts))
    return [
        Token(text or "", logprob, [Alternative(*item) for item in top.items()] if top else None)
        for text, logprob, top in zip(texts, emitted, tops, strict=True)
    ]


def _responses(body: Body) -> Answer:
    if body.output is None:
        raise NoAnswerError("it has no `output`")
    messages = [item for item in body.output if item.type in {"message", None}]
    parts = [part for item in messages for part in item.content or ()]
    text = _text(parts) or "".join(item.arguments for item in body.output if item.arguments)
    tokens = [token for part in parts for token in part.logprobs or ()]
    reason = body.incomplete_details.reason if body.incomplete_details is not None else None
    refused = any(part.refusal for part in parts) or reason in REFUSING
    return Answer(text, tokens, refused, reason in TRUNCATING)


def _gemini(body: Body) -> Answer:
    if not body.candidates:
        if body.prompt_feedback is not None and body.prompt_feedback.block_reason:
            return Answer("", [], refused=True, truncated=False)
        raise NoAnswerError("it has no `candidates`")
    candidate = body.candidates[0]
    tokens = _gemini_tokens(candidate.logprobs_result) if candidate.logprobs_result is not None else []
    text = _text(candidate.content.parts if candidate.content is not None else None)
    reason = candidate.finish_reason
    return Answer(text, tokens, reason in REFUSING, reason in TRUNCATING)


def _gemini_tokens(result: LogprobsResult) -> list[Token]:
    chosen = result.chosen_candidates or []
    tops = _padded(result.top_candidates, len(chosen))
    return [
        Token(
            token.token, token.logprob, [Alternative(a.token, a.logprob) for a in top.candidates or ()] if top else None
        )
        for token, top in zip(chosen, tops, strict=True)
    ]


def _none(body: Body) -> Answer:
    if body.content is None:
        raise NoAnswerError("it has no `content`")
    text = body.content if isinstance(body.content, str) else _text(body.content)
    return Answer(text, [], body.stop_reason in REFUSING, body.stop_reason in TRUNCATING)


def _text(parts: Iterable[Part] | None) -> str:
    """The visible text of a multi-part content, without thoughts and refusals; if there is none, the tool calls' JSON."""
    parts = list(parts or ())
    text = "".join(part.text for part in parts if part.text and not part.thought)
    if text:
        return text
    calls = (bytes(part.input) or bytes(part.function_call.args if part.function_call else b"") for part in parts)
    return b"".join(calls).decode(errors="replace")


def _padded(items: list[T] | None, length: int) -> list[T | None]:
    """Servers have sent parallel lists of unequal lengths: fill up with None."""
    items = items or []
    return [*items[:length], *[None] * (length - len(items))]


READERS: dict[str, Callable[[Body], Answer]] = {
    "openai-chat": _chat,
    "openai-responses": _responses,
    "completions": _completions,
    "gemini": _gemini,
    "none": _none,
}


def detect(body: Body) -> str | None:
    """The provider whose format the body has, or None if it has none of them."""
    if body.choices:
        return "openai-chat" if body.choices[0].message is not None else "completions"
    if body.output is not None:
        return "openai-responses"
    if body.candidates is not None or body.prompt_feedback is not None:
        return "gemini"
    return "none" if body.content is not None else None

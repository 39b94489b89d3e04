"""From a provider's body to an `Answer`: its text, its tokens, and how it ended."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from featurizers.wire import Alternative, Body, Part, Token

REFUSING = frozenset({"content_filter", "refusal", "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION"})
TRUNCATING = frozenset({"length", "max_tokens", "max_output_tokens", "MAX_TOKENS"})


class Answer(NamedTuple):
    """What every format boils down to. `tokens` is empty where the format carries no log-probabilities."""

    text: str
    tokens: list[Token]
    refused: bool
    truncated: bool


class NoAnswerError(Exception):
    """The body lacks what its format promises; becomes a `ResponseError` in `decode`."""


def _chat(body: Body) -> Answer:
    if not body.choices:
        raise NoAnswerError("it has no `choices`")
    choice = body.choices[0]
    message = choice.message
    if message is None:
        raise NoAnswerError("its first choice has no `message`")
    content = message.content
    text = content if isinstance(content, str) else _text(content)
    tokens = (choice.logprobs.content if choice.logprobs is not None else None) or []
    reason = choice.finish_reason
    return Answer(text, tokens, bool(message.refusal) or reason in REFUSING, reason in TRUNCATING)


def _completions(body: Body) -> Answer:
    if not body.choices:
        raise NoAnswerError("it has no `choices`")
    choice = body.choices[0]
    if choice.text is None:
        raise NoAnswerError("its first choice has no `text`")
    tokens: list[Token] = []
    if choice.logprobs is not None and choice.logprobs.tokens:
        texts = choice.logprobs.tokens
        logprobs = choice.logprobs.token_logprobs or []
        tops = choice.logprobs.top_logprobs or []
        tokens = [
            Token(
                text or "",
                logprobs[i] if i < len(logprobs) else None,
                [Alternative(*item) for item in (tops[i] or {}).items()] if i < len(tops) else None,
            )
            for i, text in enumerate(texts)
        ]
    reason = choice.finish_reason
    return Answer(choice.text, tokens, reason in REFUSING, reason in TRUNCATING)


def _responses(body: Body) -> Answer:
    if body.output is None:
        raise NoAnswerError("it has no `output`")
    parts = [part for item in body.output if item.type in {"message", None} for part in item.content or ()]
    tokens = [token for part in parts for token in part.logprobs or ()]
    reason = body.incomplete_details.reason if body.incomplete_details is not None else None
    refused = any(part.refusal for part in parts) or reason in REFUSING
    return Answer(_text(parts), tokens, refused, reason in TRUNCATING)


def _gemini(body: Body) -> Answer:
    if not body.candidates:
        if body.prompt_feedback is not None and body.prompt_feedback.block_reason:
            return Answer("", [], refused=True, truncated=False)
        raise NoAnswerError("it has no `candidates`")
    candidate = body.candidates[0]
    tokens: list[Token] = []
    if candidate.logprobs_result is not None:
        chosen = candidate.logprobs_result.chosen_candidates or []
        tops = candidate.logprobs_result.top_candidates or []
        tokens = [
            Token(
                token.token,
                token.logprob,
                [Alternative(top.token, top.logprob) for top in tops[i].candidates or ()] if i < len(tops) else None,
            )
            for i, token in enumerate(chosen)
        ]
    text = _text(candidate.content.parts if candidate.content is not None else None)
    reason = candidate.finish_reason
    return Answer(text, tokens, reason in REFUSING, reason in TRUNCATING)


def _none(body: Body) -> Answer:
    if body.content is None:
        raise NoAnswerError("it has no `content`")
    text = body.content if isinstance(body.content, str) else _text(body.content)
    return Answer(text, [], body.stop_reason in REFUSING, body.stop_reason in TRUNCATING)


def _text(parts: Iterable[Part] | None) -> str:
    """The visible text of a multi-part content: without thoughts and refusals."""
    return "".join(part.text for part in parts or () if part.text and not part.thought)


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

"""From a provider's body to an `Answer`: its text, its tokens in one form whatever the shape, and how it ended.

Where an answer is a tool call, its text is the JSON of the call's arguments, whatever is said before it; providers return no
log-probabilities of a call then.
"""

import json
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from featurizers.wire import Alternative, Body, Candidate, Choice, FunctionCall, Logprobs, LogprobsResult, Part, Token

T = TypeVar("T")

CHAT = "openai-chat"

REFUSING = frozenset(
    {"content_filter", "content_filtered", "guardrail_intervened", "refusal", "safety", "image_safety"}
    | {"prohibited_content", "blocklist", "spii", "recitation"}
)
# Reasons by which an answer ends of itself. Any other, known or not, may have cut it off.
FINISHING = frozenset(
    {"stop", "stop_sequence", "stop_token", "end_turn", "eos", "eos_token", "complete", "completed"}
    | {"tool_calls", "tool_use", "function_call"}
)
_HIDDEN = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_text", "summary_text"})


class Answer(NamedTuple):
    """What every format boils down to. `tokens` is empty where the format carries no log-probabilities.

    `others` are what else was sampled for the same request (`n` above 1): the answer is the first.
    """

    text: str
    tokens: list[Token]
    refused: bool
    truncated: bool
    others: tuple["Answer", ...] = ()


class NoAnswerError(Exception):
    """The body lacks what its format promises; `decode` turns it into a `ResponseError`."""


def ended(reason: str | None) -> tuple[bool, bool]:
    """Whether an answer that ended for this reason was refused, and whether it was cut off."""
    if reason is None or reason == "stop":
        return False, False
    reason = reason.lower()
    return reason in REFUSING, reason not in FINISHING


def _answer(text: str, tokens: list[Token], reason: str | None, *, refused: bool = False) -> Answer:
    refusing, truncated = ended(reason)
    return Answer(text, tokens, refused or refusing, truncated)


def _sampled(samples: list[T] | None, read: Callable[[T], Answer], name: str) -> Answer:
    """The first of several answers, with the others."""
    if not samples:
        raise NoAnswerError(f"it has no `{name}`")
    first, *others = samples
    return read(first)._replace(others=tuple(map(read, others))) if others else read(first)


def _chat(body: Body) -> Answer:
    return _sampled(body.choices, _message, "choices")


def _message(choice: Choice) -> Answer:
    message = choice.message
    if message is None:
        raise NoAnswerError("a choice has no `message`")
    content = message.content
    text = content if isinstance(content, str) else _text(content)
    tokens = _tokens(choice.logprobs)
    if message.tool_calls or message.function_call is not None:
        calls = [call.function for call in message.tool_calls or ()]
        arguments = _arguments([*calls, message.function_call])
        if arguments:
            text, tokens = arguments, [] if text else tokens
    return _answer(text, tokens, choice.finish_reason, refused=bool(message.refusal))


def _arguments(calls: Iterable[FunctionCall | None]) -> str:
    said = [call.arguments for call in calls if call is not None and call.arguments]
    return "\n".join(one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in said)


def _completions(body: Body) -> Answer:
    return _sampled(body.choices, _completion, "choices")


def _completion(choice: Choice) -> Answer:
    if choice.text is None:
        raise NoAnswerError("a choice has no `text`")
    return _answer(choice.text, _tokens(choice.logprobs), choice.finish_reason)


def _tokens(logprobs: Logprobs | None) -> list[Token]:
    if logprobs is None:
        return []
    return logprobs.content or _listed_tokens(logprobs)


def _listed_tokens(logprobs: Logprobs) -> list[Token]:
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
    messages = [item.content or [] for item in body.output if item.type in {"message", None}]
    parts = [part for content in messages for part in content]
    text = "\n".join(filter(None, map(_text, messages)))
    tokens = [token for part in parts for token in part.logprobs or ()]
    arguments = "\n".join(item.arguments for item in body.output if item.arguments)
    if arguments:
        text, tokens = arguments, [] if text else tokens
    reason = body.incomplete_details.reason if body.incomplete_details is not None else None
    return _answer(text, tokens, reason or body.status, refused=any(part.refusal for part in parts))


def _gemini(body: Body) -> Answer:
    feedback = body.camel_feedback or body.snake_feedback
    if not body.candidates and feedback is not None and (feedback.camel_reason or feedback.snake_reason):
        return Answer("", [], refused=True, truncated=False)
    return _sampled(body.candidates, _candidate, "candidates")


def _candidate(candidate: Candidate) -> Answer:
    logprobs = candidate.camel_logprobs or candidate.snake_logprobs
    parts = candidate.content.parts if candidate.content is not None else None
    text, called = _text_or_call(parts)
    tokens = [] if called or logprobs is None else _gemini_tokens(logprobs)
    return _answer(text, tokens, candidate.camel_finish or candidate.snake_finish)


def _gemini_tokens(result: LogprobsResult) -> list[Token]:
    chosen = result.camel_chosen or result.snake_chosen or []
    tops = _padded(result.camel_top or result.snake_top, len(chosen))
    return [
        Token(
            token.token, token.logprob, [Alternative(a.token, a.logprob) for a in top.candidates or ()] if top else None
        )
        for token, top in zip(chosen, tops, strict=True)
    ]


def _none(body: Body) -> Answer:
    if body.content is None:
        raise NoAnswerError("it has no `content`")
    text = body.content if isinstance(body.content, str) else _text_or_call(body.content)[0]
    return _answer(text, [], body.stop_reason)


def _text(parts: Iterable[Part] | None) -> str:
    """The visible text of a multi-part content, without thoughts and refusals."""
    return "".join(part.text for part in parts or () if part.text and not part.thought and part.type not in _HIDDEN)


def _text_or_call(parts: Iterable[Part] | None) -> tuple[str, bool]:
    """The JSON of the tool calls among the parts, and True; if there are none, the visible text."""
    parts = list(parts or ())
    calls = []
    for part in parts:
        call = part.camel_call or part.snake_call
        calls.append(bytes(part.input) or bytes(call.args if call is not None else b""))
    called = b"\n".join(filter(None, calls)).decode(errors="replace")
    return (called, True) if called else (_text(parts), False)


def _padded(items: list[T] | None, length: int) -> list[T | None]:
    """Servers have sent parallel lists of unequal lengths: fill up with None."""
    items = items or []
    return [*items[:length], *[None] * (length - len(items))]


class Format(NamedTuple):
    """A provider's format: how it is read, by which fields of the body (its container first), and what the docs say of it.

    Where the container is no list, a body with an oddity in it is only read if its provider is named.
    """

    read: Callable[[Body], Answer]
    fields: tuple[str, ...]
    tokens: str
    traps: str


FORMATS: dict[str, Format] = {
    CHAT: Format(
        _chat,
        ("choices", "model"),
        tokens="`choices[0].logprobs.content[]`, or the three lists of `completions` (Together, llama-cpp-python)",
        traps="also vLLM, llama.cpp, most gateways. `token` may be a stand-in where the bytes are not valid UTF-8: `bytes` counts. Refusals in `message.refusal`. Content in parts. Tool calls and reasoning models carry no log-probabilities; a tool call's arguments are read as the text, whatever is said before the call",
    ),
    "openai-responses": Format(
        _responses,
        ("output", "incomplete_details", "status", "model"),
        tokens="`output[].content[].logprobs[]`",
        traps="reasoning items are skipped; `incomplete_details` says whether the answer was cut off",
    ),
    "completions": Format(
        _completions,
        ("choices", "model"),
        tokens="`choices[0].logprobs.{tokens, token_logprobs, top_logprobs}`, or `content` (llama.cpp, mlx)",
        traps="the first token may have no log-probability (echo); the lists may differ in length; older servers give tokens as the vocabulary spells them (`▁`, `Ġ`, `Ã©`, `<0x0A>`, `bytes:\\xc3`)",
    ),
    "gemini": Format(
        _gemini,
        ("candidates", "promptFeedback", "prompt_feedback", "modelVersion", "model_version"),
        tokens="`candidates[0].logprobsResult`, in camel or snake case",
        traps="the chosen token may be missing from `topCandidates`: it is counted all the same; parts marked `thought` are not the answer; a blocked prompt has no candidates at all: a refusal",
    ),
    "none": Format(
        _none,
        ("content", "stop_reason", "model"),
        tokens="none",
        traps="Anthropic's content blocks (text or `tool_use`), a plain string, or the answer's own JSON object as the body",
    ),
}


def detect(body: Body) -> str | None:
    """The provider whose format the body has, or None if it has none of them.

    `choices` come first: the native reader takes what has them for chat, without a look at the other formats' fields.
    """
    if body.choices:
        return CHAT if body.choices[0].message is not None else "completions"
    if body.output is not None:
        return "openai-responses"
    if body.candidates is not None or body.camel_feedback is not None or body.snake_feedback is not None:
        return "gemini"
    return "none" if body.content is not None else None

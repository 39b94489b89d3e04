"""From the bytes of a response record to a `Response`."""

import contextlib
import json
import math
import re
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct

from featurizers.errors import ResponseError
from featurizers.locate import locator
from featurizers.providers import READERS, Answer, NoAnswerError, detect
from featurizers.spec import OutcomeSpec
from featurizers.tokens import NO_TOKENS, Tokens, pack
from featurizers.wire import Body, Record

PROVIDERS: Final = tuple(READERS)

# What each format is read by, its container first.
_FIELDS = {
    "openai-chat": ("choices", "model"),
    "completions": ("choices", "model"),
    "openai-responses": ("output", "incomplete_details", "model"),
    "gemini": ("candidates", "promptFeedback", "modelVersion"),
    "none": ("content", "stop_reason", "model"),
}
_LONGEST_INTEGER = 300  # digits; beyond it lies no number that a float can hold
_REQUEST_ID = re.compile(rb'"request_id"\s*+:\s*+"((?:[^"\\]|\\.)*+)"', re.DOTALL)


class _RawBody(Struct):
    body: Raw


_decoder = msgspec.json.Decoder(Record)
_lenient_decoder = msgspec.json.Decoder(Record, strict=False)
_raw_body_decoder = msgspec.json.Decoder(_RawBody)


class Response(Struct, gc=False):
    """One LLM answer, decoded.

    `llm` is the model name that the body gives. `text` is the visible answer; `tokens` are those that carry it, with their
    alternatives, none where the provider returned no log-probabilities. `refused` and `truncated` are the provider's own
    word on how the answer ended.
    """

    request_id: str | None
    provider: str
    llm: str | None
    text: str
    tokens: Tokens
    refused: bool = False
    truncated: bool = False


def decode(value: bytes, provider: str | None = None, *, spec: OutcomeSpec | None = None) -> Response:
    """Decode one response: the record `{"request_id", "provider", "body"}` or a provider's bare body.

    `provider` is one of `PROVIDERS` and counts where the record names none; without either, the format is detected from
    the body. `body` may be a string (plain text); under provider `none` it may be the answer's own JSON object.

    With the `spec` that the response will be featurized by, only those strings of alternatives are kept that its label
    needs, which is faster; the label distribution is then missing under any other spec.

    Raises `ResponseError`: `not_a_record` for bytes that are no JSON object, `unreadable_answer` for a JSON object that is
    no answer of the provider. Nothing else is raised, whatever the bytes.
    """
    try:
        record = _decoder.decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError):
        record = _decode_leniently(value, provider)
    request_id = str(record.request_id) if isinstance(record.request_id, int) else record.request_id
    body = record if record.body is None or record.body is UNSET else record.body
    provider = record.provider or provider
    try:
        _check_known(provider)
        if isinstance(body, str):
            return Response(request_id, provider or "none", None, body, NO_TOKENS)
        name, answer = _read(body, provider, value)
    except NoAnswerError as reason:
        raise ResponseError(
            f"the body cannot be read as an answer ({provider or 'provider not given'}): {reason}",
            code="unreadable_answer",
            request_id=request_id,
        ) from None
    text, tokens, refused, truncated = answer
    label = None if spec is None else locator(spec).locate(text, refused, truncated).outcome_span
    packed = pack(tokens, text, label)
    return Response(request_id, name, body.model or body.model_version, text, packed, refused, truncated)


def _check_known(provider: str | None) -> None:
    if provider and provider not in READERS:
        raise NoAnswerError(f"the provider is unknown. Known providers: {', '.join(PROVIDERS)}")


def _read(body: Body, provider: str | None, value: bytes) -> tuple[str, Answer]:
    name = provider or detect(body)
    if name is None:
        raise NoAnswerError(
            'it has no known format; name its provider, or "none" if the body is the answer itself. '
            f"Known providers: {', '.join(PROVIDERS)}"
        )
    if name == "none" and body.content is None:
        if isinstance(body, Record) and body.body is None:
            raise NoAnswerError("its `body` is null, and there is no `content` beside it")
        return name, Answer(_own_json(value), [], refused=False, truncated=False)
    return name, READERS[name](body)


def _own_json(value: bytes) -> str:
    """The text of a body that is the answer's own JSON object."""
    with contextlib.suppress(msgspec.DecodeError, ValueError, RecursionError):  # no record around it
        value = bytes(_raw_body_decoder.decode(value).body)
    return value.decode(errors="replace")


def _decode_leniently(value: bytes, provider: str | None) -> Record:
    """Read what the strict pass refuses but servers send.

    That is NaN and -Infinity, numbers in quotes, lone surrogates, broken UTF-8, and foreign fields under known names.
    """
    try:
        document = json.loads(
            value.decode(errors="replace").removeprefix("\ufeff"),
            parse_constant=_nothing,
            parse_float=_finite,
            parse_int=_whole,
        )
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", None) or "it is nested too deeply"
        raise _error(f"the value is not JSON: {reason}", "not_a_record", value) from None
    if not isinstance(document, dict):
        raise _error(f"the value is JSON, but no object: {type(document).__name__}", "not_a_record", value)
    try:
        # A lone surrogate becomes a question mark: it could not be encoded again by anyone.
        mended = json.dumps(_known_fields(document, provider), ensure_ascii=False).encode(errors="replace")
        return _lenient_decoder.decode(mended)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _error(f"the body is no provider's answer: {error}", "unreadable_answer", value) from None


def _nothing(_constant: str) -> None:
    """NaN and the infinities: a number that says nothing is missing."""


def _finite(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


def _whole(number: str) -> int | None:
    return int(number) if len(number) <= _LONGEST_INTEGER else None


def _known_fields(document: dict[str, Any], provider: str | None) -> dict[str, Any]:
    """The record's own fields and, of the body, only those that its format is read by."""
    known = {name: document[name] for name in ("request_id", "provider") if name in document}
    is_null = document.get("body", document) is None
    body = document if is_null else document.get("body", document)
    if not isinstance(body, dict):
        return known | {"body": body}
    name = document.get("provider") or provider
    if name == "none" and not is_null and not isinstance(body.get("content"), list):
        return known | {"body": json.dumps(body)}
    if not isinstance(name, str) or name not in _FIELDS:
        name = next(
            (name for name, (container, *_) in _FIELDS.items() if isinstance(body.get(container), list)), "gemini"
        )
    fields = {key: body[key] for key in _FIELDS[name] if key in body}
    return known | fields | {"body": None} if is_null else known | {"body": fields}


def _error(message: str, code: Any, value: bytes) -> ResponseError:
    """A `ResponseError` with whatever request id the bytes still show."""
    found = _REQUEST_ID.search(value)
    return ResponseError(message, code=code, request_id=None if found is None else found[1].decode(errors="replace"))

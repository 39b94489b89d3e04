"""From the bytes of a response record to a `Response`."""

import contextlib
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct

from featurizers import readers
from featurizers.errors import ResponseError
from featurizers.lenient import decode_leniently, read_document, what_it_is
from featurizers.locate import locator
from featurizers.providers import CHAT, FORMATS, Answer, NoAnswerError, detect, ended
from featurizers.readers import Columns
from featurizers.spec import OutcomeSpec
from featurizers.tokens import NO_TOKENS, Tokens, pack
from featurizers.wire import Body, Record

PROVIDERS: Final = tuple(FORMATS)

_LOGPROBS = frozenset({"logprobs", "logprobsResult", "logprobs_result", "completion_probabilities"})
_MAY_HOLD_LOGPROBS = re.compile(rf'"(?:{"|".join(sorted(_LOGPROBS))})"\s*+:\s*+(?!null)'.encode())


class _RawBody(Struct):
    body: Raw


_NATIVELY: Final = frozenset({None, CHAT})
"""The providers whose answers the native reader may know."""

_decoder = msgspec.json.Decoder(Record)
_raw_body_decoder = msgspec.json.Decoder(_RawBody)


class Response(Struct, gc=False):
    """One LLM answer, decoded.

    `llm` is the model name that the body gives. `text` is the visible answer; `tokens` are those that carry it, with their
    alternatives, none where the provider returned no log-probabilities. `refused` and `truncated` are the provider's own
    word on how the answer ended. `others` are the texts of further answers in the same body, with how they ended: the outcome is
    missing unless theirs is the same. `tokens_unread` says that the body holds log-probabilities in a shape that is not known.
    """

    request_id: str | None
    provider: str
    llm: str | None
    text: str
    tokens: Tokens
    refused: bool = False
    truncated: bool = False
    tokens_unread: bool = False
    others: tuple[tuple[str, bool, bool], ...] = ()


def decode(value: bytes, provider: str | None = None, *, spec: OutcomeSpec | None = None) -> Response:
    """Decode one response: the record `{"request_id", "provider", "body"}` or a provider's bare body.

    What has a `body` is a record, and its own `request_id` and `provider` count; a bare body's are the provider's own and say
    nothing here. `provider` is one of `PROVIDERS` and counts where the record names none; without either, the format is
    detected from the body. `body` may be a string (plain text); under provider `none` it may be the answer's own JSON object.

    With the `spec` that the response will be featurized by, only those strings of alternatives are kept that its label
    needs: less memory, and faster where the reader in Python reads; the label distribution is then missing under any other spec.

    Raises `ResponseError`: `not_a_record` for bytes that are no JSON object, `unreadable_answer` for a JSON object that is
    no answer of the provider. Nothing else is raised, whatever the bytes.
    """
    if provider in _NATIVELY and isinstance(value, bytes):
        columns = readers.reader.read(value)
        if columns is not None:
            response = _response(columns)
            if spec is not None:
                label = locator(spec).locate(response.text, response.refused, response.truncated).outcome_span
                response.tokens = response.tokens.for_label(label)
            return response
    return _decode(value, provider, spec)


def decode_ahead(values: Sequence[bytes]) -> list[Response | None]:
    """What `decode` gives for each value, as far as the native reader can tell, and else None; other threads run meanwhile."""
    return [None if columns is None else _response(columns) for columns in readers.reader.read_each(values)]


def _response(columns: Columns) -> Response:
    request_id, llm, text, reason, sizes, logprobs, counts, alternative_logprobs, alternatives, alternative_sizes = (
        columns
    )
    tokens = Tokens(text, sizes, sizes, logprobs, counts, alternative_logprobs, alternatives, alternative_sizes)
    refused, truncated = ended(reason)
    return Response(request_id, CHAT, llm, text, tokens, refused, truncated)


def _decode(value: bytes, provider: str | None, spec: OutcomeSpec | None) -> Response:
    try:
        record = _decoder.decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError):
        record = decode_leniently(value, provider)
    body, request_id = record.body, None
    if body is UNSET:
        body = record
    else:
        request_id = str(record.request_id) if isinstance(record.request_id, int) else record.request_id
        provider = record.provider or provider
        body = record if body is None else body
    try:
        _check_known(provider)
        if isinstance(body, str):
            return Response(request_id, provider or "none", None, body, NO_TOKENS)
        name, answer = _read(body, provider, value)
    except NoAnswerError as reason:
        raise _no_answer(value, provider, request_id, str(reason)) from None
    text, tokens, refused, truncated, others = answer
    label = None if spec is None else locator(spec).locate(text, refused, truncated).outcome_span
    packed = pack(tokens, text, label)
    llm = body.model or body.camel_version or body.snake_version
    unread = not tokens and _MAY_HOLD_LOGPROBS.search(value) is not None and _holds_logprobs(value)
    further = tuple((other.text, other.refused, other.truncated) for other in others) if others else ()
    return Response(request_id, name, llm, text, packed, refused, truncated, unread, further)


def _no_answer(value: bytes, provider: str | None, request_id: str | None, reason: str) -> ResponseError:
    message = f"the body cannot be read as an answer ({provider or 'provider not given'}): "
    with contextlib.suppress(ResponseError):
        reason = what_it_is(read_document(value)) or reason
    return ResponseError(message + reason, code="unreadable_answer", request_id=request_id)


def _holds_logprobs(value: bytes) -> bool:
    """Whether something other than nothing stands where log-probabilities do. Takes time linear in the bytes."""
    waiting: list[tuple[Any, bool]] = []
    with contextlib.suppress(ResponseError):
        waiting.append((read_document(value), False))
    for item, inside in waiting:
        if isinstance(item, dict):
            waiting += [(below, inside or name in _LOGPROBS) for name, below in item.items()]
        elif isinstance(item, list):
            waiting += [(below, inside) for below in item]
        elif inside and item is not None:
            return True
    return False


def _check_known(provider: str | None) -> None:
    if provider and provider not in FORMATS:
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
    return name, FORMATS[name].read(body)


def _own_json(value: bytes) -> str:
    """The text of a body that is the answer's own JSON object."""
    with contextlib.suppress(msgspec.DecodeError, ValueError, RecursionError):  # no record around it
        value = bytes(_raw_body_decoder.decode(value).body)
    return value.decode(errors="replace")

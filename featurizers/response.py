"""From the bytes of a response record to a `Response`."""

import json
import re
from typing import Final

import msgspec
from msgspec import Struct

from featurizers.errors import ResponseError
from featurizers.providers import READERS, Answer, NoAnswerError, detect
from featurizers.wire import Body, Record, Token

PROVIDERS: Final = tuple(READERS)

_decoder = msgspec.json.Decoder(Record)
_REQUEST_ID = re.compile(rb'"request_id"\s*+:\s*+"((?:[^"\\]|\\.)*+)"')


class Response(Struct, gc=False):
    """One LLM answer, decoded.

    `llm` is the model name that the body gives. `text` is the visible answer; `tokens` are the emitted tokens with their
    alternatives, empty where the provider returned no log-probabilities. `refused` and `truncated` say what the provider
    said of the answer's end.
    """

    request_id: str | None
    provider: str
    llm: str | None
    text: str
    tokens: list[Token]
    refused: bool = False
    truncated: bool = False


def decode(value: bytes, provider: str | None = None) -> Response:
    """Decode one response: the record `{"request_id", "provider", "body"}` or a provider's bare body.

    `provider` is one of `PROVIDERS` and is used where the record names none; without either, the format is detected from
    the body. Log-probabilities are in nats.

    Raises `ResponseError`: `not_a_record` for bytes that are no JSON object, `unreadable_answer` for a JSON object that is
    no answer of the provider. Nothing else is raised, whatever the bytes.
    """
    try:
        record = _decoder.decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError):
        record = _decode_leniently(value)
    request_id = None if record.request_id is None else str(record.request_id)
    body = record if record.body is None else record.body
    provider = record.provider or provider
    try:
        if isinstance(body, str):
            return Response(request_id, provider or "none", None, body, [])
        name, answer = _read(body, provider)
    except NoAnswerError as reason:
        raise ResponseError(
            f"the body cannot be read as an answer of provider {provider or '(detected)'}: {reason}",
            code="unreadable_answer",
            request_id=request_id,
        ) from None
    return Response(request_id, name, body.model or body.model_version, *answer)


def _read(body: Body, provider: str | None) -> tuple[str, Answer]:
    name = provider or detect(body)
    if name is None:
        raise NoAnswerError(f"no known format; the known ones are {', '.join(PROVIDERS)}")
    reader = READERS.get(name)
    if reader is None:
        raise NoAnswerError(f"the provider is unknown; the known ones are {', '.join(PROVIDERS)}")
    return name, reader(body)


def _decode_leniently(value: bytes) -> Record:
    """Read what strict JSON forbids but servers send: NaN, -Infinity, and numbers in quotes."""
    request_id = _find_request_id(value)
    try:
        document = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ResponseError(f"the value is not JSON: {error}", code="not_a_record", request_id=request_id) from None
    if not isinstance(document, dict):
        raise ResponseError(
            f"the value is a JSON {type(document).__name__}, not an object", code="not_a_record", request_id=request_id
        )
    try:
        return msgspec.convert(document, Record, strict=False)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise ResponseError(
            f"the body is no provider's answer: {error}", code="unreadable_answer", request_id=request_id
        ) from None


def _find_request_id(value: bytes) -> str | None:
    """The request id of a record that cannot be decoded as a whole."""
    found = _REQUEST_ID.search(value)
    return None if found is None else found[1].decode(errors="replace")

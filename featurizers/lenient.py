"""Reads what the strict pass over a record refuses but servers send.

That is NaN and -Infinity, numbers in quotes, lone surrogates, broken UTF-8, foreign fields under known names, and a value of
an odd type in a field that the answer can do without.
"""

import json
import math
import re
from typing import Any

import msgspec

from featurizers.errors import ResponseError
from featurizers.providers import FORMATS
from featurizers.wire import Record

_LONGEST_INTEGER = 300  # digits; beyond it lies no number that a float can hold
_MOST_MENDS = 20
# Fields that an answer can do without, and what stands for an odd value: how it ended is then unknown, so it may be cut.
_ODD_END = "unreadable"
_DISPENSABLE: dict[str, Any] = {
    **dict.fromkeys(
        ("logprobs", "logprobsResult", "logprobs_result", "refusal", "model", "modelVersion", "model_version")
    ),
    **dict.fromkeys(("finish_reason", "finishReason", "stop_reason", "status"), _ODD_END),
    "incomplete_details": {"reason": _ODD_END},
}
_REQUEST_ID = re.compile(rb'"request_id"\s*+:\s*+"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_STREAM_EVENTS = frozenset({"message_start", "content_block_delta", "response.output_text.delta"})
_STEP = re.compile(r"\.([^.\[`]+)|\[(\d+)\]")
_decoder = msgspec.json.Decoder(Record, strict=False)


def decode_leniently(value: bytes, provider: str | None) -> Record:
    """The record in the bytes. Raises `ResponseError` as `decode` does."""
    document = read_document(value)
    known = _known_fields(document, provider)
    for _ in range(_MOST_MENDS):
        try:
            # A lone surrogate becomes a question mark: it could not be encoded again by anyone.
            return _decoder.decode(json.dumps(known, ensure_ascii=False).encode(errors="replace"))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            problem = str(error)
            if not _mend(known, problem):
                break
    raise response_error(f"the body is no provider's answer: {problem}", "unreadable_answer", value, document) from None


def read_document(value: bytes) -> dict[str, Any]:
    """The JSON object in the bytes; raises `ResponseError` where there is none."""
    try:
        document = json.loads(
            value.decode(errors="replace").removeprefix("\ufeff"),
            parse_constant=_nothing,
            parse_float=_finite,
            parse_int=_whole,
        )
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", None) or "it is nested too deeply"
        if value.lstrip().startswith((b"data:", b"event:")):
            reason = "it is a stream of server-sent events; put the answer together before you send it"
        raise response_error(f"the value is not JSON: {reason}", "not_a_record", value) from None
    if not isinstance(document, dict):
        raise response_error(f"the value is JSON, but no object: {type(document).__name__}", "not_a_record", value)
    return document


def response_error(message: str, code: Any, value: bytes, document: dict[str, Any] | None = None) -> ResponseError:
    """A `ResponseError` with the record's own request id, or whatever id the bytes still show if they are no JSON."""
    if document is None:
        found = _REQUEST_ID.search(value)
        request_id = None if found is None else found[1].decode(errors="replace")
    else:
        own = document.get("request_id") if "body" in document else None
        request_id = str(own) if isinstance(own, str | int) else None
    return ResponseError(message, code=code, request_id=request_id)


def what_it_is(document: dict[str, Any]) -> str | None:
    """What a body is that is no answer, and what to do; None if it looks like nothing known."""
    body = document.get("body")
    body = document if not isinstance(body, dict) else body
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if body.get("error"):
        return "it is the provider's report of an error, not an answer"
    if isinstance(choice, dict) and choice.get("delta") is not None and choice.get("message") is None:
        return "it is a chunk of a stream; put the answer together before you send it"
    if isinstance(body.get("response"), dict) and "body" in body["response"]:
        return "it is a line of a batch; send its `response.body` as the record's `body`"
    if "request" in body and "response" in body:
        return "it is a line of labelled answers; the answer is its `response` alone"
    kind = body.get("type")
    if isinstance(kind, str) and kind in _STREAM_EVENTS:
        return "it is an event of a stream; put the answer together before you send it"
    return None


def _mend(document: dict[str, Any], problem: str) -> bool:
    """Take a dispensable field out of the document where the problem says that a value is odd; whether there was one."""
    _, _, path = problem.partition("`$")
    below: Any = document
    for match in _STEP.finditer(path):
        step: Any = match[1] if match[2] is None else int(match[2])
        if step in _DISPENSABLE and isinstance(below, dict) and below.get(step) is not None:
            below[step] = _DISPENSABLE[step]
            return True
        try:
            below = below[step]
        except (LookupError, TypeError):
            return False
    return False


def _nothing(_constant: str) -> None:
    """NaN and the infinities: a number that says nothing is missing."""


def _finite(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


def _whole(number: str) -> int | None:
    return int(number) if len(number) <= _LONGEST_INTEGER else None


def _known_fields(document: dict[str, Any], provider: str | None) -> dict[str, Any]:
    """The record's own fields and, of the body, only those that its format is read by."""
    own = {name: document[name] for name in ("request_id", "provider") if name in document and "body" in document}
    known, name = own, own.get("provider") or provider
    is_null = document.get("body", document) is None
    body = document if is_null else document.get("body", document)
    if not isinstance(body, dict):
        return known | {"body": body}
    if name == "none" and not is_null and not isinstance(body.get("content"), list):
        return known | {"body": json.dumps(body)}
    if not isinstance(name, str) or name not in FORMATS:
        name = next(
            (name for name, known_format in FORMATS.items() if isinstance(body.get(known_format.fields[0]), list)),
            "gemini",
        )
    fields = {key: body[key] for key in FORMATS[name].fields if key in body}
    if is_null:
        return known | fields | {"body": None}
    return known | {"body": fields}

"""W3C trace context: which trace a case belongs to, so that what is written of it belongs there too. Pure.

The request's counts, for its headers travel on as they are; where it has none, its answer's: a gateway may be traced and its callers not.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from streams.pipeline.matching import Case
from streams.pipeline.records import Headers

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
_MOST_STATE: Final = 512
"""Bytes of a tracestate that are carried where nothing else of its record is."""
_PARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class Trace(NamedTuple):
    """The span that a record was written in: ids and flags as whole numbers."""

    trace_id: int
    span_id: int
    flags: int


def context(headers: Headers | None) -> Headers:
    """The trace context among a record's headers; nothing where there is none, or it is not as W3C has it."""
    parent = state = None
    for header in headers or ():
        if header[0] == TRACEPARENT:
            parent = header
        elif header[0] == TRACESTATE:
            state = header
    if parent is None or not _PARENT.fullmatch(parent[1] or b""):
        return []
    return [parent, state] if state and state[1] and len(state[1]) <= _MOST_STATE else [parent]


def passed_on(case: Case) -> Headers | None:
    """The headers of a decision: all of the request's; its answer's trace context where no header of the request says anything of one."""
    own, answer = case.request.headers, case.answer
    if answer is None or not answer.headers:
        return own
    for name, _ in own or ():
        if name in (TRACEPARENT, TRACESTATE):
            return own
    return [*(own or ()), *context(answer.headers)] or own


def traces(cases: Iterable[Case], most: int) -> list[Trace]:
    """The spans that requests and answers were written in, each once; `most` of them at most, beyond which nothing is looked at."""
    found: dict[Trace, None] = {}
    for case in cases if most else ():
        for record in (case.request, case.answer):
            if record is not None and (trace := _trace(record.headers)) is not None:
                found[trace] = None
        if len(found) >= most:
            break
    return list(found)[:most]


def _trace(headers: Headers | None) -> Trace | None:
    parent = context(headers)[:1]
    found = _PARENT.fullmatch(parent[0][1] or b"") if parent else None
    return found and Trace(*(int(part, 16) for part in found.groups()))

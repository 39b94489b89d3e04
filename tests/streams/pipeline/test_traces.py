"""Trace context travels from requests and answers to what is written of them."""

from typing import Any

import pytest

from streams.pipeline.matching import Case
from streams.pipeline.records import Headers
from streams.pipeline.traces import Trace, context, passed_on, traces
from tests.rig import request, response

PARENT = b"00-%032x-%016x-01" % (1, 2)
OTHER = b"00-%032x-%016x-00" % (3, 4)


def case(of_request: Headers | None = None, of_answer: Any = ...) -> Case:
    answer = None if of_answer is ... else response(headers=of_answer)
    return Case("a", "hate", request(headers=of_request), None, None, answer)


@pytest.mark.parametrize(
    "parent",
    [
        b"",
        b"00-ab",
        PARENT + b"\n",
        PARENT.upper().replace(b"1", b"A"),
        b"ff" + PARENT[2:],
        b"00-%032x-%016x-01" % (0, 2),
        b"00-%032x-%016x-01" % (1, 0),
        b"\xff" * 55,
        None,
    ],
)
def test_what_is_no_trace_context_is_none(parent: bytes | None) -> None:
    """Anybody may write a header."""
    assert [] == context([("traceparent", parent), ("tracestate", b"a=1")])


def test_a_state_goes_with_its_parent_unless_it_is_long() -> None:
    """What records grow by is bounded."""
    parent = ("traceparent", PARENT)
    assert [parent, ("tracestate", b"a=1")] == context([("x", b"1"), ("tracestate", b"a=1"), parent])
    assert [parent] == context([parent, ("tracestate", b"a" * 513)])


def test_a_decision_has_its_requests_headers_unchanged() -> None:
    """Even a trace context that is none, and whatever its answer says."""
    for own in ([("traceparent", PARENT), ("ce_id", b"1")], [("traceparent", b"00-ab")], None, []):
        assert own == passed_on(case(own))
        assert own == passed_on(case(own, None))
    own = [("traceparent", b"00-ab")]
    assert own == passed_on(case(own, [("traceparent", OTHER)]))


def test_a_decision_has_its_answers_trace_where_its_request_has_none() -> None:
    """And nothing else of the answer's headers."""
    answer: Headers = [("traceparent", OTHER), ("secret", b"x")]
    assert [("ce_id", b"1"), ("traceparent", OTHER)] == passed_on(case([("ce_id", b"1")], answer))
    assert [("traceparent", OTHER)] == passed_on(case(None, answer))
    assert None is passed_on(case(None, [("secret", b"x")]))


def test_a_trace_is_whole_or_not_there() -> None:
    """A state of the request's is not put beside a parent of the answer's: it would be taken for that one's."""
    own: Headers = [("tracestate", b"a=1")]
    assert own == passed_on(case(own, [("traceparent", OTHER), ("tracestate", b"b=2")]))


def test_a_batch_tells_of_some_traces_each_once() -> None:
    """However many records it has: a span has room for so many links."""
    one, other = Trace(1, 2, 1), Trace(3, 4, 0)
    cases = [case([("traceparent", PARENT)], [("traceparent", OTHER)])] * 3
    assert [one, other] == traces(cases, 5)
    assert [one] == traces(cases, 1)
    assert [] == traces(cases, 0)


def test_no_record_is_looked_at_beyond_those() -> None:
    """A batch has hundreds, and a span some dozens of links."""
    left = iter([case([("traceparent", b"00-%032x-%016x-01" % (1, number + 1))]) for number in range(10)])
    assert 3 == len(traces(left, 3))
    assert 7 == len(list(left))

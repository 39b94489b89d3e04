"""What metrics are told of a batch: columns of what its stages made."""

from typing import Any

import numpy as np
import pytest

from featurizers import PRESETS, SCHEMA
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.controls import Controls
from streams.pipeline.matching import Arrivals
from streams.pipeline.measures import Measures
from streams.pipeline.records import Headers
from streams.pipeline.scope import EVERYTHING
from streams.pipeline.stages import Outbox, Pipeline, Polled, Scores, Ticket
from streams.pipeline.traces import Trace
from tests.rig import NOW, TIMEOUT, Desk, request, response

PARENT = b"00-%032x-%016x-01" % (1, 2)


class Model:
    """Gives the first answer of a batch a number, the second one none, and says of the third that it lacks something."""

    name, sha256, policies = "stub", "0" * 64, frozenset({"hate"})
    terms = ("outcome",)

    def score(self, values: Any, _policies: Any, _languages: Any) -> Scores:
        count = len(values)
        return Scores(
            error_probability=np.array([0.25, np.nan, 0.5], np.float32)[:count],
            contributions=np.zeros((count, 0), np.float32),
            supported=np.array([True, True, False])[:count],
        )

    def lacking(self, _values: Any) -> list[str]:
        return ["something"]


def routed(*records: Any, model: Any = None, most_traces: int = 0) -> Outbox:
    controls = Controls(model=model, thresholds={EVERYTHING: 0.5})
    desk = Desk()
    names = topic_names(load_topics())
    pipeline = Pipeline(desk.matcher, PRESETS["lpp"], lambda: controls, names, lambda: NOW, most_traces)
    read = {(role, 0): NOW for role in ("requests", "responses")}
    polled = Polled(Ticket(1, desk.assignment, {}, 0.0), Arrivals(list(records), {}, read))
    return pipeline.route(pipeline.score(pipeline.featurize(pipeline.intake(polled))))


def measured(*records: Any, model: Any = None) -> Measures:
    found = routed(*records, model=model).measures
    assert found is not None
    return found


def test_record_times_of_requests_and_answers_are_told() -> None:
    """Of a request that timed out too, which has no answer; where a record has no time there is none."""
    late = request("late", offset=9, at=NOW - TIMEOUT - 1)
    pairs = [request("a", at=NOW - 5), response("a", at=NOW - 3), request("b", offset=1, at=0), response("b", at=-1)]
    found = measured(*pairs, late)
    assert [True, True, False] == found.is_answered.tolist()
    assert [NOW - 5, NOW - TIMEOUT - 1] == found.requests[[0, 2]].tolist()
    assert np.isnan(found.requests[1])
    assert NOW - 3 == found.responses[0]
    assert np.isnan(found.responses[1])
    assert 2 == len(found.responses)


def test_scores_are_told_where_the_model_can_tell() -> None:
    """Not of an answer that lacks what the model cannot do without, and none where there is no number."""
    records = [make(name) for name in "abc" for make in (request, response)]
    found = measured(*records, model=Model())
    assert ["hate"] * 3 == list(found.policies)
    assert 0.25 == found.error_probability[0]
    assert np.isnan(found.error_probability[1:]).all()
    assert np.isnan(measured(*records).error_probability).all()


def test_missing_predictors_are_counted() -> None:
    """The rig's answer has no log-probabilities, but says how sure it is."""
    found = measured(request("a"), response("a"), request("b"), response("b"))
    missing = dict(zip(SCHEMA.names, found.missing.tolist(), strict=True))
    assert 2 == missing["outcome_log_margin"]
    assert 0 == missing["stated_confidence"]


def test_a_batch_in_which_nothing_is_decided_has_empty_columns() -> None:
    """They are counted as any others."""
    found = measured(request("a"))
    assert (0, 0, 0) == (len(found.requests), len(found.responses), int(found.missing.sum()))


@pytest.mark.parametrize(("most", "expected"), [(0, []), (5, [Trace(1, 2, 1)])])
def test_traces_are_told_where_they_are_asked_for(most: int, expected: list[Trace]) -> None:
    """Only where spans are made."""
    traced = request("a", headers=[("traceparent", PARENT)])
    assert expected == list(routed(traced, response("a"), most_traces=most).traces)


def headers_written(of_request: Headers | None, of_answer: Headers | None) -> tuple[Any, Any]:
    outbox = routed(request("a", headers=of_request), response("a", headers=of_answer))
    by_topic = {one.topic: one.headers for one in outbox.outputs}
    return by_topic["human_review"], by_topic["vectors"]


def test_what_is_written_belongs_to_one_trace() -> None:
    """A vector has its decision's and no other headers; none where its decision has none that can be read."""
    parent, other = ("traceparent", PARENT), ("traceparent", b"00-%032x-%016x-00" % (3, 4))
    assert ([parent, ("x", b"1")], [parent]) == headers_written([parent, ("x", b"1")], [other])
    assert ([("x", b"1"), other], [other]) == headers_written([("x", b"1")], [other, ("y", b"1")])
    assert ([("traceparent", b"00-ab")], None) == headers_written([("traceparent", b"00-ab")], [other])
    assert (None, None) == headers_written(None, None)

"""Labelled data from the pipeline's own topics."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from featurizers import SCHEMA
from scoring import DataError
from scoring.data.dataset import NO_LABEL, Dataset
from scoring.data.joining import join_decisions, read_labelled_vectors
from scoring.data.loading import load


def _vector(request_id: str, policy: str = "hate", **changed: Any) -> dict[str, Any]:
    values: list[float | None] = [0.25] * len(SCHEMA.names)
    for name in ("outcome_is_violation", "outcome_is_evidence_deficiency", "outcome_is_policy_gap"):
        values[SCHEMA.names.index(name)] = changed.pop(name, 0.0)
    return {"request_id": request_id, "policy": policy, "schema": SCHEMA.id, "values": values, "llm": "m", **changed}


def _records(*records: dict[str, Any]) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


def _decision(request_id: str, outcome: int, policy: str = "hate", **more: Any) -> dict[str, Any]:
    return {"request_id": request_id, "policy": policy, "outcome": outcome, **more}


ESCALATED = {"stratum": "escalated", "audit_probability": 1.0}
AUDITED = {"stratum": "audited", "audit_probability": 0.05}
AUTOMATED = {"stratum": "automated", "audit_probability": 0.05}


def test_a_decision_labels_the_vector_of_its_request() -> None:
    """Rows carry the vector's policy and model, the human's label, and the outcome that the vector states."""
    vectors = _records(_vector("a", outcome_is_violation=1.0), _vector("b", policy="spam"))
    decisions = _records(_decision("b", 1, "spam"), _decision("a", 0))
    data = join_decisions(vectors, decisions).data
    rows = [(o.request_id, o.policy, o.llm) for o in data.origins]
    assert [("a", "hate", "m"), ("b", "spam", "m")] == rows
    assert ([1, 0], [0, 1], [True, True]) == (data.outcomes.tolist(), data.labels.tolist(), data.errors.tolist())


@pytest.mark.parametrize(
    ("stated", "outcome"),
    [
        ({"outcome_is_evidence_deficiency": 1.0}, 2),
        ({"outcome_is_policy_gap": 1.0}, 3),
        ({"outcome_is_violation": None, "outcome_is_evidence_deficiency": None, "outcome_is_policy_gap": None}, -1),
    ],
)
def test_the_outcome_is_read_from_the_vector(stated: dict[str, Any], outcome: int) -> None:
    """Inconclusive and missing outcomes are told from verdicts; null is missing."""
    data = join_decisions(_records(_vector("a", **stated)), _records(_decision("a", 1))).data
    assert [outcome] == data.outcomes.tolist()


def test_a_vector_that_nobody_judged_can_be_kept() -> None:
    """Without a label, beside those that have one; of none at all it is said that there is none."""
    data = join_decisions(_records(_vector("a"), _vector("b")), _records(_decision("b", 1)), keep_unlabelled=True).data
    assert [("a", NO_LABEL), ("b", 1)] == [
        (origin.request_id, label) for origin, label in zip(data.origins, data.labels.tolist(), strict=True)
    ]
    with pytest.raises(DataError, match=r"There is no vector of schema .* \(both are empty"):
        join_decisions([], [], keep_unlabelled=True)


def test_the_last_record_counts() -> None:
    """Redelivered vectors make no second row, and a corrected decision replaces the first."""
    vectors = _records(_vector("a"), _vector("a", outcome_is_violation=1.0))
    decisions = _records(_decision("a", 0), _decision("a", 1))
    data = join_decisions(vectors, decisions).data
    assert ([1], [1]) == (data.outcomes.tolist(), data.labels.tolist())


def test_a_verdict_that_is_taken_back_labels_nothing() -> None:
    """A human who found on a second look that nothing can be said has the last word."""
    decisions = _records(_decision("a", 1), _decision("b", 1), _decision("a", 2))
    assert ["b"] == [o.request_id for o in join_decisions(_records(_vector("a"), _vector("b")), decisions).data.origins]


def test_a_decision_about_another_policy_labels_nothing() -> None:
    """It counts for the policy that it names."""
    vectors = _records(_vector("a", policy="hate"), _vector("a", policy="spam"))
    joined = join_decisions(vectors, _records(_decision("a", 1, "spam")))
    assert (["spam"], {"vectors without a decision": 1}) == (joined.data.policies, dict(joined.left_out))


def test_what_is_left_out_is_counted_by_reason() -> None:
    """Garbage, undecided vectors, other schemas and inconclusive humans are counted, never guessed."""
    vectors = [*_records(_vector("a"), _vector("b"), _vector("c", schema="lpp/0"), _vector("d")), b"\xff{"]
    decisions = [
        *_records(_decision("a", 1), _decision("c", 1), _decision("d", 2), _decision("d", 4)),
        *_records({"request_id": "d", "outcome": 1}, {"request_id": "d", "policy": "hate", "label": 1}),
        b"no",
        b"[" * 100_000,
    ]
    assert {
        "unreadable vectors": 1,
        "unreadable decisions": 5,
        "vectors without a decision": 1,
        "vectors of schema lpp/0": 1,
        "decisions without a label": 1,
    } == dict(join_decisions(vectors, decisions).left_out)


def test_a_label_knows_with_what_chance_it_came() -> None:
    """By its vector: so an audit stands for twenty, and what was escalated for itself."""
    vectors = _records(_vector("a", **ESCALATED), _vector("b", **AUDITED), _vector("c", **AUTOMATED))
    joined = join_decisions(vectors, _records(_decision("a", 1), _decision("b", 0)))
    assert [("a", 1.0, "escalated"), ("b", 0.05, "audited")] == [
        (one.request_id, one.chance, one.stratum) for one in joined.data.origins
    ]
    weights = joined.data.weights
    assert weights is not None
    assert (20.0, 1.0) == (pytest.approx(weights[1] / weights[0]), pytest.approx(weights.mean()))
    assert joined.traffic is not None
    assert ({"escalated": 1, "audited": 1, "automated": 1}, {"escalated": 1, "audited": 1}, [], 0.05) == (
        joined.traffic.answers,
        joined.traffic.labelled,
        joined.traffic.unlabelled,
        joined.traffic.least,
    )


def test_the_traffic_says_how_many_verdicts_are_drawn_together() -> None:
    """Those of a request, seen by a human or not; what carries no verdict is not among them."""
    of_one = [_vector("a", policy, **AUTOMATED) for policy in ("hate", "spam", "violence")]
    inconclusive = _vector("a", "sexual", outcome_is_policy_gap=1.0, **ESCALATED)
    joined = join_decisions(_records(*of_one, inconclusive, _vector("b", **AUDITED)), _records(_decision("b", 0)))
    assert joined.traffic is not None
    assert 3 == joined.traffic.largest


def test_what_waits_for_a_human_lowers_the_chance() -> None:
    """Of four escalated answers one is judged: it stands for four."""
    vectors = _records(*(_vector(f"{i}", **ESCALATED) for i in range(4)), _vector("audit", **AUDITED))
    data = join_decisions(vectors, _records(_decision("0", 1), _decision("audit", 0))).data
    assert [0.25, 0.05] == data.chances.tolist()


@pytest.mark.parametrize("more", [{"channel": "appeal"}, {"channel": "report"}, {}])
def test_a_label_that_was_chosen_stands_for_nothing(more: dict[str, Any]) -> None:
    """By an appeal or a report, or of an answer that nobody had drawn, whatever its channel says."""
    drawn = AUDITED if more else AUTOMATED
    vectors = _records(_vector("a", **ESCALATED), _vector("b", **drawn))
    joined = join_decisions(vectors, _records(_decision("a", 1), _decision("b", 0, **more)))
    assert ["a"] == [one.request_id for one in joined.data.origins]
    assert joined.traffic is not None
    assert (1, ["automated"]) == (joined.traffic.chosen, joined.traffic.unlabelled)
    assert [1] == list(joined.left_out.values())


def test_old_vectors_take_the_chance_from_what_the_review_tool_repeats() -> None:
    """Where some labels have one, those without are left out; where none has, they count as they did."""
    vectors = _records(*(_vector(name) for name in "abc"))
    human = _records(
        _decision("a", 1, audit_probability=1.0), _decision("b", 0, audit_probability=0.1), _decision("c", 1)
    )
    joined = join_decisions(vectors, human)
    assert [("a", 1.0, "escalated"), ("b", 0.1, "audited")] == [
        (one.request_id, one.chance, one.stratum) for one in joined.data.origins
    ]
    assert 1 == joined.left_out["labels of which nobody knows with what chance they came"]
    bare = join_decisions(vectors, _records(*(_decision(name, 1) for name in "abc"))).data
    assert (3, None) == (len(bare), bare.weights)


def test_that_humans_differ_travels_with_the_label() -> None:
    """Most of them decide; where none has most there is no label, which is counted."""
    vectors = _records(*(_vector(name) for name in "abcd"))
    human = [
        *(_decision("a", outcome, reviewer=f"r{i}") for i, outcome in enumerate([1, 0, 1])),
        *(_decision("b", 1, reviewer=f"r{i}") for i in range(2)),
        _decision("c", 1),
        *(_decision("d", outcome, reviewer=f"r{i}") for i, outcome in enumerate([1, 0])),
    ]
    joined = join_decisions(vectors, _records(*human))
    assert [("a", "differ", 1), ("b", "agree", 1), ("c", "one", 1)] == [
        (one.request_id, one.humans, label)
        for one, label in zip(joined.data.origins, joined.data.labels.tolist(), strict=True)
    ]
    assert {"answers on which humans are divided": 1} == dict(joined.left_out)


def test_equal_chances_are_no_weights(recording: Dataset) -> None:
    """Data that is labelled throughout is what it was, to the hash."""
    assert (None, 1.0, 1.0) == (recording.weights, recording.chances.min(), recording.chances.max())
    halved = Dataset(
        tuple(replace(one, chance=0.5) for one in recording.origins),
        recording.values,
        recording.outcomes,
        recording.labels,
    )
    assert recording.sha256() == halved.sha256()


def test_nothing_in_common_is_an_error_that_says_why() -> None:
    """No labelled vector at all: the error lists the reasons."""
    with pytest.raises(
        DataError,
        match=r"No vector .* \(decisions without a vector of their request and policy: 1, vectors without a decision: 1\)",
    ):
        join_decisions(_records(_vector("a")), _records(_decision("z", 1)))


def test_a_file_of_labelled_vectors_loads_like_a_recording(tmp_path: Path) -> None:
    """JSONL of vectors with labels is recognised by its first line."""
    path = tmp_path / "vectors.jsonl"
    path.write_bytes(b"\n".join(_records(_vector("a", label=1), _vector("b", label=0, outcome_is_violation=1.0))))
    data = load([path, path])
    assert ([1, 0, 1, 0], [0, 1, 0, 1]) == (data.labels.tolist(), data.outcomes.tolist())


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (_vector("a"), "vectors.jsonl:1: no label"),
        (_vector("a", label=2), "vectors.jsonl:1: .*2.*Expected request_id, policy"),
        (_vector("a", label=1, schema="lpp/0"), f"schema lpp/0, expected {len(SCHEMA.names)} of {SCHEMA.id}"),
    ],
)
def test_a_bad_labelled_vector_is_named(tmp_path: Path, record: dict[str, Any], says: str) -> None:
    """The error names file, line and what is wrong."""
    path = tmp_path / "vectors.jsonl"
    path.write_bytes(_records(record)[0])
    with pytest.raises(DataError, match=says):
        load([path])


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow is no dependency: without it, the error says how to get it and what else to do."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match="pip install pyarrow"):
        read_labelled_vectors(tmp_path / "x.parquet")


def test_parquet_rows_are_vectors_with_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pyarrow reads is taken row by row, as JSONL is (pyarrow itself stands in as a double)."""
    double = ModuleType("pyarrow")
    rows = [_vector("a", label=1), _vector("b", label=0)]
    double.parquet = SimpleNamespace(read_table=lambda _: SimpleNamespace(to_pylist=lambda: rows))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", double)
    assert [1, 0] == load([tmp_path / "x.parquet"]).labels.tolist()


def test_vectors_as_the_pipeline_emits_them_give_the_same_model_input(recording: Dataset) -> None:
    """A recording sent through vectors and decisions comes back with the same values, outcomes and labels."""
    part = recording.take(np.arange(100))
    vectors = _records(
        *(
            _vector(o.request_id, o.policy, values=[None if np.isnan(v) else float(v) for v in row])
            for o, row in zip(part.origins, part.values, strict=True)
        )
    )
    decisions = _records(
        *(_decision(o.request_id, int(y), o.policy) for o, y in zip(part.origins, part.labels, strict=True))
    )
    back = join_decisions(vectors, decisions).data
    assert np.array_equal(part.values, back.values, equal_nan=True)
    assert (part.outcomes.tolist(), part.labels.tolist()) == (back.outcomes.tolist(), back.labels.tolist())


def test_a_vectors_language_becomes_the_rows() -> None:
    """Without region; what older versions wrote has none."""
    vectors = _records(_vector("a", language="pt-BR"), _vector("b", language=None), _vector("c"))
    data = join_decisions(vectors, _records(*(_decision(name, 0) for name in "abc"))).data
    assert ["pt", "unknown", "unknown"] == data.languages

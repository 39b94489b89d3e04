"""Labelled data from vectors: the records of lpp.vectors joined with human decisions, or vectors that carry their label.

A human decision counts for the vector with its request_id and policy. Of repeated records the last one counts, as in a
compacted topic.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurizers import SCHEMA
from scoring.data.dataset import NO_LABEL, NO_OUTCOME, UNKNOWN, Dataset, Origin
from scoring.errors import DataError
from scoring.human import HumanDecision
from scoring.inputs import language_of
from scoring.recording import read_lines


class _Vector(msgspec.Struct):
    request_id: str
    policy: str
    schema: str
    values: list[float | None]
    llm: str | None = None
    tenant: str | None = None
    language: str | None = None
    label: Literal[0, 1] | None = None


class _Row(NamedTuple):
    origin: Origin
    values: NDArray[np.float32]
    label: int


@dataclass(frozen=True)
class Joined:
    """The labelled rows, and how many records were left out, by reason."""

    data: Dataset
    left_out: Counter[str]


def join_decisions(vectors: Iterable[bytes], decisions: Iterable[bytes], *, keep_unlabelled: bool = False) -> Joined:
    """Join the values of both topics, the decisions read first. A vector without a decision is left out, or has NO_LABEL.

    Raises DataError when not a single vector is left.
    """
    left_out: Counter[str] = Counter()
    labels: dict[tuple[str, str], int] = {}
    for decision in _decoded(decisions, HumanDecision, left_out, "unreadable decision"):
        about = decision.request_id, decision.policy
        if decision.label is None:
            left_out["decision without a label"] += 1
            labels.pop(about, None)
        else:
            labels[about] = decision.label
    latest: dict[tuple[str, str], _Row] = {}
    for vector in _decoded(vectors, _Vector, left_out, "unreadable vector"):
        found = labels.get((vector.request_id, vector.policy))
        if found is None and not keep_unlabelled:
            left_out["vector without a decision"] += 1
        elif vector.schema != SCHEMA.id or len(vector.values) != len(SCHEMA.names):
            left_out[f"vector of schema {vector.schema}"] += 1
        else:
            latest[vector.request_id, vector.policy] = _row(vector, NO_LABEL if found is None else found)
    if not latest:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items())) or "both are empty"
        what = "There is no" if keep_unlabelled else "No"
        having = "" if keep_unlabelled else " has a human decision"
        raise DataError(f"{what} vector of schema {SCHEMA.id}{having} ({reasons}).")
    return Joined(_dataset(latest.values()), left_out)


def read_labelled_vectors(path: Path) -> Dataset:
    """Read vectors that carry their label: records of lpp.vectors with `label`, as JSONL (.xz, .gz) or Parquet.

    Raises DataError; Parquet needs pyarrow, which is not among the dependencies.
    """
    rows = []
    for where, row in _parquet_rows(path) if path.suffix == ".parquet" else read_lines(path):
        try:
            vector = msgspec.json.decode(row, type=_Vector) if isinstance(row, bytes) else msgspec.convert(row, _Vector)
        except msgspec.DecodeError as error:
            raise DataError(f"{where}: {error}. Expected request_id, policy, schema, values and label.") from error
        if vector.label is None:
            raise DataError(f"{where}: no label. Vectors without one need --decisions.")
        if vector.schema != SCHEMA.id or len(vector.values) != len(SCHEMA.names):
            raise DataError(
                f"{where}: {len(vector.values)} values of schema {vector.schema}, expected {len(SCHEMA.names)} of {SCHEMA.id}."
            )
        rows.append(_row(vector, vector.label))
    return _dataset(rows)


def _parquet_rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    try:
        from pyarrow import parquet  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow: `pip install pyarrow`, or export JSONL.") from error
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return ((f"{path}:{number}", row) for number, row in enumerate(rows, start=1))


def _decoded(records: Iterable[bytes], kind: type[Any], left_out: Counter[str], reason: str) -> Iterable[Any]:
    decoder = msgspec.json.Decoder(kind)
    for record in records:
        try:
            yield decoder.decode(record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            left_out[reason] += 1


def _row(vector: _Vector, label: int) -> _Row:
    """What a dataset keeps of a vector; missing values become NaN."""
    origin = Origin(
        vector.request_id,
        vector.policy,
        vector.request_id,
        language=language_of(vector.language) or UNKNOWN,
        llm=vector.llm or "unknown",
        tenant=vector.tenant,
    )
    return _Row(origin, np.array(vector.values, dtype=np.float32), label)


def _dataset(rows: Collection[_Row]) -> Dataset:
    values = np.array([row.values for row in rows], dtype=np.float32).reshape(len(rows), len(SCHEMA.names))
    labels = np.array([row.label for row in rows], dtype=np.int8)
    return Dataset(tuple(row.origin for row in rows), values, _outcomes(values), labels)


def _outcomes(values: NDArray[np.float32]) -> NDArray[np.int8]:
    """The outcome that each vector states in its hard predictors."""
    violation, deficiency, gap = (
        values[:, SCHEMA.names.index(name)]
        for name in ("outcome_is_violation", "outcome_is_evidence_deficiency", "outcome_is_policy_gap")
    )
    return np.select(
        [gap == 1, deficiency == 1, violation == 1, violation == 0], [3, 2, 1, 0], default=NO_OUTCOME
    ).astype(np.int8)

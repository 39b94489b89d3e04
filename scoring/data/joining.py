"""Labelled data from vectors: the records of lpp.vectors joined with human decisions, or vectors that carry their label.

What humans decided counts for the vector with its request_id and policy. Of repeated vectors the last one counts, as in a compacted topic. A
label counts where its answer was drawn: escalated, or audited. What came by an appeal or a report was chosen, and stands for nothing else.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurizers import SCHEMA
from scoring.data.dataset import NO_LABEL, NO_OUTCOME, UNKNOWN, Dataset, Origin
from scoring.data.traffic import Stratum, Traffic
from scoring.data.window import ALWAYS, Window
from scoring.errors import DataError
from scoring.human import Finding, fold
from scoring.inputs import language_of
from scoring.recording import UNREADABLE, decoded, read_lines

_About = tuple[str, str]
CHOSEN, DIVIDED, UNTOLD = (
    "labels by appeal or report",
    "answers on which humans are divided",
    "decisions without a label",
)
_LABELLED: tuple[Stratum, ...] = ("escalated", "audited")


class _Vector(msgspec.Struct):
    request_id: str
    policy: str
    schema: str
    values: list[float | None]
    llm: str | None = None
    tenant: str | None = None
    language: str | None = None
    label: Literal[0, 1] | None = None
    audit_probability: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    stratum: Literal["escalated", "audited", "automated"] | None = None
    decided_at: str | None = None


class _Drawn(NamedTuple):
    """How an answer came to a human or did not: its stratum, with what chance (None: unknown), and whether it carries a verdict."""

    stratum: Stratum
    chance: float | None
    decided: bool


class _Row(NamedTuple):
    origin: Origin
    values: NDArray[np.float32]
    label: int


@dataclass(frozen=True)
class Joined:
    """The labelled rows, how many records were left out by reason, and of which traffic the rows are a part (None: files do not say)."""

    data: Dataset
    left_out: Counter[str]
    traffic: Traffic | None = None


def join_decisions(
    vectors: Iterable[bytes], decisions: Iterable[bytes], *, keep_unlabelled: bool = False, window: Window = ALWAYS
) -> Joined:
    """Join the values of both topics, the decisions read first. A vector without a label is left out, or has NO_LABEL.

    Vectors decided out of the window are as if they were not there.

    Where the vectors say with what chance they came to a human, so do the rows: times the share of their stratum that has been judged, which
    takes for granted that what humans have got to is like the rest of it. Raises DataError when not a single vector is left.
    """
    left_out: Counter[str] = Counter()
    findings, told = _labels(decisions, left_out)
    rows: dict[_About, _Row] = {}
    drawn: dict[_About, _Drawn] = {}
    unmatched = set(findings)
    for vector in _decoded(vectors, left_out):
        unmatched.discard((vector.request_id, vector.policy))
        if not window.holds(vector.decided_at):
            left_out["vectors of another time, or of none"] += 1
            continue
        about = vector.request_id, vector.policy
        found = findings.get(about)
        usable = vector.schema == SCHEMA.id and len(vector.values) == len(SCHEMA.names)
        if usable:
            drawn[about] = _drawn(vector, found)
        if found is None and not keep_unlabelled:
            if about not in told:
                left_out["vectors without a decision"] += 1
        elif not usable:
            left_out[f"vectors of schema {vector.schema}"] += 1
        else:
            row = _row(vector, NO_LABEL if found is None or found.label is None else found.label, found)
            came = drawn[about]
            rows[about] = row._replace(origin=replace(row.origin, stratum=came.stratum, chance=came.chance))
    if unmatched and not keep_unlabelled:
        left_out["decisions without a vector of their request and policy"] = len(unmatched)
    traffic = _traffic(drawn, rows, left_out)
    if not keep_unlabelled:
        rows = _counted(rows, drawn, traffic, left_out)
    if not rows:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(left_out.items())) or "both are empty"
        what = "There is no" if keep_unlabelled else "No"
        having = "" if keep_unlabelled else " has a human decision"
        raise DataError(f"{what} vector of schema {SCHEMA.id}{having} ({reasons}).")
    return Joined(_dataset(rows.values()), left_out, traffic)


def _labels(decisions: Iterable[bytes], left_out: Counter[str]) -> tuple[dict[_About, Finding], set[_About]]:
    """What humans found, where it is a label; and of which answers they decided what is none, which is counted."""
    findings, unreadable = fold(decisions)
    labels: dict[_About, Finding] = {}
    for about, found in findings.items():
        if found.label is None:
            left_out[DIVIDED if found.split else UNTOLD] += 1
        elif found.chosen:
            left_out[CHOSEN] += 1
        else:
            labels[about] = found
    if unreadable:
        left_out["unreadable decisions"] = unreadable
    return labels, findings.keys() - labels.keys()


def _drawn(vector: _Vector, found: Finding | None) -> _Drawn:
    """By the vector, or, of an older version's, by what the review tool repeats of the decision."""
    decided = _outcome(vector.values) in (0, 1)
    if vector.stratum is not None and vector.audit_probability is not None:
        return _Drawn(vector.stratum, vector.audit_probability, decided)
    chance = found.audit_probability if found is not None else None
    if found is None or not chance:
        return _Drawn("unknown", None, decided)
    return _Drawn("audited" if chance < 1 or found.channel == "audit" else "escalated", chance, decided)


def _traffic(drawn: Mapping[_About, _Drawn], rows: Mapping[_About, _Row], left_out: Counter[str]) -> Traffic:
    answers: Counter[Stratum] = Counter()
    labelled: Counter[Stratum] = Counter()
    least: dict[Stratum, float] = {}
    unseen = not_drawn = unknown = 0
    for about, one in drawn.items():
        has_label = about in rows and rows[about].label != NO_LABEL
        not_drawn += has_label and one.stratum == "automated"
        unknown += has_label and one.stratum == "unknown"
        if one.decided:
            answers[one.stratum] += 1
            labelled[one.stratum] += has_label and one.stratum in _LABELLED
            unseen += one.chance == 0
        if one.chance:
            part: Stratum = "escalated" if one.stratum == "escalated" else "audited"
            least[part] = min(least.get(part, 1.0), one.chance)
    together = Counter(request_id for (request_id, _), one in drawn.items() if one.decided)
    chances = [chance * labelled[part] / answers[part] for part, chance in least.items() if labelled[part]]
    return Traffic(
        answers,
        +labelled,
        unseen,
        left_out[CHOSEN] + not_drawn,
        unknown,
        left_out[DIVIDED],
        left_out[UNTOLD],
        min(chances, default=None),
        max(together.values(), default=1),
    )


def _counted(
    rows: Mapping[_About, _Row], drawn: Mapping[_About, _Drawn], traffic: Traffic, left_out: Counter[str]
) -> dict[_About, _Row]:
    """The rows that were drawn, with the chance of it. Where nothing is known of any chance, all of them, without one."""
    if not any(drawn[about].chance is not None for about in rows):
        return dict(rows)
    counted: dict[_About, _Row] = {}
    for about, row in rows.items():
        stratum, chance, _ = drawn[about]
        if stratum == "unknown" or chance is None:
            left_out["labels of which nobody knows with what chance they came"] += 1
        elif stratum == "automated" or not chance:
            left_out["labels of answers that nobody had drawn"] += 1
        else:
            judged = traffic.labelled[stratum] / traffic.answers[stratum] if traffic.labelled[stratum] else 1.0
            counted[about] = row._replace(origin=replace(row.origin, chance=chance * judged))
    return counted


def read_labelled_vectors(path: Path) -> Dataset:
    """Read vectors that carry their label: records of lpp.vectors with `label`, as JSONL (.xz, .gz) or Parquet.

    All count alike: whoever wrote the labels chose the items, so what the vectors say of audits is passed by. Raises DataError; Parquet needs pyarrow, which is not among the dependencies.
    """
    rows = []
    lines = _parquet_rows(path) if path.suffix == ".parquet" else read_lines(path)
    for where, vector in decoded(lines, _Vector, "request_id, policy, schema, values and label"):
        if vector.label is None:
            raise DataError(f"{where}: no label. Vectors without one need --decisions.")
        if vector.schema != SCHEMA.id or len(vector.values) != len(SCHEMA.names):
            raise DataError(
                f"{where}: {len(vector.values)} values of schema {vector.schema}, expected {len(SCHEMA.names)} of {SCHEMA.id}."
            )
        rows.append(_row(vector, vector.label, None))
    return _dataset(rows)


def _parquet_rows(path: Path) -> Iterable[tuple[str, bytes]]:
    try:
        from pyarrow import parquet  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow: `pip install pyarrow`, or export JSONL.") from error
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return ((f"{path}:{number}", msgspec.json.encode(row)) for number, row in enumerate(rows, start=1))


def _decoded(records: Iterable[bytes], left_out: Counter[str]) -> Iterable[_Vector]:
    decoder = msgspec.json.Decoder(_Vector)
    for record in records:
        try:
            yield decoder.decode(record)
        except UNREADABLE:
            left_out["unreadable vectors"] += 1


def _row(vector: _Vector, label: int, found: Finding | None) -> _Row:
    """What a dataset keeps of a vector; missing values become NaN."""
    humans = "unknown" if found is None else "differ" if found.split else "agree" if found.reviewers > 1 else "one"
    origin = Origin(
        vector.request_id,
        vector.policy,
        vector.request_id,
        language=language_of(vector.language) or UNKNOWN,
        llm=vector.llm or "unknown",
        tenant=vector.tenant,
        humans=humans,
        decided_at=vector.decided_at,
    )
    return _Row(origin, np.array(vector.values, dtype=np.float32), label)


def _dataset(rows: Collection[_Row]) -> Dataset:
    values = np.array([row.values for row in rows], dtype=np.float32).reshape(len(rows), len(SCHEMA.names))
    labels = np.array([row.label for row in rows], dtype=np.int8)
    return Dataset(tuple(row.origin for row in rows), values, _outcomes(values), labels)


_HARD = [
    SCHEMA.names.index(name)
    for name in ("outcome_is_violation", "outcome_is_evidence_deficiency", "outcome_is_policy_gap")
]


def _outcome(values: list[float | None]) -> int:
    violation, deficiency, gap = (values[i] for i in _HARD)
    return 3 if gap == 1 else 2 if deficiency == 1 else NO_OUTCOME if violation not in (0, 1) else int(violation)


def _outcomes(values: NDArray[np.float32]) -> NDArray[np.int8]:
    """The outcome that each vector states in its hard predictors."""
    violation, deficiency, gap = (values[:, i] for i in _HARD)
    return np.select(
        [gap == 1, deficiency == 1, violation == 1, violation == 0], [3, 2, 1, 0], default=NO_OUTCOME
    ).astype(np.int8)

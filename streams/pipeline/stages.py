"""The four stages a batch goes through. Pure: each takes the previous stage's result and returns its own.

The Faust agents in `streams.worker.agents` call these and nothing else, so the whole way of a record can be tested without a broker.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from featurizers import SCHEMA, OutcomeSpec, Vectors, featurize
from scoring import ModelError, Scores
from streams.pipeline.controls import Controls
from streams.pipeline.dead_letters import dead_letter
from streams.pipeline.matching import Case, Matched, Matcher
from streams.pipeline.reasons import Reason
from streams.pipeline.records import Output, Record
from streams.pipeline.routing import Verdict, encode_decision, rfc3339, top_drivers


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a batch carries through every stage: its place in the sequence and what its commit will commit.

    `sequence` has no gaps within a worker; `epoch` counts assignments, and a batch of an earlier one must not be
    committed. `offsets` maps (source, partition) to the next offset to read; `group` is the consumer group's metadata
    of that assignment, by which the broker fences a worker that has lost its partitions.
    """

    sequence: int
    epoch: int
    offsets: Mapping[tuple[str, int], int]
    group: Any
    polled_at: float


@dataclass(frozen=True, slots=True)
class Polled:
    """Records as they came, and how far each partition has been read (see `streams.pipeline.matching`)."""

    ticket: Ticket
    records: list[Record]
    frontiers: Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class MatchedBatch:
    """The batch after intake."""

    ticket: Ticket
    matched: Matched


@dataclass(frozen=True, slots=True)
class FeaturizedBatch:
    """The batch with the predictors of its answered cases, row by row."""

    ticket: Ticket
    matched: Matched
    answered: list[Case]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """The batch with its scores (None when the model failed), and the controls that score and route it."""

    featurized: FeaturizedBatch
    controls: Controls
    scores: Scores | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Outbox:
    """All that a batch writes, in the order it must become durable when there are no transactions."""

    ticket: Ticket
    outputs: list[Output]
    changelog: list[Output]
    decisions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    problem: str | None = None


class Pipeline:
    """The stages, with what they need to know.

    `controls` gives the snapshot in force when it is called; `is_current` tells whether a batch's assignment still holds.
    """

    def __init__(
        self,
        matcher: Matcher,
        spec: OutcomeSpec,
        controls: Callable[[], Controls],
        topic_names: Mapping[str, str],
        *,
        is_current: Callable[[Ticket], bool] = lambda _ticket: True,
    ) -> None:
        self._matcher = matcher
        self._spec = spec
        self._controls = controls
        self._topic_names = topic_names
        self._is_current = is_current
        self._life = uuid.uuid4().hex[:12]

    def intake(self, batch: Polled) -> MatchedBatch:
        """Decode and match; see `streams.pipeline.matching`.

        A batch of an assignment that is over passes through empty: the stores are by now those of another assignment,
        which will read these records again.
        """
        if not self._is_current(batch.ticket):
            return MatchedBatch(batch.ticket, Matched())
        # No clock in it: one that steps back after a restart could name two batches alike, and one would overwrite the other.
        unique = f"{self._life}:{batch.ticket.sequence}"
        matched = self._matcher.match(batch.records, batch.frontiers, now=_now(), unique=unique)
        return MatchedBatch(batch.ticket, matched)

    def featurize(self, batch: MatchedBatch) -> FeaturizedBatch:
        """The predictors of every case that has an answer."""
        answered = [case for case in batch.matched.cases if case.response is not None]
        vectors = featurize([case.response for case in answered if case.response is not None], self._spec)
        return FeaturizedBatch(batch.ticket, batch.matched, answered, vectors)

    def score(self, batch: FeaturizedBatch) -> ScoredBatch:
        """P(error) of every answer. A model that fails costs its batch the automation, not the worker its life."""
        controls = self._controls()
        try:
            scores = controls.model.score(batch.vectors.values, [case.policy for case in batch.answered])
        except ModelError as problem:
            return ScoredBatch(batch, controls, None, str(problem))
        return ScoredBatch(batch, controls, scores)

    def route(self, batch: ScoredBatch) -> Outbox:
        """Decisions, vectors, dead letters and changelog: everything this batch writes."""
        featurized, controls = batch.featurized, batch.controls
        decided_at = rfc3339(_now())
        answered = iter(_verdicts(batch))
        outputs: list[Output] = []
        decisions: Counter[tuple[str, str, str]] = Counter()
        for case in featurized.matched.cases:
            verdict = Verdict(case.reason) if case.response is None else next(answered)
            output, route, reason = encode_decision(case, verdict, controls, decided_at=decided_at)
            outputs.append(output)
            decisions[route, reason.value, case.policy] += 1
        outputs.extend(_vector_outputs(featurized))
        dead = featurized.matched.dead
        outputs.extend(dead_letter(one, self._topic_names) for one in dead)
        codes = Counter(one.code.value for one in dead)
        return Outbox(featurized.ticket, outputs, featurized.matched.changes, decisions, codes, batch.problem)


def _verdicts(batch: ScoredBatch) -> list[Verdict]:
    """The verdict of every answered case, in their order."""
    featurized, scores = batch.featurized, batch.scores
    vectors = featurized.vectors
    rows = len(featurized.answered)
    outcomes = vectors.outcomes.tolist()
    confidences = _or_none(vectors.values[:, SCHEMA.names.index("stated_confidence")])
    probabilities: list[float | None] = [None] * rows
    drivers: list[list[dict[str, Any]]] = [[]] * rows
    supported = [True] * rows
    if scores is not None:
        probabilities = _or_none(scores.error_probability)
        drivers = top_drivers(scores, batch.controls.model)
        supported = scores.supported.tolist()
    verdicts = []
    for row in range(rows):
        verdict = Verdict()
        verdict.llm, verdict.confidence = vectors.llms[row], confidences[row]
        if outcomes[row] < 0:
            verdict.reason = Reason.OUTCOME_MISSING
        else:
            verdict.outcome = outcomes[row]
            if outcomes[row] <= 1 and not supported[row]:
                verdict.reason = Reason.PREDICTORS_MISSING
            elif outcomes[row] <= 1:
                verdict.error_probability, verdict.drivers = probabilities[row], drivers[row]
        verdicts.append(verdict)
    return verdicts


def _or_none(column: np.ndarray[Any, np.dtype[np.float32]]) -> list[float | None]:
    """A float32 column as JSON numbers that read back to the same float32; NaN is None."""
    return [None if value != value else value for value in np.round(column.astype(np.float64), 7).tolist()]  # noqa: PLR0124 - NaN


def _vector_outputs(featurized: FeaturizedBatch) -> list[Output]:
    values, llms = featurized.vectors.values, featurized.vectors.llms
    return [
        Output(
            "vectors",
            case.request.key,
            orjson.dumps(
                {
                    "request_id": case.request_id,
                    "schema": SCHEMA.id,
                    "values": values[row],
                    "llm": llms[row],
                    "policy": case.policy,
                },
                option=orjson.OPT_SERIALIZE_NUMPY,
            ),
        )
        for row, case in enumerate(featurized.answered)
    ]


def _now() -> int:
    return int(time.time() * 1000)

"""The stages a batch goes through. Each takes the previous stage's result and returns its own.

The Faust agents in `streams.worker.agents` call these and then the sink, so the whole way of a record can be tested without a
broker. Where predictors or scores of a batch cannot be had, its halves are tried, until the records that fail stand alone:
those go to a human, the others go on. Intake and routing take records one by one.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from typing import TypeVar

from featurizers import OutcomeSpec, Response, SpecBook, Vectors, featurize, featurize_each
from scoring import ErrorModel, ModelError, Scores
from streams.pipeline.assignment import Assignment, Place
from streams.pipeline.budget import Seen, seen
from streams.pipeline.controls import Controls
from streams.pipeline.dead_letters import dead_letter
from streams.pipeline.encoding import DecisionEncoder, VectorEncoder
from streams.pipeline.incidents import Incident, incident
from streams.pipeline.ledger import closed_sides
from streams.pipeline.matching import Arrivals, Case, Matched, Matcher, read_ahead
from streams.pipeline.measures import Measures, measure
from streams.pipeline.reasons import Reason
from streams.pipeline.records import Output, size
from streams.pipeline.routing import Verdict, decide, rfc3339
from streams.pipeline.shadow import ShadowScores, Stamp, decide_shadow, score_shadow
from streams.pipeline.traces import Trace, traces
from streams.pipeline.verdicts import read_verdicts

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a batch carries through every stage: its place in the sequence and what its commit will commit.

    `sequence` has no gaps within a worker. A batch whose `assignment` is over must not be committed. `offsets` maps
    (source, partition) to the next offset to read. Of a batch in which nothing was read, `standing` has an offset that is reached
    already: committed again, it lets the group refuse a worker that has lost its partitions without knowing. One that `is_full` took
    as much as a batch holds, and left records behind.
    """

    sequence: int
    assignment: Assignment
    offsets: Mapping[Place, int]
    polled_at: float
    standing: Mapping[Place, int] = field(default_factory=dict)
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class Polled:
    """Records as they came."""

    ticket: Ticket
    arrivals: Arrivals


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
    """The batch with its scores (None when the model failed or is not there), and the controls that score and route it.

    `shadow` are those of the shadow, where there is one.
    """

    featurized: FeaturizedBatch
    controls: Controls
    scores: Scores | None
    problem: str | None = None
    shadow: ShadowScores | None = None


@dataclass(frozen=True, slots=True)
class Outbox:
    """All that a batch writes, in the order it must become durable when there are no transactions.

    `touched` are the partitions whose store it changed; `deletable` the changelog offsets before which, by partition,
    nothing is needed once it is committed; `old` the records, by source, that came older than the response timeout.
    `unread` counts, by provider, the answers whose log-probabilities are in no known shape; `measures` are what else metrics count; `traces`
    those that its span links to. `shadow` counts the decisions by
    route, what it would have been with the shadow, and policy; `shadow_problem` says why the shadow failed on the batch. `seen` counts
    what review budgets go by.
    """

    ticket: Ticket
    outputs: list[Output]
    changelog: list[Output]
    decisions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    problem: str | None = None
    touched: frozenset[int] = frozenset()
    deletable: Mapping[int, int] = field(default_factory=dict)
    incidents: list[Incident] = field(default_factory=list)
    old: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    shadow: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    shadow_problem: str | None = None
    seen: Counter[Seen] = field(default_factory=Counter)
    measures: Measures | None = field(default=None, compare=False)
    traces: Sequence[Trace] = ()

    @property
    def size(self) -> int:
        """Bytes of all that it writes."""
        return sum(map(size, chain(self.outputs, self.changelog)))


class Pipeline:
    """The stages, with what they need to know.

    `controls` gives the snapshot in force when it is called; `now` the time in ms by the broker's clock. A batch tells of `most_traces`
    of its records' traces at most.
    """

    def __init__(
        self,
        matcher: Matcher,
        specs: OutcomeSpec | SpecBook,
        controls: Callable[[], Controls],
        topic_names: Mapping[str, str],
        now: Callable[[], int],
        most_traces: int = 0,
    ) -> None:
        self._matcher = matcher
        self._specs = specs
        self._controls = controls
        self._topic_names = topic_names
        self._now = now
        self._most_traces = most_traces

    @staticmethod
    def read(batch: Polled) -> Polled:
        """What the native reader can tell of the answers; for a thread beside the other stages'."""
        arrivals = batch.arrivals
        return replace(batch, arrivals=replace(arrivals, answers=read_ahead(arrivals.records)))

    def intake(self, batch: Polled) -> MatchedBatch:
        """Decode what is not read yet, and match; see `streams.pipeline.matching`.

        A batch of an assignment that is over passes through empty: its records will be read again.
        """
        assignment = batch.ticket.assignment
        if assignment.over:
            return MatchedBatch(batch.ticket, Matched())
        matched = self._matcher.match(assignment.stores, batch.arrivals, now=self._now())
        assignment.closed = closed_sides(assignment.stores, self._matcher.limits, assignment.closed)
        return MatchedBatch(batch.ticket, matched)

    def featurize(self, batch: MatchedBatch) -> FeaturizedBatch:
        """The predictors of every case that has an answer."""
        answered = [case for case in batch.matched.cases if case.response is not None]
        vectors, answered = _sifted(answered, self._vectors, batch.matched, "featurize")
        return FeaturizedBatch(batch.ticket, batch.matched, answered, vectors)

    def score(self, batch: FeaturizedBatch) -> ScoredBatch:
        """P(error) of every answer, by the shadow's model too where there is a shadow."""
        scored = self._score(batch, self._controls())
        if scored.controls.shadow is None:
            return scored
        answered = scored.featurized
        policies, languages = _spoken_under(answered.answered)
        return replace(
            scored, shadow=score_shadow(answered.vectors, policies, languages, scored.scores, scored.controls)
        )

    def _score(self, batch: FeaturizedBatch, controls: Controls) -> ScoredBatch:
        """A model that fails costs its batch the automation, not the worker its life."""
        if controls.model is None:
            return ScoredBatch(batch, controls, None)
        try:
            scores = controls.model.score(batch.vectors.values, *_spoken_under(batch.answered))
            return ScoredBatch(batch, controls, scores)
        except ModelError as problem:
            return ScoredBatch(batch, controls, None, str(problem))
        except Exception:  # noqa: BLE001 - whatever it is: it is looked for in halves
            return self._score_sifted(batch, controls, controls.model)

    def _score_sifted(self, batch: FeaturizedBatch, controls: Controls, model: ErrorModel) -> ScoredBatch:
        def work(cases: list[Case]) -> tuple[Vectors, Scores]:
            vectors = self._vectors(cases)
            return vectors, model.score(vectors.values, *_spoken_under(cases))

        (vectors, scores), answered = _sifted(batch.answered, work, batch.matched, "score")
        return ScoredBatch(FeaturizedBatch(batch.ticket, batch.matched, answered, vectors), controls, scores)

    def _vectors(self, cases: list[Case]) -> Vectors:
        answered = [(case, case.response) for case in cases if case.response is not None]
        responses = [response for _, response in answered]
        if isinstance(self._specs, OutcomeSpec):
            return featurize(responses, self._specs)
        return featurize_each(responses, [_chosen(self._specs, case, response) for case, response in answered])

    def route(self, batch: ScoredBatch) -> Outbox:
        """Decisions, vectors, dead letters and changelog: everything this batch writes."""
        featurized = batch.featurized
        matched = featurized.matched
        stamps, shadow_problem = _stamped(batch)
        outbox = Outbox(
            featurized.ticket,
            [],
            matched.changes,
            dead=Counter(one.code.value for one in matched.dead),
            problem=batch.problem,
            touched=matched.touched,
            deletable=matched.deletable,
            incidents=matched.incidents,
            old=matched.old,
            shadow_problem=shadow_problem,
            measures=measure(matched.cases, featurized.answered, featurized.vectors, batch.scores),
            traces=traces(matched.cases, self._most_traces),
        )
        vectors = self._decide(batch, stamps, outbox)
        outbox.outputs.extend((*vectors, *(dead_letter(one, self._topic_names) for one in matched.dead)))
        answers = (case.response for case in matched.cases)
        outbox.unread.update(answer.provider for answer in answers if answer and answer.tokens_unread)
        return outbox

    def _decide(self, batch: ScoredBatch, stamps: Iterable[Stamp | None], outbox: Outbox) -> list[Output]:
        """Decide and count every case in the outbox; returns the vectors of those that are answered."""
        featurized, controls = batch.featurized, batch.controls
        verdicts = enumerate(read_verdicts(featurized.vectors, batch.scores, controls.model))
        decided_at = rfc3339(self._now())
        decision_of, vector_of = DecisionEncoder(controls, decided_at), VectorEncoder(featurized.vectors, decided_at)
        vectors: list[Output] = []
        made: list[tuple[str, str, str]] = []
        for case, stamp in zip(featurized.matched.cases, stamps, strict=False):
            vector = None
            row, verdict = (-1, Verdict(case.reason)) if case.response is None else next(verdicts)
            try:
                decision = decide(case, verdict, controls)
                written = decision_of.encode(case, verdict, decision, stamp)
                if case.response is not None:
                    vector = vector_of.encode(case, row, decision, written.headers)
                if stamp is not None:
                    outbox.shadow[decision.route, stamp["route"], case.policy] += 1
            except Exception as problem:  # noqa: BLE001 - it concerns this case: the others go on
                _set_aside(case, problem, featurized.matched, "route")
                decision = decide(case, Verdict(case.reason), controls)
                written, vector = decision_of.encode(case, Verdict(case.reason), decision), None
            outbox.outputs.append(written)
            if vector is not None:
                vectors.append(vector)
            made.append((decision.route, decision.reason, case.policy))
            if controls.budgets and (one := seen(case, verdict, decision.reason, controls)) is not None:
                outbox.seen[one] += 1
        outbox.decisions.update(made)
        return vectors


def _stamped(batch: ScoredBatch) -> tuple[Iterable[Stamp | None], str | None]:
    """What the shadow says of each case, None where there is none, and why it failed on the batch, if it did."""
    shadow, cases = batch.controls.shadow, batch.featurized.matched.cases
    if shadow is None or batch.shadow is None:
        return repeat(None), None
    return decide_shadow(cases, batch.featurized.vectors, batch.shadow, shadow)


def _chosen(specs: SpecBook, case: Case, response: Response) -> OutcomeSpec:
    headers = [*((case.answer and case.answer.headers) or ()), *(case.request.headers or ())]
    return specs.choose(provider=response.provider, llm=response.llm, policy=case.policy, headers=headers)


def _sifted(cases: list[Case], work: Callable[[list[Case]], _T], matched: Matched, stage: str) -> tuple[_T, list[Case]]:
    """What `work` makes of the cases that it does not fail on, and those; the others are set aside.

    Raises what `work` raises when it fails on cases together that it does not fail on alone: then it is no matter of records.
    """
    try:
        return work(cases), cases
    except Exception:  # noqa: BLE001 - whatever it is: it is looked for in halves
        failed = _culprits(cases, work)
    for case, problem in failed:
        _set_aside(case, problem, matched, stage)
    left = [case for case in cases if case.response is not None]
    return work(left), left


def _culprits(cases: list[Case], work: Callable[[list[Case]], object]) -> list[tuple[Case, Exception]]:
    """The cases that `work` fails on even alone."""
    try:
        work(cases)
    except Exception as problem:  # noqa: BLE001 - as above
        if len(cases) == 1:
            return [(cases[0], problem)]
        middle = len(cases) // 2
        return _culprits(cases[:middle], work) + _culprits(cases[middle:], work) if cases else []
    return []


def _set_aside(case: Case, problem: Exception, matched: Matched, stage: str) -> None:
    """Send a case to a human, and note where what the stage failed on stands: the answer, if there is one."""
    case.response, case.reason = None, Reason.INTERNAL_ERROR
    matched.incidents.append(incident(case.answer or case.request, stage, problem))


def _spoken_under(cases: Sequence[Case]) -> tuple[list[str], list[str | None]]:
    """The policies and the languages of cases."""
    return [case.policy for case in cases], [case.language for case in cases]

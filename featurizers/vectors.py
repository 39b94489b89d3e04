"""Decoded responses -> one float32 array of predictors."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from featurizers.labels import label_masses
from featurizers.locate import Located, locator
from featurizers.objects import Span
from featurizers.ragged import Floats, Ints, Spans
from featurizers.response import Response
from featurizers.schema import LIKELY, SCHEMA, SPANS
from featurizers.spec import NO_SPEC, OutcomeSpec
from featurizers.table import TokenTable, tabulate
from featurizers.tokens import Tokens

T = TypeVar("T")

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Vectors:
    """A batch of n answers.

    `values` is float32 [n, d], columns as in `SCHEMA`, NaN = missing; `outcomes` int8 [n], the code 0..3, or -1 where none
    could be found, in which case `problems` says why; `llms` are the model names and `categories` the LLMs' own words for the violation, where known; `specs` the names
    of the specs that the answers were read by.
    """

    values: NDArray[np.float32]
    outcomes: NDArray[np.int8]
    problems: list[str | None]
    llms: list[str | None]
    categories: list[str | None]
    specs: list[str]


def featurize(responses: Sequence[Response], spec: OutcomeSpec) -> Vectors:
    """Compute every predictor of `SCHEMA` for a batch of n answers. Never raises on decoded responses."""
    located = locate(responses, spec)
    outcomes = np.array([item.outcome for item in located], dtype=np.int8)
    answers = [response.tokens for response in responses]
    table = tabulate(answers)
    spans = {"answer": _answers(table, answers, located)}
    gaps = [(row, tokens.gaps) for row, tokens in enumerate(answers) if tokens.gaps]
    spans |= {span: table.spans(_chars(located, gaps, span)) for span in SPANS}
    columns = {
        **_sequence_columns(table, spans),
        **_label_columns(label_masses(table, answers, located, spans["outcome"], spec)),
        **_outcome_columns(outcomes),
        **_confidence_columns(located),
    }
    values = np.stack([columns[name] for name in SCHEMA.names], axis=1)
    np.clip(values, -_FLOAT32_MAX, _FLOAT32_MAX, out=values)
    return Vectors(
        values=values.astype(np.float32),
        outcomes=outcomes,
        problems=[item.problem for item in located],
        llms=[response.llm for response in responses],
        categories=[item.category for item in located],
        specs=[spec.name] * len(responses),
    )


def locate(responses: Sequence[Response], spec: OutcomeSpec) -> list[Located]:
    """What each answer says. Of several in one body the first counts, where all have its outcome."""
    read = locator(spec).locate
    located = [read(r.text, r.refused, r.truncated) for r in responses]
    for row, response in enumerate(responses):
        if response.others and any(read(*other).outcome != located[row].outcome for other in response.others):
            located[row] = located[row].without_outcome("outcome_ambiguous")
    return located


def featurize_each(responses: Sequence[Response], specs: Sequence[OutcomeSpec]) -> Vectors:
    """As `featurize`, each of the n answers by its own spec."""
    rows: dict[int, list[int]] = {}
    for row, spec in enumerate(specs):  # by identity: hashing a spec costs as much as reading an answer
        rows.setdefault(id(spec), []).append(row)
    if len(rows) <= 1:
        return featurize(responses, specs[0] if specs else NO_SPEC)
    parts = [featurize([responses[row] for row in group], specs[group[0]]) for group in rows.values()]
    order = np.argsort([row for group in rows.values() for row in group])

    def ordered(columns: list[list[T]]) -> list[T]:
        joined = [item for column in columns for item in column]
        return [joined[row] for row in order]

    return Vectors(
        values=np.concatenate([part.values for part in parts])[order],
        outcomes=np.concatenate([part.outcomes for part in parts])[order],
        problems=ordered([part.problems for part in parts]),
        llms=ordered([part.llms for part in parts]),
        categories=ordered([part.categories for part in parts]),
        specs=ordered([part.specs for part in parts]),
    )


def _answers(table: TokenTable, answers: Sequence[Tokens], located: Sequence[Located]) -> Spans:
    """The tokens of each answer, without its reasoning's; none where it is not known which are its own."""
    whole = table.answers
    partly = [
        row
        for row, item in enumerate(located)
        if item.answer_span[0] > 0 or (answers[row].gaps and not answers[row].whole)
    ]
    if not partly:
        return whole
    parts = table.spans(_chars(located, [], "answer"))
    starts, ends = whole.starts.copy(), whole.ends.copy()
    for row in partly:
        known = answers[row].whole and not _touches(answers[row].gaps, located[row].answer_span[:1] * 2)
        starts[row], ends[row] = (parts.starts[row], parts.ends[row]) if known else (0, 0)
    return Spans(starts, ends)


def _chars(located: Sequence[Located], gaps: Sequence[tuple[int, tuple[Span, ...]]], span: str) -> Ints:
    """The characters of one part of each answer; none where a gap in its row's tokens touches it."""
    index = Located._fields.index(f"{span}_span")
    chars = np.fromiter(chain.from_iterable(map(itemgetter(index), located)), np.int64).reshape(-1, 2)
    for row, around in gaps:
        if _touches(around, chars[row].tolist()):
            chars[row] = 0
    return chars


def _touches(gaps: Sequence[Span], span: Sequence[int]) -> bool:
    return any(start < span[1] and end > span[0] for start, end in gaps)


def _sequence_columns(table: TokenTable, spans: dict[str, Spans]) -> dict[str, Floats]:
    """The sequence statistics of the whole answer and of its parts, every part in one reduction."""
    logprob, entropy, margin = table.logprob, table.entropy, table.margin
    unlikely = np.where(np.isnan(logprob), np.nan, np.exp(logprob) < LIKELY)
    everywhere = Spans.concatenate(list(spans.values()))
    shape = (len(spans), -1)
    averages = map(everywhere.mean, (logprob, entropy, margin))
    means, entropies, margins, minima, sums, sizes = (
        dict(zip(spans, statistic.reshape(shape), strict=True))
        for statistic in (*averages, everywhere.min(logprob), everywhere.sum(logprob), everywhere.sizes)
    )
    columns = {}
    for span in spans:
        prefix = "" if span == "answer" else f"{span}_"
        columns[f"{prefix}sequence_logprob_mean"] = means[span]
        columns[f"{prefix}sequence_logprob_min"] = minima[span]
        columns[f"{prefix}sequence_entropy_mean"] = entropies[span]
        columns[f"{prefix}sequence_margin_mean"] = margins[span]
        columns[f"{prefix}token_count"] = sizes[span]
    answers, mean = spans["answer"], columns["sequence_logprob_mean"]
    deviation = logprob - np.repeat(mean, table.answers.ends - table.answers.starts)
    with np.errstate(over="ignore"):  # cut to float32's range later
        perplexity = np.exp(-mean)
    return columns | {
        "sequence_logprob_std": np.sqrt(answers.mean(deviation**2)),
        "sequence_logprob_sum": sums["answer"],
        "sequence_perplexity": perplexity,
        "sequence_entropy_max": answers.max(entropy),
        "sequence_margin_min": answers.min(margin),
        "low_probability_fraction": answers.mean(unlikely),
        "outcome_logprob": sums["outcome"],
        "stated_confidence_logprob": sums["confidence"],
    }


def _label_columns(masses: Floats) -> dict[str, Floats]:
    """The predictors of the label distribution; `masses` is m_j, float64 [n, 4]."""
    coverage = masses.sum(axis=1)
    q = masses / coverage[:, None]
    ranked = np.sort(q, axis=1)
    first, second = ranked[:, -1], ranked[:, -2]
    second_or_missing = np.where(second > 0, second, np.nan)
    surprise = -np.log(np.where(q > 0, q, 1.0))  # a label without mass adds nothing: q ln q -> 0
    return {
        "outcome_max_softmax": first,
        "outcome_entropy": np.maximum((q * surprise).sum(axis=1), 0.0),
        "outcome_margin": first - second,
        "outcome_log_margin": np.log(first) - np.log(second_or_missing),
        "outcome_coverage": np.minimum(coverage, 1.0),
        "q_violation": q[:, 1],
        "q_evidence_deficiency": q[:, 2],
        "q_policy_gap": q[:, 3],
    }


def _outcome_columns(outcomes: NDArray[np.int8]) -> dict[str, Floats]:
    flags = {"outcome_is_violation": 1, "outcome_is_evidence_deficiency": 2, "outcome_is_policy_gap": 3}
    return {name: np.where(outcomes >= 0, outcomes == code, np.nan) for name, code in flags.items()}


def _confidence_columns(located: Sequence[Located]) -> dict[str, Floats]:
    confidence = np.array([item.confidence for item in located], dtype=np.float64)
    return {
        "stated_confidence": confidence,
        "stated_confidence_missing": np.isnan(confidence).astype(np.float64),
    }

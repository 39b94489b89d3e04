"""Decoded responses -> one float32 array of predictors."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from featurizers.labels import label_masses
from featurizers.locate import Located, locate
from featurizers.ragged import Floats, Ints, clean, reduce_spans
from featurizers.response import Response
from featurizers.schema import SCHEMA, SPANS
from featurizers.spec import OutcomeSpec
from featurizers.wire import Token

MIN_ALTERNATIVES = 2  # one alternative alone says nothing about the rest of the distribution
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Vectors:
    """A batch of n answers.

    `values` is float32 [n, d], columns as in `SCHEMA`, NaN = missing; `outcomes` int8 [n], the code 0..3 or -1 where none
    could be found, in which case `problems` says why; `llms` are the model names, where known.
    """

    values: NDArray[np.float32]
    outcomes: NDArray[np.int8]
    problems: list[str | None]
    llms: list[str | None]


@dataclass(frozen=True)
class TokenTable:
    """All tokens of a batch, one behind the other; answer i owns tokens `offsets[i]` to `offsets[i + 1]`.

    `logprob`, `entropy` and `margin` are float64 [t] in nats and probabilities, NaN = missing; `char_end` is where a token
    ends in the concatenated text of the whole batch.
    """

    tokens: list[Token]
    offsets: Ints
    logprob: Floats
    entropy: Floats
    margin: Floats
    char_end: Ints


def featurize(responses: Sequence[Response], spec: OutcomeSpec) -> Vectors:
    """Compute every predictor of `SCHEMA` for a batch of n answers. Never raises on decoded responses."""
    located = [locate(r.text, spec, refused=r.refused, truncated=r.truncated) for r in responses]
    outcomes = np.array([item.outcome for item in located], dtype=np.int8)
    table = _token_table(responses)
    columns: dict[str, Floats] = {}
    columns |= _sequence_columns(table, table.offsets[:-1], table.offsets[1:])
    spans = {span: _token_span(table, located, span) for span in SPANS}
    columns |= _span_columns(table, spans)
    columns |= _outcome_columns(table, outcomes, spans["outcome"], spec)
    columns |= _confidence_columns(table, located, spans["confidence"])
    values = np.stack([columns[name] for name in SCHEMA.names], axis=1)
    np.clip(values, -_FLOAT32_MAX, _FLOAT32_MAX, out=values)
    return Vectors(
        values.astype(np.float32),
        outcomes,
        [item.problem for item in located],
        [response.llm for response in responses],
    )


def _token_table(responses: Sequence[Response]) -> TokenTable:
    tokens = [token for response in responses for token in response.tokens if token.token]
    counts = [sum(1 for token in response.tokens if token.token) for response in responses]
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    alternatives = [token.top_logprobs or () for token in tokens]
    entropy, margin = _distributions(
        clean(np.array([item.logprob for item in chain.from_iterable(alternatives)], dtype=np.float64)),
        np.fromiter(map(len, alternatives), dtype=np.int64, count=len(tokens)),
    )
    return TokenTable(
        tokens,
        offsets.astype(np.int64),
        clean(np.array([token.logprob for token in tokens], dtype=np.float64)),
        entropy,
        margin,
        np.cumsum([len(token.token) for token in tokens], dtype=np.int64),
    )


def _distributions(logprobs: Floats, counts: Ints) -> tuple[Floats, Floats]:
    """Entropy in nats and margin p(1) - p(2) of each token's renormalised alternatives, float64 [t] each."""
    ends = np.cumsum(counts)
    starts = ends - counts
    known = ~np.isnan(logprobs)
    valid = reduce_spans(np.add, known.astype(np.float64), starts, ends, 0.0) >= MIN_ALTERNATIVES
    top = reduce_spans(np.maximum, logprobs, starts, ends, -np.inf)
    shifted = logprobs - np.repeat(np.where(np.isfinite(top), top, 0.0), counts)
    weights = np.exp(shifted)
    total = reduce_spans(np.add, weights, starts, ends, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.log(total) - reduce_spans(np.add, weights * shifted, starts, ends, 0.0) / total
        is_top = shifted == 0.0
        ties = reduce_spans(np.add, is_top.astype(np.float64), starts, ends, 0.0)
        second = reduce_spans(np.maximum, np.where(is_top, np.nan, weights), starts, ends, 0.0)
        margin = np.where(ties > 1, 0.0, (1.0 - second) / total)
    return np.where(valid, np.maximum(entropy, 0.0), np.nan), np.where(valid, margin, np.nan)


def _token_span(table: TokenTable, located: Sequence[Located], span: str) -> tuple[Ints, Ints]:
    """The tokens that overlap a part's characters: [start, end) token indices, int64 [n] each, equal where absent."""
    chars = np.array([getattr(item, f"{span}_span") for item in located], dtype=np.int64).reshape(-1, 2)
    base = np.append(0, table.char_end)[table.offsets[:-1]]
    start = np.searchsorted(table.char_end, base + chars[:, 0], side="right")
    end = np.searchsorted(table.char_end, base + chars[:, 1], side="left") + 1
    absent = (chars[:, 0] == chars[:, 1]) | (end > table.offsets[1:])
    return np.where(absent, 0, start), np.where(absent, 0, end)


def _mean(values: Floats, starts: Ints, ends: Ints) -> Floats:
    total = reduce_spans(np.add, values, starts, ends, 0.0)
    count = reduce_spans(np.add, (~np.isnan(values)).astype(np.float64), starts, ends, 0.0)
    return total / np.where(count == 0, np.nan, count)


def _sum(values: Floats, starts: Ints, ends: Ints) -> Floats:
    """The sum, missing as soon as one value is: a part is no sum of the whole."""
    gaps = reduce_spans(np.add, np.isnan(values).astype(np.float64), starts, ends, 0.0)
    total = reduce_spans(np.add, values, starts, ends, 0.0)
    return np.where((gaps > 0) | (starts >= ends), np.nan, total)


def _extreme(ufunc: np.ufunc, values: Floats, starts: Ints, ends: Ints) -> Floats:
    empty = np.inf if ufunc is np.minimum else -np.inf
    result = reduce_spans(ufunc, values, starts, ends, empty)
    return np.where(np.isinf(result), np.nan, result)


def _sequence_columns(table: TokenTable, starts: Ints, ends: Ints) -> dict[str, Floats]:
    logprob, count = table.logprob, (ends - starts).astype(np.float64)
    mean = _mean(logprob, starts, ends)
    deviation = logprob - np.repeat(mean, ends - starts)
    low = np.where(np.isnan(logprob), np.nan, (np.exp(logprob) < 0.5).astype(np.float64))  # noqa: PLR2004 -- the definition
    with np.errstate(over="ignore"):
        perplexity = np.exp(-mean)
    return {
        "sequence_logprob_mean": mean,
        "sequence_logprob_min": _extreme(np.minimum, logprob, starts, ends),
        "sequence_logprob_std": np.sqrt(_mean(deviation**2, starts, ends)),
        "sequence_logprob_sum": _sum(logprob, starts, ends),
        "sequence_perplexity": perplexity,
        "sequence_entropy_mean": _mean(table.entropy, starts, ends),
        "sequence_entropy_max": _extreme(np.maximum, table.entropy, starts, ends),
        "sequence_margin_mean": _mean(table.margin, starts, ends),
        "sequence_margin_min": _extreme(np.minimum, table.margin, starts, ends),
        "token_count": np.where(count > 0, count, np.nan),
        "low_probability_fraction": _mean(low, starts, ends),
    }


def _span_columns(table: TokenTable, spans: dict[str, tuple[Ints, Ints]]) -> dict[str, Floats]:
    columns = {}
    for span, (starts, ends) in spans.items():
        columns[f"{span}_sequence_logprob_mean"] = _mean(table.logprob, starts, ends)
        columns[f"{span}_sequence_logprob_min"] = _extreme(np.minimum, table.logprob, starts, ends)
        columns[f"{span}_sequence_entropy_mean"] = _mean(table.entropy, starts, ends)
        columns[f"{span}_sequence_margin_mean"] = _mean(table.margin, starts, ends)
        columns[f"{span}_token_count"] = np.where(ends > starts, (ends - starts).astype(np.float64), np.nan)
    return columns


def _outcome_columns(
    table: TokenTable, outcomes: NDArray[np.int8], span: tuple[Ints, Ints], spec: OutcomeSpec
) -> dict[str, Floats]:
    masses = label_masses(table.tokens, *span, spec)
    coverage = masses.sum(axis=1)
    q = masses / np.where(coverage > 0, coverage, np.nan)[:, None]
    ranked = np.sort(q, axis=1)
    first, second = ranked[:, -1], ranked[:, -2]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_margin = np.log(first) - np.log(np.where(second > 0, second, np.nan))
        entropy = -np.where(q > 0, q * np.log(q), q * 0.0).sum(axis=1)
    decided = outcomes >= 0
    flags = {code: np.where(decided, (outcomes == code).astype(np.float64), np.nan) for code in (1, 2, 3)}
    return {
        "outcome_logprob": _sum(table.logprob, *span),
        "outcome_max_softmax": first,
        "outcome_entropy": np.maximum(entropy, 0.0),
        "outcome_margin": first - second,
        "outcome_log_margin": log_margin,
        "outcome_coverage": np.minimum(coverage, 1.0),
        "q_violation": q[:, 1],
        "q_evidence_deficiency": q[:, 2],
        "q_policy_gap": q[:, 3],
        "outcome_is_violation": flags[1],
        "outcome_is_evidence_deficiency": flags[2],
        "outcome_is_policy_gap": flags[3],
    }


def _confidence_columns(table: TokenTable, located: Sequence[Located], span: tuple[Ints, Ints]) -> dict[str, Floats]:
    confidence = np.array([item.confidence for item in located], dtype=np.float64)
    return {
        "stated_confidence": confidence,
        "stated_confidence_logprob": _sum(table.logprob, *span),
        "stated_confidence_missing": np.isnan(confidence).astype(np.float64),
    }

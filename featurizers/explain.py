"""One saved response, explained: its tokens with the parts that were found, and its predictors by name."""

import math
from dataclasses import dataclass

from featurizers.locate import NOWHERE, Located
from featurizers.presets import PRESETS
from featurizers.response import Response, decode
from featurizers.schema import SCHEMA
from featurizers.spec import OutcomeSpec
from featurizers.table import tabulate
from featurizers.vectors import featurize, locate


@dataclass(frozen=True)
class ExplainedToken:
    """A token with its log-probability in nats, None if unknown. `part` is "outcome", "confidence", "rationale" or "".

    `alternatives` are shown for the outcome's tokens only.
    """

    text: str
    logprob: float | None
    part: str
    alternatives: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class Explanation:
    """What the featurizer makes of one response. A predictor's value is None where it is missing, and `missing` says why."""

    response: Response
    spec: OutcomeSpec
    outcome: int
    label: str
    problem: str | None
    tokens: tuple[ExplainedToken, ...]
    values: dict[str, float | None]
    missing: dict[str, str]
    category: str | None


def explain(value: bytes, spec: OutcomeSpec, provider: str | None = None) -> Explanation:
    """Decode and featurize one response, as `decode` and `featurize` do it.

    Raises `ResponseError` as `decode` does.
    """
    response = decode(value, provider)
    (located,) = locate([response], spec)
    vectors = featurize([response], spec)
    start, end = located.outcome_span
    values = {
        name: _none_for_nan(number) for name, number in zip(SCHEMA.names, vectors.values[0].tolist(), strict=True)
    }
    return Explanation(
        response=response,
        spec=spec,
        outcome=located.outcome,
        label=response.text[start:end],
        problem=located.problem,
        tokens=_tokens(response, located),
        values=values,
        missing={name: _why_missing(name, response, located) for name, value in values.items() if value is None},
        category=located.category,
    )


def fitting(value: bytes, provider: str | None = None) -> list[Explanation]:
    """What each preset makes of one response, of those that find an outcome in it. Raises as `explain` does."""
    explained = (explain(value, spec, provider) for spec in PRESETS.values())
    return [one for one in explained if one.outcome >= 0]


def _why_missing(name: str, response: Response, located: Located) -> str:
    part = next((part for part in ("confidence", "rationale") if part in name), None)
    spans = {None: located.outcome_span, "confidence": located.confidence_span, "rationale": located.rationale_span}
    span = spans[part]
    of_label = name.startswith(("outcome", "q_"))
    if of_label and located.outcome < 0:
        return "the answer has no outcome"
    if part is not None and span == NOWHERE:
        return f"the answer has no {part}"
    if response.tokens_unread:
        return "the log-probabilities are in a shape that is not known"
    if not response.tokens.count:
        return "the provider returned no log-probabilities"
    if not response.tokens.whole and not of_label and part is None:
        return "it is not known which tokens are the answer's own"
    if (of_label or part is not None) and any(start < span[1] and end > span[0] for start, end in response.tokens.gaps):
        return "the tokens that carry it could not be placed in the text"
    if of_label and not located.spelled:
        return "the outcome is not one label's own, so no label's distribution is its"
    return "too few log-probabilities are known where it is taken"


def _tokens(response: Response, located: Located) -> tuple[ExplainedToken, ...]:
    confidence = located.confidence_span
    spans = {"rationale": located.rationale_span, "confidence": confidence, "outcome": located.outcome_span}
    explained = []
    tokens, table = response.tokens, tabulate([response.tokens])
    for index, text in enumerate(tokens.texts(0, tokens.count)):
        begin, after = table.char_offsets[index : index + 2].tolist()
        part = next((name for name, (start, end) in spans.items() if begin < end and after > start), "")
        texts = tokens.alternative_texts(index) if part == "outcome" else []
        logprobs = table.alternatives[table.alternative_offsets[index] :][: len(texts)]
        alternatives = tuple(zip(texts, map(_none_for_nan, logprobs.tolist()), strict=True))
        explained.append(ExplainedToken(text, _none_for_nan(float(table.logprob[index])), part, alternatives))
    return tuple(explained)


def _none_for_nan(number: float) -> float | None:
    return None if math.isnan(number) else number

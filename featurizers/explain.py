"""One saved response, explained: its tokens with the parts that were found, and its predictors by name."""

import math
from dataclasses import dataclass

from featurizers.locate import locator
from featurizers.objects import Span
from featurizers.response import Response, decode
from featurizers.schema import SCHEMA
from featurizers.spec import OutcomeSpec
from featurizers.table import tabulate
from featurizers.vectors import featurize


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
    """What the featurizer makes of one response. A predictor's value is None where it is missing."""

    response: Response
    spec: OutcomeSpec
    outcome: int
    label: str
    problem: str | None
    tokens: tuple[ExplainedToken, ...]
    values: dict[str, float | None]


def explain(value: bytes, spec: OutcomeSpec, provider: str | None = None) -> Explanation:
    """Decode and featurize one response, as `decode` and `featurize` do it.

    Raises `ResponseError` as `decode` does.
    """
    response = decode(value, provider)
    located = locator(spec).locate(response.text, response.refused, response.truncated)
    vectors = featurize([response], spec)
    start, end = located.outcome_span
    return Explanation(
        response=response,
        spec=spec,
        outcome=located.outcome,
        label=response.text[start:end],
        problem=located.problem,
        tokens=_tokens(
            response,
            {
                "rationale": located.rationale_span,
                "confidence": located.confidence_span,
                "outcome": located.outcome_span,
            },
        ),
        values={
            name: _none_for_nan(number) for name, number in zip(SCHEMA.names, vectors.values[0].tolist(), strict=True)
        },
    )


def _tokens(response: Response, spans: dict[str, Span]) -> tuple[ExplainedToken, ...]:
    explained = []
    tokens, table = response.tokens, tabulate([response.tokens])
    for index, text in enumerate(tokens.texts):
        begin, after = table.char_offsets[index : index + 2].tolist()
        part = next((name for name, (start, end) in spans.items() if begin < end and after > start), "")
        texts = tokens.alternative_texts(index) if part == "outcome" else []
        logprobs = table.alternatives[table.alternative_offsets[index] :][: len(texts)]
        alternatives = tuple(zip(texts, map(_none_for_nan, logprobs.tolist()), strict=True))
        explained.append(ExplainedToken(text, _none_for_nan(float(table.logprob[index])), part, alternatives))
    return tuple(explained)


def _none_for_nan(number: float) -> float | None:
    return None if math.isnan(number) else number

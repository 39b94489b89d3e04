"""What the LLM said in each case, with the scores of a model: the same reading for what decides and for what only looks on. Pure."""

import numpy as np
from numpy.typing import NDArray

from featurizers import SCHEMA, Vectors
from scoring import ErrorModel, Scores
from streams.pipeline.gate import shortened
from streams.pipeline.reasons import Reason
from streams.pipeline.routing import Verdict, top_drivers


def read_verdicts(vectors: Vectors, scores: Scores | None, model: ErrorModel | None) -> list[Verdict]:
    """The verdict of every answer, in their order."""
    rows = len(vectors.values)
    outcomes = vectors.outcomes.tolist()
    confidences = _or_none(vectors.values[:, SCHEMA.names.index("stated_confidence")])
    probabilities: list[float | None] = [None] * rows
    drivers = [b"[]"] * rows
    supported = [True] * rows
    if scores is not None and model is not None:
        probabilities = _or_none(scores.error_probability)
        drivers = top_drivers(scores, model)
        supported = scores.supported.tolist()
    verdicts = []
    said = zip(
        outcomes, confidences, probabilities, drivers, vectors.llms, vectors.categories, vectors.specs, strict=True
    )
    for row, (outcome, confidence, probability, pushes, llm, category, spec) in enumerate(said):
        verdict = Verdict(None, outcome, confidence, None, b"[]", shortened(llm), shortened(category), spec)
        if outcome < 0:
            verdict.reason, verdict.outcome = Reason.OUTCOME_MISSING, None
        elif outcome <= 1 and model is not None and not supported[row]:
            verdict.reason = Reason.PREDICTORS_MISSING
            verdict.missing = model.lacking(vectors.values[row])
        elif outcome <= 1:
            verdict.error_probability, verdict.drivers = probability, pushes
        verdicts.append(verdict)
    return verdicts


def _or_none(column: NDArray[np.float32]) -> list[float | None]:
    """A float32 column as JSON numbers of seven decimals; NaN is None."""
    return [None if value != value else value for value in np.round(column.astype(np.float64), 7).tolist()]  # noqa: PLR0124 - NaN

"""The shadow: a second model or other thresholds, decided beside what is in force and without effect. Pure.

It goes by the same verdicts and the same routing, under controls of its own. What fails here fails for the shadow alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from featurizers import Vectors
from scoring import Scores
from streams.pipeline.controls import Controls
from streams.pipeline.matching import Case
from streams.pipeline.reasons import Reason
from streams.pipeline.routing import Verdict, decide
from streams.pipeline.verdicts import read_verdicts


@dataclass(frozen=True, slots=True)
class ShadowScores:
    """The scores of the shadow's model for a batch, or why there are none."""

    scores: Scores | None
    problem: str | None = None


class Stamp(TypedDict):
    """What a decision says of the shadow: what would have been decided, had it been in force."""

    model: str | None
    error_probability: float | None
    threshold: float | None
    route: str
    reasons: list[Reason]


def score_shadow(
    vectors: Vectors,
    policies: Sequence[str],
    languages: Sequence[str | None],
    live: Scores | None,
    controls: Controls,
) -> ShadowScores | None:
    """The shadow's scores; None where there is no shadow. `live` serves where it is the same model. Raises nothing."""
    shadow = controls.shadow
    if shadow is None or shadow.model is None:
        return None
    if controls.model is not None and shadow.model.sha256 == controls.model.sha256:
        return ShadowScores(live, None if live is not None else "its model is the live one, which failed")
    try:
        scores = shadow.model.score(vectors.values, policies, languages)
    except Exception as problem:  # noqa: BLE001 - whatever it is, the live decision stands
        return ShadowScores(None, str(problem) or repr(problem))
    return ShadowScores(scores)


def decide_shadow(
    cases: Sequence[Case], vectors: Vectors, scored: ShadowScores, shadow: Controls
) -> tuple[list[Stamp], str | None]:
    """A stamp for each case, and why the shadow failed on the batch, if it did. `vectors` are those of the cases with an answer.

    Raises nothing: where its scores are of no use, it is as where it gave none.
    """
    try:
        return list(_stamps(cases, vectors, scored.scores, shadow)), scored.problem
    except Exception as problem:  # noqa: BLE001 - as above
        return list(_stamps(cases, vectors, None, shadow)), f"its scores cannot be used: {problem!r}"


def _stamps(cases: Sequence[Case], vectors: Vectors, scores: Scores | None, shadow: Controls) -> Iterator[Stamp]:
    verdicts = iter(read_verdicts(vectors, scores and _without_terms(scores), shadow.model))
    for case in cases:
        verdict = Verdict(case.reason) if case.response is None else next(verdicts)
        decision = decide(case, verdict, shadow)
        yield Stamp(
            model=None if shadow.model is None else shadow.model.sha256,
            error_probability=verdict.error_probability,
            threshold=decision.threshold,
            route=decision.route,
            reasons=[decision.reason],
        )


def _without_terms(scores: Scores) -> Scores:
    """Nobody reads what drove the shadow's score, and finding it out takes longer than the rest."""
    rows = len(scores.error_probability)
    return Scores(scores.error_probability, np.zeros((rows, 0), np.float32), scores.supported)

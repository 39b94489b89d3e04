"""The predictors of lpp/1 in plain Python: what one writes first, without numpy or typed decoding.

It serves the benchmark as its contender and the tests as a second opinion: OpenAI-chat bodies, the `lpp` preset, labels of
one token. It computes the same numbers from the same definitions, answer by answer, with no needless work: one pass over
the tokens, one exponential an alternative.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from featurizers import SCHEMA

FIELDS = re.compile(r'"(outcome|confidence|rationale)"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"\',\[\]{}]+))', re.IGNORECASE)
LABELS = {"0": 0, "1": 1, "2": 2, "3": 3}
AROUND = " \t\r\n\"'`:=,.;!?{}[]()<>*_#|/\\-"
NAN = math.nan


def predictors(body: Mapping[str, Any]) -> list[float]:
    """One answer's predictors in the order of `SCHEMA`."""
    choice = body["choices"][0]
    text = choice["message"]["content"]
    tokens = [token for token in choice["logprobs"]["content"] if token["token"]]
    logprobs = [token["logprob"] for token in tokens]
    entropies, margins = [], []
    for token in tokens:
        entropy, margin = spread([item["logprob"] for item in token["top_logprobs"]])
        entropies.append(entropy)
        margins.append(margin)
    values = sequence(logprobs, entropies, margins)
    found = {match[1].lower(): match for match in reversed(list(FIELDS.finditer(text)))}
    spans = {part: overlapping(tokens, found.get(part)) for part in ("outcome", "confidence", "rationale")}
    for part, span in spans.items():
        values |= part_of_sequence(part, logprobs[span], entropies[span], margins[span])
    values |= labels(tokens[spans["outcome"]], found.get("outcome"))
    values |= confidence(found.get("confidence"), logprobs[spans["confidence"]], text, choice["finish_reason"])
    return [values[name] for name in SCHEMA.names]


def spread(logprobs: Sequence[float]) -> tuple[float, float]:
    """Entropy and margin of a token's alternatives, renormalised."""
    logprobs = [logprob for logprob in logprobs if logprob is not None and logprob > -9999]
    if len(logprobs) < 2:
        return NAN, NAN
    total = weighted = first = second = 0.0
    for logprob in logprobs:
        p = math.exp(logprob)
        total += p
        weighted += p * logprob
        if p > first:
            first, second = p, first
        elif p > second:
            second = p
    return max(math.log(total) - weighted / total, 0.0), (first - second) / total


def mean(values: Sequence[float]) -> float:
    """The mean, NaN of nothing."""
    return sum(values) / len(values) if values else NAN


def sequence(logprobs: list[float], entropies: list[float], margins: list[float]) -> dict[str, float]:
    """The whole answer's statistics."""
    average = mean(logprobs)
    return {
        "sequence_logprob_mean": average,
        "sequence_logprob_min": min(logprobs),
        "sequence_logprob_std": math.sqrt(mean([(logprob - average) ** 2 for logprob in logprobs])),
        "sequence_logprob_sum": sum(logprobs),
        "sequence_perplexity": math.exp(-average),
        "sequence_entropy_mean": mean(entropies),
        "sequence_entropy_max": max(entropies),
        "sequence_margin_mean": mean(margins),
        "sequence_margin_min": min(margins),
        "token_count": float(len(logprobs)),
        "low_probability_fraction": mean([logprob < math.log(0.5) for logprob in logprobs]),
    }


def overlapping(tokens: Sequence[Mapping[str, Any]], match: re.Match[str] | None) -> slice:
    """The tokens that overlap the matched value's characters."""
    if match is None:
        return slice(0, 0)
    start, end = match.span(match.lastindex or 0)
    inside, position = [], 0
    for index, token in enumerate(tokens):
        after = position + len(token["token"])
        if position < end and after > start:
            inside.append(index)
        position = after
    return slice(inside[0], inside[-1] + 1)


def part_of_sequence(
    part: str, logprobs: list[float], entropies: list[float], margins: list[float]
) -> dict[str, float]:
    """The statistics of one part of the answer."""
    return {
        f"{part}_sequence_logprob_mean": mean(logprobs),
        f"{part}_sequence_logprob_min": min(logprobs) if logprobs else NAN,
        f"{part}_sequence_entropy_mean": mean(entropies),
        f"{part}_sequence_margin_mean": mean(margins),
        f"{part}_token_count": float(len(logprobs)) if logprobs else NAN,
    }


def labels(tokens: Sequence[Mapping[str, Any]], match: re.Match[str] | None) -> dict[str, float]:
    """The outcome-token, attribution and decision predictors."""
    outcome = -1 if match is None else LABELS.get(match[match.lastindex or 0], -1)
    masses = [0.0] * 4
    for item in tokens[0]["top_logprobs"]:
        code = LABELS.get(item["token"].strip(AROUND))
        if code is not None:
            masses[code] += math.exp(item["logprob"])
    coverage = sum(masses)
    q = [mass / coverage for mass in masses]
    ranked = sorted(q, reverse=True)
    return {
        "outcome_logprob": sum(token["logprob"] for token in tokens),
        "outcome_max_softmax": ranked[0],
        "outcome_entropy": -sum(share * math.log(share) for share in q if share > 0),
        "outcome_margin": ranked[0] - ranked[1],
        "outcome_log_margin": math.log(ranked[0] / ranked[1]) if ranked[1] > 0 else NAN,
        "outcome_coverage": min(coverage, 1.0),
        "q_violation": q[1],
        "q_evidence_deficiency": q[2],
        "q_policy_gap": q[3],
        "outcome_is_violation": float(outcome == 1),
        "outcome_is_evidence_deficiency": float(outcome == 2),
        "outcome_is_policy_gap": float(outcome == 3),
    }


def confidence(
    match: re.Match[str] | None, logprobs: list[float], text: str, finish_reason: str | None
) -> dict[str, float]:
    """The stated confidence's predictors."""
    if match is None or (finish_reason == "length" and match.end() == len(text)):
        return {"stated_confidence": NAN, "stated_confidence_logprob": NAN, "stated_confidence_missing": 1.0}
    stated = float(match[match.lastindex or 0]) / 100
    return {"stated_confidence": stated, "stated_confidence_logprob": sum(logprobs), "stated_confidence_missing": 0.0}

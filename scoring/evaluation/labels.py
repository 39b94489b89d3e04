"""Where the labels of an evaluation come from, what they stand for, and what cannot be known from them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scoring.data.dataset import Dataset
from scoring.data.traffic import Traffic, strata_words
from scoring.evaluation.bootstrap import Bootstrap, mean_of

_SAID = {"one": "one human", "agree": "several who agree", "differ": "several who differ"}
_NOT_COUNTED = {
    "unseen": "Automated verdicts without a chance of an audit, of which nothing is known",
    "chosen": "Labels by appeals or reports, or of what nobody had drawn, which do not count",
    "of_unknown_chance": "Labels that came with a chance that nobody knows",
    "divided": "Answers without a label because humans are divided",
    "untold": "Answers without a label because humans could not tell; figures are of what humans can tell",
}


def largest_weight(test: Dataset, traffic: Traffic | None) -> float:
    """The largest weight that any answer could have had, in the unit of the rows' own; 0 where all are alike."""
    if test.weights is None:
        return 0.0
    least = min(test.chances.min(), 1.0 if traffic is None or traffic.least is None else traffic.least)
    return float(test.weights.max() * test.chances.min() / least)


def draws(part: Dataset, traffic: Traffic | None, replicates: int, seed: int) -> Bootstrap:
    """The bootstrap of labelled answers, by the chances with which they came to be labelled."""
    largest = 1 if traffic is None else traffic.largest
    return Bootstrap(part.groups, replicates, seed, part.weights, largest_weight(part, traffic), largest)


def label_figures(test: Dataset, traffic: Traffic | None) -> dict[str, Any]:
    """The section `labels` of an evaluation, to be estimated; none where every row is labelled and nothing is known of who did it."""
    humans = {kind: np.array([origin.humans == kind for origin in test.origins]) for kind in _SAID}
    if traffic is None and test.weights is None and not any(rows.any() for rows in humans.values()):
        return {}
    weights = np.ones(len(test)) if test.weights is None else test.weights
    strata = Counter(origin.stratum for origin in test.origins)
    return {
        "labels": {
            "weighted": test.weights is not None,
            "largest_weight": float(weights.max()),
            "effective": float(weights.sum() ** 2 / (weights**2).sum()),
            "error_rate": mean_of(test.errors),
            "humans": {
                _SAID[kind]: {"rows": int(rows.sum()), "error_rate": mean_of(test.errors, rows)}
                for kind, rows in humans.items()
                if rows.any()
            },
            "traffic": None if traffic is None else {**traffic.stated(), "unlabelled": traffic.without(strata)},
        }
    }


def label_words(result: Mapping[str, Any]) -> list[str]:
    """What there is to say of them, in sentences; nothing where all is labelled."""
    if "labels" not in result:
        return []
    return list(_sentences(result["labels"]))


def _sentences(labels: Mapping[str, Any]) -> Iterator[str]:
    traffic = labels["traffic"]
    if traffic is not None and traffic["strata"]:
        yield from _of_strata(traffic)
    if labels["weighted"]:
        rate = labels["error_rate"]
        yield (
            f"Each label counts by the inverse of the chance with which it came, at most {labels['largest_weight']:.1f} times the mean, nothing "
            f"clipped: they are as good as {labels['effective']:.0f} labels drawn alike. So counted, the LLM is wrong in {rate['value']:.1%} "
            f"[{rate['low']:.1%}, {rate['high']:.1%}]. Intervals of rates, of costs and of their differences hold for any number of labels; those of "
            "AUROC, AUPRC, AURC and ECE are good for many only. Counts of rows are of labels, each once."
        )
    for kind, one in labels["humans"].items():
        if kind == _SAID["differ"]:
            rate = one["error_rate"]
            yield (
                f"On {one['rows']} verdicts humans differ, and most of them decided; against that the LLM is wrong in {rate['value']:.1%} "
                f"[{rate['low']:.1%}, {rate['high']:.1%}] of these. What humans are divided on is not the LLM's error alone."
            )


def _of_strata(traffic: Mapping[str, Any]) -> Iterator[str]:
    strata = traffic["strata"]
    yield f"Labelled verdicts, training part included: {strata_words(strata)}."
    if set(strata) == {"unknown"}:
        yield (
            "Nobody knows with what chance these labels came. If the model chose what humans saw, no figure here is of the traffic: all are of "
            "what was labelled, which may be much worse or much better."
        )
    for part in traffic["unlabelled"]:
        other = "escalated" if part == "automated" else "automated"
        yield (
            f"No label that judges stands for what is {part}: every figure here is of {other} verdicts alone, and says nothing of the traffic. "
            + ("Set an audit rate (control set-audit-rate) and let time pass." if part == "automated" else "")
        ).rstrip()
    for name, what in _NOT_COUNTED.items():
        if traffic[name]:
            yield f"{what}: {traffic[name]}."

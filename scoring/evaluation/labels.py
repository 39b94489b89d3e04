"""Where the labels of an evaluation come from, what they stand for, and what cannot be known from them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scoring.data.dataset import Dataset
from scoring.data.traffic import Traffic
from scoring.evaluation import metrics
from scoring.evaluation.bootstrap import Figure, Mean

_SAID = {"one": "one human", "agree": "several who agree", "differ": "several who differ"}


def largest_weight(test: Dataset, traffic: Traffic | None) -> float:
    """The largest weight that any answer could have had, in the unit of the rows' own; 0 where all are alike."""
    if test.weights is None:
        return 0.0
    least = min(test.chances.min(), 1.0 if traffic is None or traffic.least is None else traffic.least)
    return float(test.weights.max() * test.chances.min() / least)


def label_figures(test: Dataset, traffic: Traffic | None) -> dict[str, Any]:
    """The section `labels` of an evaluation, to be estimated; none where every row is labelled and nothing is known of who did it."""
    humans = {kind: [origin.humans == kind for origin in test.origins] for kind in _SAID}
    if traffic is None and test.weights is None and not any(map(any, humans.values())):
        return {}
    weights = np.ones(len(test)) if test.weights is None else test.weights
    every = np.ones(len(test), dtype=bool)
    strata = Counter(origin.stratum for origin in test.origins)
    return {
        "labels": {
            "weighted": test.weights is not None,
            "largest_weight": float(weights.max()),
            "effective": float(weights.sum() ** 2 / (weights**2).sum()),
            "error_rate": _rate(test, every),
            "humans": {
                _SAID[kind]: {"rows": sum(rows), "error_rate": _rate(test, np.array(rows))}
                for kind, rows in humans.items()
                if any(rows)
            },
            "traffic": None if traffic is None else {**traffic.stated(), "unlabelled": traffic.without(strata)},
        }
    }


def _rate(test: Dataset, rows: Any) -> Figure:
    errors = test.errors[rows].astype(float)
    return Figure(lambda weights: metrics.weighted_mean(errors, weights[:, rows]), mean=Mean(errors, rows))


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
            f"[{rate['low']:.1%}, {rate['high']:.1%}]. Intervals of rates and costs hold for any number of labels; those of AUROC, AUPRC, "
            "AURC, ECE and of differences are good for many only."
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
    told = ", ".join(f"{one['labelled']} of {one['verdicts']} {name}" for name, one in strata.items())
    yield f"Labelled verdicts, training part included: {told}."
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
    for count, what in (
        (traffic["unseen"], "automated verdicts had no chance of an audit: of them nothing is known"),
        (traffic["chosen"], "labels came by appeals or reports, or are of what nobody had drawn: they do not count"),
        (traffic["of_unknown_chance"], "labels came with a chance that nobody knows"),
        (traffic["divided"], "answers have no label because humans are divided"),
        (traffic["untold"], "answers have no label because humans could not tell: figures are of what humans can tell"),
    ):
        if count:
            yield f"{count} {what}."

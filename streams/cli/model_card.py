"""A model's card, and its comparison with another model, as lines that a reviewer can read."""

from collections.abc import Iterator, Mapping
from typing import Any

from scoring import ACCOUNTINGS
from scoring.data.traffic import strata_words

_RIVALS = ("label-policy-language", "label-and-policy", "mean-logprob", "trust-all")


def card_lines(sha256: str, card: Mapping[str, Any]) -> Iterator[str]:
    """What a card says; of older cards what they have."""
    yield f"{card.get('name', 'unnamed')}  {sha256}"
    yield str(card.get("verdict", "Nothing was judged."))
    if "data" in card:
        yield from _of_data(card["data"])
    if "nested_cv" in card:
        yield from _of_figures(card)
    if "thresholds" in card:
        yield from _of_thresholds(card["thresholds"])
    needed = card.get("inputs", {}).get("never_missing", [])
    yield f"Calibrated: {'yes' if card.get('calibrated') else 'no, no threshold follows from costs'}. An answer goes to a human if it lacks any of {len(needed)} predictors."
    yield "Trained with " + ", ".join(f"{name} {version}" for name, version in card.get("libraries", {}).items()) + "."


def _of_data(data: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"Trained on {data['rows']} labelled answers, {data['decided']} with a verdict, {data['errors']} of these wrong; of {', '.join(data['llms'])}."
    )
    if "error_rate" in data:
        yield f"Of all the answers that these labels stand for, {data['error_rate']:.1%} are wrong."
    policies = ", ".join(f"{policy} {count}" for policy, count in data["rows_per_policy"].items())
    yield f"By policy: {policies}. Data {data['sha256'][:12]}."
    if "until" in data:
        yield f"Decided from {data['since']} to {data['until']}."
    if "labels" in data:
        yield f"Labels: {strata_words(data['labels']['strata'])}."
    if "weights" in data:
        weights = data["weights"]
        yield (
            f"Weighted by the chance of a label: as good as {weights['effective']:.0f} labels drawn alike; the largest weight {weights['largest']:.1f} "
            f"times the mean, {weights['clipped']} clipped at {weights['cap']:.1f}."
        )


def _of_figures(card: Mapping[str, Any]) -> Iterator[str]:
    chosen = card["chosen"]
    yield f"Nested cross-validation, costs in c_mis a verdict at c_rev/c_mis = {chosen['cost_ratio']:g} (chosen by {chosen['accounting']}):"
    for name in (card["name"], *_RIVALS):
        figures = card["nested_cv"].get(name)
        if figures:
            costs = "  ".join(f"{accounting} {_stated(figures['cost'][accounting])}" for accounting in ACCOUNTINGS)
            yield f"  {name:21} AUROC {_stated(figures['auroc'])}  {costs}"


def _of_thresholds(thresholds: Mapping[str, Any]) -> Iterator[str]:
    costs = ", ".join(f"{name} {value:.3f}" for name, value in thresholds["cost"].items())
    yield f"Thresholds by cost: {costs}."


def told(found: Mapping[str, Any], rival: str) -> Iterator[str]:
    """What a comparison with a `rival` came to."""
    yield f"On {found['verdicts']} labelled verdicts, {found['errors']} of them wrong, that neither model was trained on:"
    for name, label in (("candidate", "candidate"), ("in_force", rival)):
        one = found[name]
        yield (
            f"  {label:15} AUROC {_stated(one['auroc'])}  cost {_stated(one['cost'][ACCOUNTINGS[0]])}  escalated "
            f"{one['escalation_rate']['value']:.1%}"
        )
    for accounting in ACCOUNTINGS:
        yield f"  cost, candidate less {rival}, {accounting}: {_stated(found['cost_difference'][accounting], '+.4f')}"
    yield f"  AUROC, candidate less {rival}: {_stated(found['auroc_difference'], '+.3f')}"
    verdicts = {
        "better": "The candidate is better: it costs less, beyond noise.",
        "worse": "The candidate is worse: it costs more, beyond noise.",
        "same": "The two are not told apart: the difference in cost is within noise.",
        "flattered": "The candidate costs less, but its threshold was picked on these very answers, as it is not calibrated: that shows nothing.",
    }
    yield verdicts[found["verdict"]]


def _stated(figure: Mapping[str, Any], form: str = ".3f") -> str:
    value, low, high = (
        "undefined" if (n := figure[key]) is None else format(n, form) for key in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"

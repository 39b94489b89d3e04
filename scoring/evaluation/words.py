"""What the numbers of an evaluation mean, in sentences. Every claim is checked against its interval or p-value."""

from collections.abc import Mapping
from typing import Any

from scoring.evaluation.comparing import simpler, unbeaten
from scoring.evaluation.ruling import HEADLINE
from scoring.thresholds import ACCOUNTINGS

SIGNIFICANT = 0.05
CHANCE = 0.5


def conclusions(result: Mapping[str, Any]) -> list[str]:
    """Sentences for the report, from the evaluation's own numbers."""
    model = result["model"]
    said = [learned(model["auroc"], result["against"], model["name"])]
    for accounting in ACCOUNTINGS:
        single = result["best_single_estimator"][accounting]
        for other, difference in (
            (f"{single}, the best single estimator", model["paired_cost_difference"][accounting]),
            ("label-and-policy", result["against_label_and_policy"][accounting]),
        ):
            name = "label-and-policy" if other == "label-and-policy" else single
            said.append(_cost(accounting, other, difference, result["baselines"][name]["cost"][accounting]["value"]))
    said.append(_calibrated(model["calibrated"], result["calibration"]["ece"]))
    said += _conditions(result["failure_conditions"])
    return said


def learned(auroc: Mapping[str, Any], rivals: Mapping[str, Any], model: str) -> str:
    """Whether anything was learned: `auroc` of the model of this name against chance, and the model against each simple rule."""
    ranked = f"AUROC {auroc['value']:.3f} [{auroc['low']:.3f}, {auroc['high']:.3f}]"
    if auroc["low"] <= CHANCE:
        return f"Nothing was learned: {ranked} is not told apart from chance. Do not automate on this model."
    left = unbeaten(rivals)
    if not left:
        closest = min(rivals, key=lambda name: float(rivals[name]["auroc"]["value"]))
        return (
            "The model is better, in ranking or in cost and in neither worse, than every base rate, single estimator, UQLM score and UCCI: "
            f"{ranked}, {_gain(closest, rivals)}, which comes closest."
        )
    family = simpler(rivals)
    own = model.rpartition("-")[0] == family
    simplest = "It is that rule, calibrated." if own else f"`secondlook train --only {family}` gives the simpler one."
    return f"The model is not shown to be better than {', '.join(left)}: {ranked}, {_gain(left[0], rivals)}. {simplest}"


def _gain(name: str, rivals: Mapping[str, Any]) -> str:
    gain, cost = rivals[name]["auroc"], rivals[name]["cost"][HEADLINE]
    return (
        f"{gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}] and "
        f"{cost['value']:+.3f} [{cost['low']:+.3f}, {cost['high']:+.3f}] c_mis per answer against {name}"
    )


def comparison(result: Mapping[str, Any]) -> str:
    """The comparison with every baseline, as text for a terminal."""
    lines = [
        f"{'':22}{'AUROC':>7}{'AURC':>7}"
        + "".join(f"{f'cost {name}':>22}" for name in ACCOUNTINGS)
        + f"{'escalated':>11}"
    ]
    for name, entry in {result["model"]["name"]: result["model"], **result["baselines"]}.items():
        costs = "".join(f"{entry['cost'][accounting]['value']:>22.4f}" for accounting in ACCOUNTINGS)
        lines.append(
            f"{name:22}{entry['auroc']['value']:>7.3f}{entry['aurc']['value']:>7.3f}{costs}"
            f"{entry['escalation_rate']['value']:>11.1%}"
        )
    return "\n".join(lines)


def _cost(accounting: str, other: str, difference: Mapping[str, float], theirs: float) -> str:
    low, high = difference["low"], difference["high"]
    share = f" ({difference['value'] / theirs:+.0%})" if theirs else ""
    numbers = (
        f"{difference['value']:+.4f}{share} [{low:+.4f}, {high:+.4f}] c_mis per answer, {_p(difference['p_value'])}"
    )
    if difference["p_value"] >= SIGNIFICANT:
        return f"Under {accounting} accounting the difference from {other} is within noise: {numbers}."
    relation = "less" if difference["value"] < 0 else "more"
    return f"Under {accounting} accounting the model costs {relation} than {other}: {numbers}."


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"  # noqa: PLR2004 - the customary finest grade


def _calibrated(calibrated: bool, ece: Mapping[str, float]) -> str:
    numbers = f"ECE {ece['value']:.3f} [{ece['low']:.3f}, {ece['high']:.3f}]"
    if calibrated:
        return f"Calibration on the held-out part: {numbers} (resampling inflates ECE: the interval errs upwards)."
    return f"The model is uncalibrated, its score is no probability ({numbers}); its thresholds were picked on the training part."


def _conditions(conditions: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    said = []
    for condition, words in (("policy_gap", "Policy gap"), ("evidence_deficiency", "Evidence deficiency")):
        shown = [entry for entry in conditions[condition] if entry["excess"]["low"] > 0]
        where = "; ".join(
            f"{entry['dimension']} {entry['value']} (mean probability {entry['mean_probability']['value']:.4f}, "
            f"{entry['excess']['value']:+.4f} against the rest)"
            for entry in shown
        )
        said.append(f"{words} shows in {where}." if shown else f"{words} shows in no slice more than in the others.")
    return said

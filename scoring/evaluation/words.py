"""What the numbers of an evaluation mean, in sentences. Every claim is checked against its interval or p-value."""

from collections.abc import Iterator, Mapping
from typing import Any

from scoring.evaluation.comparing import ahead, simpler, unbeaten
from scoring.evaluation.labels import label_words
from scoring.evaluation.ruling import HEADLINE
from scoring.thresholds import ACCOUNTINGS

CHANCE = 0.5


def stated(figure: Mapping[str, float | None], form: str = "{:.3f}") -> str:
    """A figure, and its interval where it has one."""
    value, low, high = (None if (n := figure[key]) is None else form.format(n) for key in ("value", "low", "high"))
    return (value or "none") if low is None or high is None else f"{value} [{low}, {high}]"


def subject(result: Mapping[str, Any]) -> Iterator[str]:
    """What was judged: which model, on which answers, at which thresholds. Sentences for the head of a report."""
    model, data = result["model"], result["data"]
    weighted = result.get("labels", {}).get("weighted", False)
    span = f", decided from {data['since']} to {data['until']}" if "since" in data else ""
    stands = (
        f"that stands for {data['prevalence']:.1%} of all that they were drawn from"
        if weighted
        else f"{data['prevalence']:.1%}"
    )
    yield f"Model {model['name']}, sha256 {model['sha256']}."
    yield (
        f"Judged on {data['held_out_decided']} held-out verdicts of {', '.join(data['llms'])}{span}: {data['held_out_errors']} wrong ({stands}). "
        f"Data {data['held_out_sha256'][:16]}."
    )
    if data["always_escalated"]:
        told = ", ".join(f"{count} {why}" for why, count in data["always_escalated"].items())
        yield f"Answers without a decision go to humans and are not counted: {told}."
    thresholds = {name: point["threshold"] for name, point in model["at"].items()}
    at = ", ".join(f"{name} {'none' if one is None else format(one, '.3f')}" for name, one in thresholds.items())
    yield (
        f"Escalated from this {'P(error)' if model['calibrated'] else 'score'} on, at c_rev/c_mis = {result['cost_ratio']:g}: {at}. Costs are per verdict in "
        f"units of c_mis; brackets are 95 % intervals ({result['replicates']} draws)."
    )


def conclusions(result: Mapping[str, Any]) -> list[str]:
    """Sentences for the report, from the evaluation's own numbers."""
    model = result["model"]
    said = [learned(model["auroc"], result["against"], model["name"]), *label_words(result)]
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
    left, lost = unbeaten(rivals), ahead(rivals)
    if not left:
        closest = min(rivals, key=lambda name: float(rivals[name]["auroc"]["value"]))
        return (
            "The model is better, in ranking or in cost and in neither worse, than every base rate, single estimator, UQLM score and UCCI: "
            f"{ranked}, {_gain(closest, rivals)}, which comes closest."
        )
    family = simpler(rivals)
    own = model.rpartition("-")[0] == family
    simplest = "It is that rule, calibrated." if own else f"`secondlook train --only {family}` gives the simpler one."
    worse = f"and is worse, in ranking or in cost, than {', '.join(lost)}" if lost else "nor worse than any rule"
    return f"The model is not shown to be better than {', '.join(left)}, {worse}: {ranked}, {_gain(left[0], rivals)}. {simplest}"


def _gain(name: str, rivals: Mapping[str, Any]) -> str:
    gain, cost = rivals[name]["auroc"], rivals[name]["cost"][HEADLINE]
    return (
        f"{gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}] and "
        f"{cost['value']:+.3f} [{cost['low']:+.3f}, {cost['high']:+.3f}] c_mis per answer against {name}"
    )


def comparison(result: Mapping[str, Any]) -> str:
    """What was judged, and the comparison with every baseline, as text for a terminal."""
    lines = [*subject(result), "", _row("", "AUROC", *(f"cost, {name}" for name in ACCOUNTINGS), "escalated")]
    for name, entry in {result["model"]["name"]: result["model"], **result["baselines"]}.items():
        figures = (entry["auroc"], *(entry["cost"][accounting] for accounting in ACCOUNTINGS))
        lines.append(_row(name, *map(stated, figures), f"{entry['escalation_rate']['value']:.1%}"))
    return "\n".join(lines)


def _row(name: str, *cells: str) -> str:
    return f"{name:22}" + "".join(f"{cell:>22}" for cell in cells[:-1]) + f"{cells[-1]:>11}"


def _cost(accounting: str, other: str, difference: Mapping[str, Any], theirs: float) -> str:
    low, high = difference["low"], difference["high"]
    share = f" ({difference['value'] / theirs:+.0%})" if theirs else ""
    p = "" if difference["p_value"] is None else f", {_p(difference['p_value'])}"
    numbers = f"{difference['value']:+.4f}{share} [{low:+.4f}, {high:+.4f}] c_mis per answer{p}"
    if low <= 0 <= high:
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

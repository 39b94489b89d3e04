"""An evaluation as one HTML file: no script, no external asset, made from nothing but the evaluation's JSON.

The page is `templates/report.html`; what is computed for it is here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from scoring.evaluation.words import stated, subject
from scoring.svg import Frame, Line, bars, line_chart, reliability
from scoring.thresholds import ACCOUNTINGS

Result = Mapping[str, Any]

SHOWN_EFFECTS = 15
PERCENT, SIGNED, PLAIN = "{:.1%}", "{:+.3f}", "{:.3f}"
_FINE_UP_TO, _FINE_STEP, _COARSE_STEP = 0.5, 0.1, 0.2


def html_report(result: Result) -> str:
    """The whole page."""
    pages = Environment(
        loader=PackageLoader("scoring.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    pages.filters |= {"stated": _stated, "percent": PERCENT.format}
    return pages.get_template("report.html").render(
        result=result,
        subject=subject(result),
        accountings=ACCOUNTINGS,
        percent=PERCENT,
        signed=SIGNED,
        compared={result["model"]["name"]: result["model"], **result["baselines"]},
        charts=[_risk_coverage(result), _reliability(result), *(_cost_curve(result, name) for name in ACCOUNTINGS)],
        effects=_effects(result["effects"]),
    )


def _stated(interval: Mapping[str, float | None], form: str = PLAIN) -> Markup:
    """A figure, and its interval where it has one."""
    value, low, high = (
        "undefined" if (n := interval[key]) is None else form.format(n) for key in ("value", "low", "high")
    )
    if interval["value"] is None or interval["low"] is None:
        return Markup.escape(value)
    return Markup('{} <span class="ci">[{}, {}]</span>').format(value, low, high)


def _risk_coverage(result: Result) -> Markup:
    curves = result["risk_coverage"]
    styles = {
        "model": "model",
        result["best_single_estimator"][ACCOUNTINGS[0]]: "single",
        "label-and-policy": "rates",
        "oracle": "oracle",
    }
    lines = [
        _line(result, name, style, [(point["coverage"], point["risk"]) for point in curves[name]])
        for name, style in styles.items()
    ]
    top = _top(lines)
    frame = Frame(
        (0, 1),
        (0, top),
        _ticks(1),
        _ticks(top),
        "automated share (coverage)",
        "error rate among automated",
        (True, True),
    )
    return line_chart("Risk and coverage: the least risky verdicts are automated first.", frame, lines)


def _cost_curve(result: Result, accounting: str) -> Markup:
    ratios, curve = result["cost_curve"]["ratios"], result["cost_curve"][accounting]
    styles = {
        "model": "model",
        result["best_single_estimator"][accounting]: "single",
        "label-and-policy": "rates",
        "trust-all": "all",
        "escalate-all": "faint",
        "oracle": "oracle",
    }
    lines = [_line(result, name, style, list(zip(ratios, curve[name], strict=True))) for name, style in styles.items()]
    top = _top(lines)
    x_ticks = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    frame = Frame((ratios[0], ratios[-1]), (0, top), x_ticks, _ticks(top), "c_rev / c_mis", "cost per verdict (c_mis)")
    return line_chart(f"Cost over the paper's range of c_rev/c_mis, {accounting} accounting.", frame, lines)


def _reliability(result: Result) -> Markup:
    bins = [
        (entry["predicted"], entry["observed"]["value"], entry["observed"]["low"], entry["observed"]["high"])
        for entry in result["calibration"]["bins"]
    ]
    frame = Frame(
        (0, 1), (0, 1), _ticks(1), _ticks(1), "predicted P(the LLM is wrong)", "observed error rate", (True, True)
    )
    ece = stated(result["calibration"]["ece"])
    return reliability(f"Reliability in ten bins of equal count; ECE {ece}.", frame, bins)


def _effects(effects: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        (
            entry["predictor"],
            entry["auroc_loss"],
            "flat" if entry["direction"] is None else "up" if entry["direction"] > 0 else "down",
        )
        for entry in effects[:SHOWN_EFFECTS]
    ]
    return bars("Loss of AUROC when the predictor is shuffled on the held-out part.", rows)


def _line(result: Result, name: str, style: str, points: Sequence[tuple[float, Mapping[str, Any]]]) -> Line:
    """A curve under its own name; the model's with its band."""
    band = [(x, y["low"], y["high"]) for x, y in points] if name == "model" else ()
    return Line(result["model"]["name"] if name == "model" else name, style, [(x, y["value"]) for x, y in points], band)


def _top(lines: Sequence[Line]) -> float:
    """The highest value, a band's included, rounded up to a tenth."""
    values = [y for line in lines for _, y in line.points] + [high for line in lines for *_, high in line.band]
    highest = max(y for y in values if y is not None)
    return max(0.1, math.ceil(highest * 10 - 1e-9) / 10)


def _ticks(top: float) -> list[float]:
    step = _COARSE_STEP if top > _FINE_UP_TO else _FINE_STEP
    return [round(step * i, 1) for i in range(int(top / step + 1e-9) + 1)]

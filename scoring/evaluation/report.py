"""An evaluation as one HTML file: no script, no external asset, made from nothing but the evaluation's JSON."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from scoring.evaluation.svg import Frame, Line, bars, line_chart, reliability
from scoring.thresholds import ACCOUNTINGS

Result = Mapping[str, Any]

SHOWN_EFFECTS = 15
_TITLES = {"llm": "LLM"}
_FINE_UP_TO, _FINE_STEP, _COARSE_STEP = 0.5, 0.1, 0.2
CSS = """
:root{--ink:#1d2430;--soft:#5b6472;--rule:#d9dde3;--page:#fff;--panel:#f6f7f9;--model:#0b62a8;--single:#c8500a;--base:#6d7683;--best:#2a8a4a}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaee;--soft:#a3abb8;--rule:#39404b;--page:#14171c;--panel:#1d2128;--model:#62b0f0;--single:#f39a5b;--base:#98a1ae;--best:#6bc98a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:32px 20px 64px;max-width:1180px;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:40px 0 8px}p{max-width:78ch}
.soft{color:var(--soft)}
ul.said{padding-left:20px;max-width:92ch}ul.said li{margin:4px 0}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:20px}
figure{margin:0;padding:14px;background:var(--panel);border-radius:8px}
figcaption{color:var(--soft);font-size:13px;margin-top:6px}
svg{max-width:100%}figure>svg{width:100%;height:auto;display:block}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:13.5px}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600;white-space:normal;vertical-align:bottom}
tr.own td{font-weight:600}td.words{white-space:normal;text-align:left}
.ci{color:var(--soft);font-weight:400;font-size:12px;display:block}
.tick{font-size:12px;fill:var(--soft)}.label{font-size:13px;fill:var(--ink)}
.grid{stroke:var(--rule);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}
.line{fill:none;stroke-width:2;stroke:var(--base)}.line.model{stroke:var(--model);stroke-width:2.5}.line.single{stroke:var(--single)}
.line.rates{stroke:var(--base);stroke-dasharray:6 4}.line.oracle{stroke:var(--best)}.line.faint,.line.all{stroke:var(--soft);stroke-dasharray:2 4;stroke-width:1.5}.line.all{stroke-dasharray:9 3 2 3}
.band{opacity:.16;stroke:none}.band.model{fill:var(--model)}.dot.model{fill:var(--model)}
.bar.up{fill:var(--single)}.bar.down{fill:var(--model)}.bar.flat{fill:var(--base)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px}.key{display:inline-flex;align-items:center;gap:6px}
"""


def html_report(result: Result) -> str:
    """The whole page."""
    model, data = result["model"], result["data"]
    title = f"Second looks: {model['name']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        (
            f'<p class="soft">Model {model["sha256"][:16]} judged on {data["held_out_decided"]} held-out verdicts of '
            f"{escape(', '.join(data['llms']))}; {data['held_out_errors']} ({data['prevalence']:.1%}) are wrong. "
            f"{_always_escalated(data['always_escalated'])} Costs are per verdict in units of c_mis, at c_rev/c_mis = {result['cost_ratio']:g}; "
            f"brackets are 95 % bootstrap intervals ({result['replicates']} draws). They hold for this LLM, this prompt and these labels, "
            "and say nothing of another.</p>"
        ),
        "<h2>What the numbers say</h2>",
        '<ul class="said">' + "".join(f"<li>{escape(sentence)}</li>" for sentence in result["conclusions"]) + "</ul>",
        "<h2>Against every baseline</h2>",
        _comparison(result),
        (
            '<p class="soft">Thresholds, error rates and the best single estimator come from the training part alone. Escalation and accuracy are '
            "at the false-discovery threshold. A lower cost and AURC are better.</p>"
        ),
        "<h2>Charts</h2>",
        '<div class="charts">',
        _risk_coverage(result),
        _reliability(result),
        *(_cost_curve(result, accounting) for accounting in ACCOUNTINGS),
        "</div>",
        "<h2>Predictor effects</h2>",
        _effects(result["effects"]),
        "<h2>Guaranteed risk</h2>",
        _risk_bounds(result["risk_bounds"]),
        "<h2>Slices</h2>",
        *(_slices(dimension, values) for dimension, values in result["slices"].items()),
        "<h2>Where the policy or the evidence fails</h2>",
        _conditions(result["failure_conditions"]),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _comparison(result: Result) -> str:
    rows = []
    entries = {result["model"]["name"]: result["model"], **result["baselines"]}
    for i, (name, entry) in enumerate(entries.items()):
        difference = entry["paired_cost_difference"][ACCOUNTINGS[0]]
        cells = [
            name,
            *(_with_interval(entry[metric]) for metric in ("auroc", "auprc", "aurc")),
            *(_with_interval(entry["cost"][accounting]) for accounting in ACCOUNTINGS),
            _with_interval(entry["escalation_rate"], percent=True),
            _with_interval(entry["automated_accuracy"], percent=True),
            _with_interval(difference, signed=True),
        ]
        rows.append(_row(cells, own=i == 0))
    best = result["best_single_estimator"][ACCOUNTINGS[0]]
    head = [
        "",
        "AUROC",
        "AUPRC",
        "AURC",
        *(f"cost, {accounting}" for accounting in ACCOUNTINGS),
        "escalated",
        "accuracy automated",
        f"cost against {best}",
    ]
    return _table(head, rows)


def _risk_coverage(result: Result) -> str:
    curves = result["risk_coverage"]
    best = result["best_single_estimator"][ACCOUNTINGS[0]]
    chosen = {"model": "model", best: "single", "label-and-policy": "rates", "oracle": "oracle"}
    lines = [
        Line(
            result["model"]["name"] if name == "model" else name,
            style,
            [(point["coverage"], point["risk"]["value"]) for point in curves[name]],
            [(point["coverage"], point["risk"]["low"], point["risk"]["high"]) for point in curves[name]]
            if name == "model"
            else (),
        )
        for name, style in chosen.items()
    ]
    top = _round_up(max(y for line in lines for _, y in line.points if y is not None))
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


def _cost_curve(result: Result, accounting: str) -> str:
    ratios, curve = result["cost_curve"]["ratios"], result["cost_curve"][accounting]
    best = result["best_single_estimator"][accounting]
    chosen = {
        "model": "model",
        best: "single",
        "label-and-policy": "rates",
        "trust-all": "all",
        "escalate-all": "faint",
        "oracle": "oracle",
    }
    lines = [
        Line(
            result["model"]["name"] if name == "model" else name,
            style,
            [(ratio, entry["value"]) for ratio, entry in zip(ratios, curve[name], strict=True)],
            [(ratio, entry["low"], entry["high"]) for ratio, entry in zip(ratios, curve[name], strict=True)]
            if name == "model"
            else (),
        )
        for name, style in chosen.items()
    ]
    top = _round_up(max(y for line in lines for _, y in line.points if y is not None))
    frame = Frame(
        (ratios[0], ratios[-1]),
        (0, top),
        [0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
        _ticks(top),
        "c_rev / c_mis",
        "cost per verdict (c_mis)",
    )
    return line_chart(f"Cost over the paper's range of c_rev/c_mis, {accounting} accounting.", frame, lines)


def _reliability(result: Result) -> str:
    bins = [
        (entry["predicted"], entry["observed"]["value"], entry["observed"]["low"], entry["observed"]["high"])
        for entry in result["calibration"]["bins"]
    ]
    frame = Frame(
        (0, 1), (0, 1), _ticks(1), _ticks(1), "predicted P(the LLM is wrong)", "observed error rate", (True, True)
    )
    ece = _with_interval(result["calibration"]["ece"])
    return reliability(f"Reliability in ten bins of equal count; ECE {ece}.", frame, bins)


def _effects(effects: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            entry["predictor"],
            entry["auroc_loss"],
            "flat" if entry["direction"] is None else "up" if entry["direction"] > 0 else "down",
        )
        for entry in effects[:SHOWN_EFFECTS]
    ]
    chart = bars("Loss of AUROC when the predictor is shuffled on the held-out part.", rows)
    return (
        f'<div class="charts">{chart}</div><p class="soft">Orange: higher values look riskier; blue: safer; grey: no direction. '
        "Predictors that say the same share their effect, so a small bar does not mean a useless predictor.</p>"
    )


def _risk_bounds(bounds: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for bound in bounds:
        target = f"at most {bound['max_risk']:.0%}"
        if "infeasible" in bound:
            rows.append(f'<tr><td>{target}</td><td class="words" colspan="4">{escape(bound["infeasible"])}</td></tr>')
            continue
        threshold = "any" if bound["threshold"] is None else f"{bound['threshold']:.3f}"
        rows.append(
            _row(
                [
                    target,
                    threshold,
                    f"{bound['automated_share']:.1%}",
                    str(bound["errors"]),
                    f"{bound['upper_bound']:.1%}",
                ]
            )
        )
    return (
        f"<p>Error rate among automated verdicts, with {bounds[0]['confidence']:.0%} confidence over the draw of the held-out part, each row "
        "by itself. Valid for traffic like it, and only for one row chosen beforehand.</p>"
        + _table(["target", "threshold", "automated", "errors seen", "certified bound"], rows)
    )


def _slices(dimension: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    if len(values) == 1:
        return f'<p class="soft">{escape(_TITLES.get(dimension, dimension.capitalize()))}: all are {escape(next(iter(values)))}.</p>'
    rows = []
    for value, entry in values.items():
        counts = [value, str(entry["rows"]), str(entry["errors"])]
        if "auroc" not in entry:
            rows.append(_row([*counts, *["too few"] * 6]))
            continue
        rows.append(
            _row(
                [
                    *counts,
                    _with_interval(entry["auroc"]),
                    _with_interval(entry["cost"]),
                    _with_interval(entry["label_and_policy_cost"]),
                    _with_interval(entry["escalation_rate"], percent=True),
                    _with_interval(entry["automated_accuracy"], percent=True),
                    _with_interval(entry["ece"]),
                ]
            )
        )
    head = [
        dimension,
        "rows",
        "wrong",
        "AUROC",
        "cost",
        "cost, label-and-policy",
        "escalated",
        "accuracy automated",
        "ECE",
    ]
    return _table(head, rows)


def _conditions(conditions: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    parts = []
    for condition, entries in conditions.items():
        rows = [
            _row(
                [
                    f"{entry['dimension']}: {entry['value']}",
                    str(entry["rows"]),
                    str(entry["stated"]),
                    _with_interval(entry["mean_probability"]),
                    _with_interval(entry["excess"], signed=True),
                    "yes" if entry["excess"]["low"] > 0 else "no",
                ]
            )
            for entry in entries
        ]
        name = condition.replace("_", " ")
        parts.append(_table([name, "rows", "stated outright", "mean probability", "against the rest", "shown"], rows))
    return "".join(parts)


def _always_escalated(counts: Mapping[str, int]) -> str:
    if not counts:
        return "Every held-out answer carries a decision."
    listed = ", ".join(f"{count} {why}" for why, count in counts.items())
    return f"Answers that carry no decision go to humans and are not counted: {listed}."


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _row(cells: Sequence[str], *, own: bool = False) -> str:
    return f"<tr{' class=own' if own else ''}>" + "".join(f"<td>{_cell(cell)}</td>" for cell in cells) + "</tr>"


def _cell(text: str) -> str:
    value, bracket, rest = text.partition(" [")
    return escape(value) + (f' <span class="ci">[{escape(rest)}</span>' if bracket else "")


def _with_interval(interval: Mapping[str, float | None], *, percent: bool = False, signed: bool = False) -> str:
    def number(value: float | None) -> str:
        if value is None:
            return "undefined"
        return f"{value:.1%}" if percent else f"{value:+.3f}" if signed else f"{value:.3f}"

    if interval["value"] is None or interval["low"] is None:
        return number(interval["value"])
    return f"{number(interval['value'])} [{number(interval['low'])}, {number(interval['high'])}]"


def _round_up(value: float) -> float:
    return max(0.1, math.ceil(value * 10 - 1e-9) / 10)


def _ticks(top: float) -> list[float]:
    step = _COARSE_STEP if top > _FINE_UP_TO else _FINE_STEP
    return [round(step * i, 1) for i in range(int(top / step + 1e-9) + 1)]

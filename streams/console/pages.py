"""The console's pages: HTML made here from a state, every text in it escaped. Pure."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from streams.console import charts
from streams.console.decisions import ROUTES, Asked
from streams.console.desk import THRESHOLD, Proposal, Wanted
from streams.console.item import Item
from streams.console.scores import Point, Spread, at, points
from streams.console.state import Seen, State
from streams.kafka.control_status import MOST_STAGES
from streams.pipeline.reasons import DEAD_LETTERS, REASONS
from streams.pipeline.scope import EVERY, OUTCOMES, by_specificity
from streams.printable import printable

PAGES: Final[Mapping[str, str]] = {
    "": "Now",
    "decisions": "Decisions",
    "threshold": "Threshold",
    "quality": "Quality",
    "controls": "Controls",
    "letters": "Dead letters",
    "workers": "Workers",
}
"""The pages by their path, in the order in which they are offered."""
_SLOT: Final = 5.0
_STEPS: Final = (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2)
_MOST_SHOWN: Final = 12
"""Policies whose charts are drawn."""
_LONGEST: Final = 2_000
_DEEPEST: Final = 5
_MOST_CONTENT: Final = 20_000
"""Characters of a value, lists in lists in it, and characters of a record, that a page shows."""
_UNKNOWN: Final = Markup('<span class="unknown">unknown</span>')


def _number(value: float | None, digits: int = 0) -> str | Markup:
    return _UNKNOWN if value is None else f"{value:,.{digits}f}"


def _rate(value: float | None) -> str | Markup:
    return _UNKNOWN if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"  # noqa: PLR2004 - three digits


def _share(value: float | None, digits: int = 1) -> str | Markup:
    return _UNKNOWN if value is None else f"{value:.{digits}%}"


def _seconds(value: float | None) -> str | Markup:
    """A time as one reads it."""
    if value is None:
        return _UNKNOWN
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value:.0f} s" if value >= 10 or value == 0 else f"{value:.1f} s"  # noqa: PLR2004 - two digits


def _probability(value: float | None) -> str | Markup:
    return Markup('<span class="unknown">none</span>') if value is None else f"{value:.4f}"


def _short(sha256: str | None) -> str | Markup:
    return _UNKNOWN if not sha256 else sha256[:12]


def _clock(moment: str) -> str:
    """The time of day of an RFC 3339 moment, to the millisecond."""
    return moment[11:23] if len(moment) > 23 and moment[10] == "T" else moment  # noqa: PLR2004 - its form


def _address(text: str) -> str:
    """A text in a query, whatever characters it is of."""
    return quote(text, safe="", errors="replace")


def _shown(value: object) -> str:
    """Any value of an item, in one line, as much of it as there is room for."""
    return printable(_in_words(value, _DEEPEST), _LONGEST)


def _in_words(value: object, depth: int) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | dict) and not depth:
        return "…"
    if isinstance(value, list):
        return ", ".join(_in_words(one, depth - 1) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(one, depth - 1)}" for name, one in value.items())
    return value if isinstance(value, str) else json.dumps(value)  # which knows numbers of any length


def _content(text: str) -> str:
    """What was moderated or answered, line by line; of a long one the beginning."""
    more = len(text) - _MOST_CONTENT
    shown = "\n".join(map(printable, text[:_MOST_CONTENT].split("\n")))
    return shown + (f"\n… and {more:,} characters more: secondlook explain ID --content" if more > 0 else "")


_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("streams.console"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_ENVIRONMENT.filters |= {
    "number": _number,
    "rate": _rate,
    "share": _share,
    "seconds": _seconds,
    "probability": _probability,
    "short": _short,
    "clock": _clock,
    "address": _address,
    "shown": _shown,
    "content": _content,
    "printable": printable,
}


def render(name: str, state: State, **more: Any) -> str:
    """A page by its path."""
    return _page(name or "now", state, here=name, **more)


def now(state: State, *, acts: bool = False) -> str:
    """How it stands. `acts`, here and elsewhere: controls can be changed from here."""
    return render("", state, acts=acts, chart=charts.decided(state.slots, _SLOT))


def decisions(state: State, asked: Asked, found: list[Seen], *, acts: bool = False) -> str:
    """The last decisions."""
    reasons = [code.value for code in REASONS]
    return render("decisions", state, acts=acts, asked=asked, found=found, routes=ROUTES, reasons=reasons)


def item(state: State, found: Item | None, request_id: str, problem: str | None = None, *, acts: bool = False) -> str:
    """One item's history; `problem` says why it could not be looked for."""
    return _page("item", state, here="decisions", acts=acts, found=found, request_id=request_id, problem=problem)


def act(
    state: State,
    wanted: Wanted,
    proposal: Proposal | None,
    problem: str | None = None,
    by: str = "",
    reason: str = "",
    *,
    form: bool = True,
) -> str:
    """What a change would do, if that is known, and the form that makes it; `problem` says why it was not made, or cannot be."""
    effects = [] if wanted.action != THRESHOLD or proposal is None else _effects(state, wanted)
    more = {"wanted": wanted, "proposal": proposal, "problem": problem, "by": by, "reason": reason, "effects": effects}
    return _page("act", state, here="controls", acts=True, form=form, **more)


def _effects(state: State, wanted: Wanted) -> list[tuple[str, Point | None, Point | None]]:
    """What another threshold would do to the last answers of each policy that it is for: its name, now, and then."""
    found = []
    for policy, spread in _by_traffic(state):
        if wanted.policy in (EVERY, policy):
            curve, in_force = points(spread, state.costs), threshold_of(state, policy)
            found.append(
                (policy, None if in_force is None else at(curve, in_force), at(curve, float(wanted.threshold)))
            )
    return found[:_MOST_SHOWN]


def _by_traffic(state: State) -> list[tuple[str, Spread]]:
    return sorted(state.spreads.items(), key=lambda one: (-one[1].scored, one[0]))


def threshold(state: State, *, acts: bool = False) -> str:
    """The spread of P(error) by policy, and what its threshold does."""
    shown = []
    for policy, spread in _by_traffic(state)[:_MOST_SHOWN]:
        in_force = threshold_of(state, policy)
        curve = points(spread, state.costs)
        shown.append(
            {
                "policy": policy,
                "spread": spread,
                "threshold": in_force,
                "histogram": charts.histogram(spread, in_force, policy) if spread.scored else None,
                "costs": charts.costs(curve, in_force) if curve else None,
                "moves": moves(curve, in_force),
            }
        )
    return render("threshold", state, acts=acts, policies=shown, more=max(0, len(state.spreads) - _MOST_SHOWN))


def threshold_of(state: State, policy: str) -> float | None:
    """The threshold in force of a whole policy; None where it is not known, or there are several.

    Tenants and outcomes may have others; then none is said to be the policy's.
    """
    if state.controls is None:
        return None
    thresholds = state.controls.in_force["thresholds"]
    by_scope = {(one["policy"], one["tenant"], one["outcome"]): one for one in thresholds.values()}
    narrower = any(name[0] in (policy, EVERY) and name[1:] != (EVERY, EVERY) for name in by_scope)
    one = next((by_scope[scope] for scope in by_specificity(policy, EVERY, EVERY) if scope in by_scope), None)
    if one is None or narrower:
        return None
    given = {worker["settings_threshold"] for worker in state.controls.in_force["workers"].values()}
    value = one["value"] if one["value"] is not None else given.pop() if len(given) == 1 else None
    return None if value is None else float(value)


def moves(curve: list[Point], in_force: float | None) -> list[tuple[float, Point]]:
    """What thresholds around the one in force would do, by how far they are from it."""
    if in_force is None:
        return []
    found = {}
    for step in _STEPS:
        point = at(curve, min(1.0, max(0.0, in_force + step)))
        if point is not None:
            found[point.threshold] = (point.threshold - in_force, point)
    return list(found.values())


def quality(state: State, *, acts: bool = False) -> str:
    """What humans say."""
    shown = [
        {
            "figures": one,
            "chart": charts.calibration(one.reliability, f"{one.policy}, {one.llm or 'an unnamed LLM'}")
            if one.reliability
            else None,
        }
        for one in state.quality
    ]
    alerts: dict[tuple[str, str, str], list[str]] = {}
    for alert in state.alerts:
        alerts.setdefault((alert.kind, alert.policy, alert.llm), []).append(alert.about)
    return render("quality", state, acts=acts, shown=shown, alerts=alerts)


def controls(state: State, *, acts: bool = False, written: int | None = None) -> str:
    """What is in force, how it came to be; `written` is the version that was written a moment ago."""
    return render("controls", state, acts=acts, written=written)


def letters(state: State, *, acts: bool = False) -> str:
    """What was set aside."""
    return render("letters", state, acts=acts, meanings={code.value: text for code, text in DEAD_LETTERS.items()})


def workers(state: State, *, acts: bool = False) -> str:
    """Who works on what."""
    stages = dict.fromkeys(stage for one in state.workers for stage in one.busy or ())
    return render("workers", state, acts=acts, stages=list(stages)[:MOST_STAGES])


def _page(template: str, state: State, **more: Any) -> str:
    return _ENVIRONMENT.get_template(f"{template}.html").render(
        state=state, pages=PAGES, every=EVERY, outcomes=OUTCOMES, **more
    )

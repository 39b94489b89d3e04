"""The Grafana board, from the table of metrics: what stands in `docs.panels`, and a panel of its own for each metric that stands in none.

What is asked of a metric follows from its kind and labels, unless a panel says another expression.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.worker.metrics import Described, described

RATE: Final = "$__rate_interval"
_SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
_WIDTH, _HEIGHT, _ACROSS = 8, 8, 24
_ADDS_UP: Final = ("_records", "_bytes", "_ids", "_kept", "_paused")
"""How gauges end of which workers have a part each; of others the highest is shown."""
_UNITS: Final = {
    "_seconds": "s",
    "_bytes": "bytes",
    "_share": "percentunit",
    "_rate": "percentunit",
    "_records": "short",
}


@dataclass(frozen=True, slots=True)
class Line:
    """An expression of PromQL, and what is written beside its lines."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """What is looked at together: lines, or names of metrics. `about` and `unit` are those of the first metric unless given."""

    title: str
    lines: Sequence[Line | str]
    about: str = ""
    unit: str = ""
    most: float | None = None
    least: float | None = 0
    stacked: bool = False
    table: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the board."""

    title: str
    panels: Sequence[Panel]


def quantiles(metric: str, *shares: float, where: str = "", by: str = "") -> list[Line]:
    """Quantiles of a histogram, of the series that `where` says, by a label if one is given."""
    asked = f"sum by ({', '.join(filter(None, ('le', by)))}) (rate({metric}_bucket{where}[{RATE}]))"
    legend = f"{{{{{by}}}}} " if by else ""
    return [Line(f"histogram_quantile({share:g}, {asked})", f"{legend}p{share * 100:g}") for share in shares]


def share(metric: str, part: str, whole: str = "", *, by: str = "", over: str = RATE) -> Line:
    """The share that some series of a counter (`part`) have in others (`whole`), by a label if one is given."""
    summed = f"sum by ({by}) " if by else "sum"
    asked = (f"{summed}(rate({metric}{where}[{over}]))" for where in (part, whole))
    return Line(" / ".join(asked), f"{{{{{by}}}}}" if by else "all")


def increase(metric: str, by: str = "instance", over: str = "5m") -> Line:
    """How much a counter grew lately: of what is rare."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    said = "" if by != "instance" else f" {_words(metric).lower()}"
    return Line(f"sum by ({by}) (increase({metric}[{over}]))", legend + said)


def board(rows: Sequence[Row]) -> str:
    """The board as JSON, to be provisioned."""
    metrics = {one.name: one for one in described()}
    shown = set(re.findall(r"secondlook_\w+", " ".join(_exprs(rows, metrics))))
    others = [one for one in metrics.values() if not {one.name, f"{one.name}_bucket"} & shown]
    rest = Row("What else is counted", [Panel(_words(one.name), [one.name]) for one in others])
    document = {
        "uid": "secondlook",
        "title": "secondlook",
        "tags": ["secondlook"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": list(_laid_out([*rows, *([rest] if others else [])], metrics)),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _exprs(rows: Iterable[Row], metrics: dict[str, Described]) -> Iterator[str]:
    return (line.expr for row in rows for panel in row.panels for line in _lines(panel, metrics))


def _laid_out(rows: Iterable[Row], metrics: dict[str, Described]) -> Iterator[dict[str, Any]]:
    """Rows and panels from above to below, each with a place of its own."""
    number, top = 0, 0
    for row in rows:
        number += 1
        place = {"h": 1, "w": _ACROSS, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        top += 1
        left = 0
        for panel in row.panels:
            width = 2 * _WIDTH if panel.table else _WIDTH
            if left + width > _ACROSS:
                left, top = 0, top + _HEIGHT
            number += 1
            yield _panel(number, panel, metrics, {"h": _HEIGHT, "w": width, "x": left, "y": top})
            left += width
        top += _HEIGHT


def _panel(number: int, panel: Panel, metrics: dict[str, Described], place: dict[str, int]) -> dict[str, Any]:
    first = next((metrics[one] for one in panel.lines if isinstance(one, str)), None)
    lines = _lines(panel, metrics)
    defaults: dict[str, Any] = {"unit": panel.unit or _unit(first)}
    defaults |= {name: bound for name, bound in (("min", panel.least), ("max", panel.most)) if bound is not None}
    if panel.stacked:
        defaults["custom"] = {"stacking": {"mode": "normal"}, "fillOpacity": 30}
    return {
        "id": number,
        "type": "table" if panel.table else "timeseries",
        "title": panel.title,
        "description": panel.about or _first_of(lines, metrics).about,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [_target(chr(ord("A") + at), line, table=panel.table) for at, line in enumerate(lines)],
    }


def _first_of(lines: Sequence[Line], metrics: dict[str, Described]) -> Described:
    """The metric that the first line asks for."""
    (name,) = re.findall(r"secondlook_\w+", lines[0].expr)[:1]
    return metrics[name if name in metrics else name.removesuffix("_bucket")]


def _target(letter: str, line: Line, *, table: bool) -> dict[str, Any]:
    target = {"refId": letter, "datasource": _SOURCE, "expr": line.expr, "legendFormat": line.legend}
    return target | ({"format": "table", "instant": True} if table else {})


def _lines(panel: Panel, metrics: dict[str, Described]) -> list[Line]:
    alone = len(panel.lines) == 1
    found: list[Line] = []
    for one in panel.lines:
        if isinstance(one, Line):
            found.append(one)
        else:
            said = "" if alone else " " + _words(one).lower()
            found += [Line(line.expr, (line.legend + said).strip()) for line in _asked(metrics[one])]
    return found


def _asked(metric: Described) -> list[Line]:
    """What is asked of a metric of its kind."""
    name, labels = metric.name, ", ".join(metric.labels)
    legend = " ".join(f"{{{{{label}}}}}" for label in metric.labels)
    if metric.type == "histogram":
        return quantiles(name, 0.5, 0.95, 0.99, by=labels)
    if metric.type == "counter":
        return [Line(f"sum by ({labels or 'instance'}) (rate({name}[{RATE}]))", legend or "{{instance}}")]
    if not labels:
        return [Line(name, "{{instance}}")]
    how = "sum" if name.endswith(_ADDS_UP) else "max"
    return [Line(f"{how} by ({labels}) ({name})", legend)]


def _unit(metric: Described | None) -> str:
    if metric is None:
        return "none"
    if metric.type == "counter":
        return "ops"
    return next((unit for ending, unit in _UNITS.items() if metric.name.endswith(ending)), "none")


def _words(name: str) -> str:
    words = name.removeprefix("secondlook_").removesuffix("_total").replace("_", " ")
    return words[0].upper() + words[1:]

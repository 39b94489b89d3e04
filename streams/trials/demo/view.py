"""What the demo shows: live progress, and the closing tables. Pure: figures in, rich renderables out."""

from collections import Counter, defaultdict
from typing import Any

from rich.console import Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streams.trials.demo.books import Books


def progress(books: Books, seconds: float, *, swapped: bool) -> Panel:
    """The live picture."""
    total, decided = len(books.script.items), len(books.decisions)
    latencies = sorted(books.latencies[-200:])
    table = Table.grid(padding=(0, 2))
    table.add_row("decided", f"{decided} of {total}", ProgressBar(total, decided, width=30))
    table.add_row("rate", f"{decided / max(seconds, 0.1):.0f}/s", "")
    routes = [one["route"] for one in list(books.decisions.values())]
    table.add_row("auto-action", str(routes.count("auto-action")), "")
    table.add_row("human-review", str(routes.count("human-review")), "")
    latest = next((one["threshold"] for one in reversed(list(books.decisions.values())) if one["threshold"]), None)
    note = "swapped by a control message" if swapped else "from the costs"
    table.add_row("threshold", "-" if latest is None else f"{latest:.3f}", note)
    for label, swap in (("escalated before", False), ("escalated after", True)):
        share = books.escalation(swapped=swap)
        table.add_row(label, "-" if share is None else f"{share:.0%}", "")
    if latencies:
        p50, p99 = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
        table.add_row("latency", f"p50 {p50 * 1000:.0f} ms", f"p99 {p99 * 1000:.0f} ms")
    return Panel(table, title="secondlook demo", expand=False)


def result(figures: dict[str, Any]) -> Group:
    """The closing tables."""
    return Group(_summary(figures), _reasons(figures), _faults(figures))


def _summary(figures: dict[str, Any]) -> Table:
    table = Table(title="Result", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("requests", str(figures["requests"]))
    table.add_row("decisions", str(figures["decisions"]))
    for name in ("lost", "duplicated"):
        table.add_row(name, Text(str(figures[name]), style="bold green" if figures[name] == 0 else "bold red"))
    table.add_section()
    table.add_row("accuracy of the LLM alone", _percent(figures["llm_accuracy"]))
    table.add_row("accuracy of what was automated", _percent(figures["automated_accuracy"]))
    cost = figures["cost"]
    table.add_row(f"cost ({cost['unit']})", f"{cost['secondlook']:.2f}")
    table.add_row("  had every verdict been trusted", f"{cost['trust_all']:.2f}")
    table.add_row("  had every verdict been reviewed", f"{cost['escalate_all']:.2f}")
    table.add_section()
    before, after = figures["threshold_before"], figures["threshold_after"]
    table.add_row("threshold before -> after the control message", f"{_number(before)} -> {_number(after)}")
    table.add_row(
        "escalated before -> after",
        f"{_percent(figures['escalation_before'])} -> {_percent(figures['escalation_after'])}",
    )
    table.add_row("  the same items under the old threshold", _percent(figures["escalation_after_without_swap"]))
    latency = figures["latency_ms"]
    table.add_row("latency p50 / p99", f"{_number(latency['p50'], 1)} / {_number(latency['p99'], 1)} ms")
    return table


def _reasons(figures: dict[str, Any]) -> Table:
    table = Table(title="Decisions by reason", title_justify="left")
    table.add_column("route: reason")
    table.add_column("decisions", justify="right")
    for reason, count in figures["reasons"].items():
        table.add_row(reason, str(count))
    return table


def _faults(figures: dict[str, Any]) -> Table:
    table = Table(title="What happened to every malformed or missing record", title_justify="left")
    for column in ("fault", "decision of the request", "dead letter"):
        table.add_column(column)
    decisions: dict[str, Counter[str]] = defaultdict(Counter)
    dead: dict[str, Counter[str]] = defaultdict(Counter)
    for row in figures["faults"]:
        decisions[row["fault"]][row["decision"]] += 1
        dead[row["fault"]].update(row["dead_letters"])
    for fault, ends in decisions.items():
        table.add_row(fault, _counted(ends), _counted(dead[fault]) or "-")
    return table


def _counted(ends: Counter[str]) -> str:
    return "\n".join(f"{count} x {end}" for end, count in sorted(ends.items()))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

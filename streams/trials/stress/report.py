"""What a stress run came to: figures, breaches of the guarantee, and tables. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from streams.trials.stress.books import Findings
    from streams.trials.stress.chaos import Damage
    from streams.trials.stress.run import Options


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands."""

    seconds: float
    requests: int
    sent: int
    decided: int
    duplicated: int
    dead: int


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run; `seconds` from the first record sent to the last outcome read."""

    options: Options
    findings: Findings
    damage: Damage
    seconds: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may come to before it counts as failed; None: any. `recovery` is in s, `p99` in ms."""

    duplicated: int | None = 0
    recovery: float | None = None
    p99: float | None = None
    throughput: float | None = None


def figures(result: Result, *, delivery: str) -> dict[str, Any]:
    """The result as `--json` writes it: the findings and the damage, and what is computed from them."""
    found, damage = asdict(result.findings), asdict(result.damage)
    latencies = found.pop("latencies") * 1000
    dead = {name: found.pop(f"dead_{name}") for name in ("expected", "seen", "missing", "unexpected")}
    return {
        "delivery": delivery,
        **found,
        "throughput": round(found["throughput"], 1),
        "latency_ms": percentiles(latencies, digits=1),
        "dead_letters": dead,
        "recovery_seconds": percentiles(damage.pop("recoveries"), digits=2),
        **damage,
        "seconds": round(result.seconds, 1),
        "options": asdict(result.options),
    }


def percentiles(values: Sequence[float] | npt.NDArray[np.float64], *, digits: int) -> dict[str, float | None]:
    """p50, p95, p99 and max; None where there are no values."""
    names = ("p50", "p95", "p99", "max")
    if len(values) == 0:
        return dict.fromkeys(names)
    return {
        name: round(float(value), digits)
        for name, value in zip(names, np.percentile(values, [50, 95, 99, 100]), strict=True)
    }


def breaches(result: dict[str, Any], limits: Limits) -> list[str]:
    """What went beyond the limits, one sentence each; empty when the run passed."""
    exactly_once = result["delivery"] == "exactly_once"
    told = [
        f"{result[name]} {text}"
        for name, text in (
            ("lost", "requests were never decided"),
            ("wrong_reason", "requests were decided for a wrong reason"),
            ("damaged", "records are not what was sent"),
            ("unknown", "records belong to no request"),
            ("ended_by_themselves", "workers ended by themselves"),
        )
        if result[name]
    ]
    if limits.duplicated is not None and result["duplicated"] > limits.duplicated:
        told.append(f"{result['duplicated']} decisions came again ({limits.duplicated} allowed)")
    foreign = result["foreign"]
    if missed := foreign["standing"] - foreign["passed_by"]:
        told.append(f"{missed} foreign records in the changelog were not passed by")
    if foreign["own_passed_by"]:
        told.append(f"{foreign['own_passed_by']} of the changelog's own records were passed by")
    dead = result["dead_letters"]
    if dead["missing"]:
        told.append(f"dead letters never came: {dead['missing']}")
    # At least once, a batch that is read again finds its own requests decided and sets them aside as duplicates.
    if exactly_once and dead["unexpected"]:
        told.append(f"dead letters came that should not: {dead['unexpected']}")
    for value, limit, text in (
        (result["recovery_seconds"]["max"], limits.recovery, "s was the longest recovery"),
        (result["latency_ms"]["p99"], limits.p99, "ms was the p99 latency"),
    ):
        if limit is not None and value is not None and value > limit:
            told.append(f"{value:g} {text} ({limit:g} allowed)")
    if limits.throughput is not None and result["throughput"] < limits.throughput:
        told.append(f"{result['throughput']:g} requests/s were decided ({limits.throughput:g} wanted)")
    return told


def progress_panel(progress: Progress, damage: Damage) -> Panel:
    """The live picture."""
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "sent", f"{progress.sent} of {progress.requests}", ProgressBar(progress.requests, progress.sent, width=30)
    )
    rate = f"{progress.decided / max(progress.seconds, 0.1):.0f}/s"
    table.add_row("decided", f"{progress.decided}  {rate}", ProgressBar(progress.requests, progress.decided, width=30))
    table.add_row("decided again", str(progress.duplicated), f"dead letters {progress.dead}")
    table.add_row(
        "kills, rebalances", f"{damage.kills}, {damage.rebalances}", f"broker restarts {damage.broker_restarts}"
    )
    table.add_row("ended by themselves", str(damage.ended_by_themselves), "")
    return Panel(table, title="secondlook stress", expand=False)


def closing_tables(result: dict[str, Any], broken: list[str]) -> Group:
    """The closing picture."""
    return Group(_summary(result), _ends(result), *_texts(result, broken))


def _summary(result: dict[str, Any]) -> Table:
    table = Table(title=f"Result ({result['delivery'].replace('_', ' ')})", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    for name in ("expected", "decided"):
        table.add_row(name, str(result[name]))
    for name in ("lost", "duplicated", "wrong_reason", "damaged", "unknown"):
        table.add_row(
            name.replace("_", " "), Text(str(result[name]), style="bold red" if result[name] else "bold green")
        )
    table.add_section()
    for name in ("kills", "rebalances", "broker_restarts", "ended_by_themselves", "unclean_stops"):
        table.add_row(name.replace("_", " "), str(result[name]))
    table.add_section()
    table.add_row("throughput", f"{result['throughput']:.0f} requests/s")
    table.add_row("whole run, timeouts included", f"{result['seconds']:.0f} s")
    for name, unit in (("recovery_seconds", "s"), ("latency_ms", "ms")):
        values = result[name]
        text = "-" if values["p50"] is None else " / ".join(f"{values[one]:g}" for one in ("p50", "p95", "p99", "max"))
        table.add_row(f"{name.split('_')[0]} p50 / p95 / p99 / max", f"{text} {unit}")
    return table


def _ends(result: dict[str, Any]) -> Table:
    table = Table(title="Where the records ended", title_justify="left")
    for column in ("decided", "count"):
        table.add_column(column, justify="left" if column == "decided" else "right")
    for reason, count in result["reasons"].items():
        table.add_row(reason, str(count))
    table.add_section()
    dead = result["dead_letters"]
    for code in sorted({*dead["expected"], *dead["seen"]}):
        table.add_row(
            f"dead letter {code} (of {dead['expected'].get(code, 0)} expected)", str(dead["seen"].get(code, 0))
        )
    if result["stored_apart"]:
        table.add_row("timed out rightly: an outage of the broker kept the answer away", str(result["stored_apart"]))
    if result["never_stored"]:
        table.add_row("not answered: the answer is not in Kafka", str(result["never_stored"]))
    if sent := result["foreign"]["sent"]:
        standing = result["foreign"]["standing"]
        table.add_row(
            f"passed by in the changelog (of {standing} standing, {sent} sent)", str(result["foreign"]["passed_by"])
        )
    return table


def _texts(result: dict[str, Any], broken: list[str]) -> list[Text]:
    words = [Text(text, style="yellow") for text in result["last_words"]]
    if not broken:
        return [*words, Text("Passed: the books balance.", style="bold green")]
    return [
        *words,
        *(Text(text) for text in result["examples"]),
        *(Text(f"FAILED: {text}", style="bold red") for text in broken),
    ]

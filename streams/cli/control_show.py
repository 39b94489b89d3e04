"""What the control log says and what the workers make of it, to read."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.cli.printable import printable
from streams.errors import ControlError
from streams.kafka.control_history import History, read_history
from streams.kafka.fleet import LISTEN, Fleet, is_split
from streams.pipeline.control_content import EVERY_POLICY, Content, Threshold
from streams.pipeline.control_log import Taken
from streams.pipeline.control_messages import Snapshot, encode_control
from streams.pipeline.routing import rfc3339
from streams.settings import Settings

_MANY = 10_000
"""Messages that are a second's reading where they are signed."""
_FOR_THE_RECORD = frozenset({"type", "issued_by", "reason", "expected_version", "expires_at", "issued_at", "version"})


def show_in_force(settings: Settings, *, as_json: bool) -> None:
    """Print what is in force and how each worker stands to it."""
    with Fleet(settings) as fleet:
        history = read_history(settings)
        if not fleet.live:
            fleet.listen(LISTEN, lambda: bool(fleet.live))
        document = in_force(history, fleet)
    if as_json:
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        console = Console()
        render_controls(document, console)
        render_workers(document, console)


def in_force(history: History, fleet: Fleet) -> dict[str, Any]:
    """All that `show` says, as JSON: the log's content with who set what, and each worker."""
    log = history.log
    content = log.content
    live = fleet.live
    standing = fleet.standing(log.position, log.version)
    return {
        "version": log.version,
        "hash": content.hash,
        "last": _record(history.taken[log.version - 1]) if log.version else None,
        "whole": log.is_whole,
        "messages": len(history.taken),
        "refused": sum(one.refusal is not None for one in history.taken.values()),
        "model": None if content.model is None else {"sha256": content.model, **_origin(history, content.model_since)},
        "thresholds": {policy: _threshold(one, history) for policy, one in sorted(content.thresholds.items())},
        "audit_rates": {
            policy: {"rate": one.rate, **_origin(history, one.since)}
            for policy, one in sorted(content.audit_rates.items())
        },
        "stops": {policy: _origin(history, since) for policy, since in sorted(content.stops.items())},
        "workers": {
            name: {
                "in_force": name in standing.in_force,
                "version": one.control_version,
                "hash": one.hash,
                "settings_hash": one.settings_hash,
                "settings_threshold": one.settings_threshold,
                "model": one.model,
                "models": list(one.models),
                "problem": one.cannot,
                "silent_for": round(fleet.age(one), 1),
            }
            for name, one in live.items()
        },
        "gone": {name: one.at for name, one in fleet.gone.items()},
        "split": is_split(live.values()),
        "in_force_everywhere": standing.everywhere,
    }


def show_history(settings: Settings, *, last: int, as_json: bool) -> None:
    """Print the last messages and what became of them."""
    taken = list(read_history(settings).taken.values())[-last:]
    if as_json:
        for one in taken:
            click.echo(orjson.dumps(_record(one)).decode())
        return
    table = _table("version", "when", "what", "by", "signed by", "why")
    for one in taken:
        said = _record(one)
        version = f"({one.version}) refused" if one.refusal is not None else str(one.version) if one.is_applied else "-"
        what = said["what"] if one.refusal is None else f"{said['what'] or 'unreadable'}: {one.refusal}"
        _row(table, version, said["at"], what, said["issued_by"], said["signed_by"], said["reason"])
    Console().print(table if taken else Text("no control message yet: each worker goes by its settings"))


def show_diff(settings: Settings, before: int, after: int) -> None:
    """Print what differs between two versions. Raises ControlError for one that no message made."""
    history = read_history(settings, (before, after))
    for version in (before, after):
        if version not in history.at_version:
            raise ControlError(f"no message made version {version}; `secondlook control history` lists those there are")
    old, new = (dict(_lines(history.at_version[version])) for version in (before, after))
    names = [name for name in (*old, *(name for name in new if name not in old)) if old.get(name) != new.get(name)]
    for name in names:
        click.echo(f"{printable(name)}: {old.get(name, 'none')} -> {new.get(name, 'none')}")
    if not names:
        click.echo("no difference")


def _lines(content: Content) -> Iterator[tuple[str, str]]:
    yield "model", content.model or "that of each worker's settings"
    for policy, one in sorted(content.thresholds.items()):
        yield f"threshold of {policy}", _value(one)
    for policy, rate in sorted(content.audit_rates.items()):
        yield f"audit rate of {policy}", f"{rate.rate:g}"
    for policy in sorted(content.stops):
        yield f"automation of {policy}", "stopped"


def _value(one: Threshold) -> str:
    origin = {"settings": "by the costs in each worker's settings", "set": "set", "costs": "by costs"}.get(
        one.origin, one.origin
    )
    return origin if one.value is None else f"{one.value:g} ({origin})"


def _threshold(one: Threshold, history: History) -> dict[str, Any]:
    kept = {"kept_from": list(one.kept_from)} if one.kept_from else {}
    return {"value": one.value, "origin": one.origin, "model": one.model, **kept, **_origin(history, one.since)}


def _origin(history: History, version: int) -> dict[str, Any]:
    """Who set it, when and why."""
    taken = history.of_version(version)
    if taken is None:
        return {"since": version, "issued_by": None, "reason": None, "at": None}
    said = _record(taken)
    return {"since": version, "issued_by": said["issued_by"], "reason": said["reason"], "at": said["at"]}


def _record(one: Taken) -> dict[str, Any]:
    """One message as the history tells it."""
    said: Mapping[str, Any] = {} if one.message is None else orjson.loads(encode_control(one.message))
    hidden = _FOR_THE_RECORD if not isinstance(one.message, Snapshot) else said.keys() - {"base"}
    fields = " ".join(f"{name}={_brief(value)}" for name, value in said.items() if name not in hidden)
    return {
        "version": one.version,
        "offset": one.offset,
        "at": None if one.timestamp is None else _time(one.timestamp),
        "what": f"{said['type']} {fields}" if said else None,
        "issued_by": said.get("issued_by"),
        "signed_by": one.signed_by,
        "reason": said.get("reason"),
        "applied": one.is_applied,
        "refused": None if one.refusal is None else str(one.refusal),
    }


def _brief(value: object) -> object:
    """A sha256 in twelve digits, as elsewhere; anything else as it is."""
    return value[:12] if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else value


def _time(stamp: int) -> str:
    try:
        return rfc3339(stamp)
    except (ValueError, OverflowError, OSError):  # a producer may stamp what it likes
        return str(stamp)


def render_controls(document: Mapping[str, Any], console: Console) -> None:
    """Print what is in force."""
    console.print(Text(f"controls version {document['version']}, hash {document['hash']}", style="bold"))
    if document["last"] is not None:
        console.print(
            Text(
                f"last change: {printable(document['last']['what'])}, {_who({**document['last'], 'since': document['version']})}"
            )
        )
    if not document["whole"]:
        console.print(
            Text(
                "NOT KNOWN: the log's beginning is gone, and no snapshot stands for it. Workers that start send everything to humans",
                style="bold red",
            )
        )
    if document["messages"] > _MANY:
        console.print(
            Text(f"{document['messages']:,} messages: a start reads them all. secondlook control compact", style="dim")
        )
    for policy, stop in document["stops"].items():
        console.print(Text(f"AUTOMATION STOPPED for {_of(policy)}: {_who(stop)}", style="bold red"))
    model = document["model"]
    console.print(
        Text(
            "model: that of each worker's settings"
            if model is None
            else f"model: {model['sha256'][:12]}, {_who(model)}"
        )
    )
    if not document["thresholds"]:
        console.print(Text("no threshold: everything goes to humans until one is set for this model", style="bold red"))
    table = _table("policy", "threshold", "audit", "by", "when", "why")
    rates = document["audit_rates"]
    given = {one["settings_threshold"] for one in document["workers"].values()}
    for policy in sorted({*document["thresholds"], *rates}):
        one = document["thresholds"].get(policy, {"value": None, "origin": None, "since": 0})
        rate = rates.get(policy, rates[EVERY_POLICY])
        told = one if one["since"] or policy not in rates else rate
        _row(
            table,
            policy,
            _shown(one, given, has_default=EVERY_POLICY in document["thresholds"]),
            f"{rate['rate']:g}",
            told.get("issued_by"),
            told.get("at"),
            told.get("reason"),
        )
    console.print(table)


def render_workers(document: Mapping[str, Any], console: Console) -> None:
    """Print what each worker makes of it."""
    if not document["workers"]:
        console.print(Text("no worker is live", style="bold red"))
    table = _table("worker", "in force", "version", "hash", "model", "heard")
    for name, one in document["workers"].items():
        state = "yes" if one["in_force"] else "NO" if one["problem"] else "not yet"
        model = (one["model"] or "none")[:12]
        _row(table, name, state, str(one["version"]), one["hash"], model, f"{one['silent_for']:.0f} s ago")
    if document["workers"]:
        console.print(table)
    for name, one in document["workers"].items():
        if one["problem"]:
            console.print(
                Text(f"{printable(name)} sends everything to humans: {printable(one['problem'])}", style="bold red")
            )
    for name, at in document["gone"].items():
        console.print(
            Text(f"{printable(name)} was last heard {printable(at)}: it ended badly, or hangs", style="yellow")
        )
    if document["split"]:
        console.print(
            Text(
                "SPLIT FLEET: the workers differ in what they have in force, or in the model and costs of their settings",
                style="bold red",
            )
        )


def _shown(one: Mapping[str, Any], given: set[float | None], *, has_default: bool) -> str:
    if one["value"] is not None:
        return f"{one['value']:.4g} ({one['origin']})"
    if one["origin"] is None:
        return "that of *" if has_default else "none: humans decide"
    return (
        f"{given.copy().pop():.4g} (settings)" if len(given) == 1 and None not in given else "by each worker's settings"
    )


def _who(one: Mapping[str, Any]) -> str:
    why = f": {printable(one['reason'])}" if one["reason"] else ""
    return f"version {one['since']}, by {printable(one['issued_by'] or 'unknown')}, {one['at'] or 'at an unknown time'}{why}"


def _of(policy: str) -> str:
    return "every policy" if policy == EVERY_POLICY else f"policy {printable(policy)}"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _row(table: Table, *cells: str | None) -> None:
    table.add_row(*(Text("" if cell is None else printable(cell)) for cell in cells))

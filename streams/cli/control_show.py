"""What the control log says and what the workers make of it, to read."""

import sys
from collections.abc import Mapping
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.text import Text

from streams.cli.screen import echo_json, row, say, table
from streams.console.in_force import KINDS, details, differences, in_force, named, record
from streams.errors import ControlError
from streams.kafka.control_history import read_history
from streams.kafka.fleet import LISTEN, Fleet
from streams.pipeline.budget import STATES, UNMET
from streams.pipeline.scope import EVERY, EVERYTHING, Scope, by_specificity
from streams.settings import Settings

_STATES: Final[Mapping[str, str]] = {state.value: text for state, text in STATES.items()}
_WIDE = 240
"""Columns of a table that is written to no terminal."""
_MANY = 10_000
"""Messages that are a second's reading where they are signed."""
_DRAWN = frozenset({"thresholds", "audit_rates", "stops"})
"""Kinds that are not just a line each."""


def show_in_force(settings: Settings, *, as_json: bool) -> None:
    """Print what is in force and how each worker stands to it."""
    with Fleet(settings) as fleet:
        history = read_history(settings)
        if not fleet.live:
            fleet.listen(LISTEN, lambda: bool(fleet.live))
        document = in_force(history, fleet)
    if as_json:
        echo_json(document)
    else:
        console = _console()
        render_controls(document, console)
        render_workers(document, console)


def show_history(settings: Settings, *, last: int, as_json: bool) -> None:
    """Print the last messages and what became of them."""
    history = read_history(settings)
    taken = list(history.taken.values())[-last:]
    if as_json:
        for one in taken:
            click.echo(orjson.dumps(record(one)).decode())
        return
    changes = table("version", "when", "what", "by", "signed by", "why")
    for one in taken:
        said = record(one)
        version = f"({one.version}) refused" if one.refusal is not None else str(one.version) if one.is_applied else "-"
        what = said["what"] if one.refusal is None else f"{said['what'] or 'unreadable'}: {one.refusal}"
        row(changes, version, said["at"], what, said["issued_by"], said["signed_by"], said["reason"])
    console = _console()
    console.print(changes if taken else Text("no control message yet: each worker goes by its settings"))
    console.print(f"the log ends at offset {history.log.position}")


def show_diff(settings: Settings, before: int, after: int) -> None:
    """Print what differs between two versions. Raises ControlError for one that no message made."""
    history = read_history(settings, (before, after))
    for version in (before, after):
        if version not in history.at_version:
            raise ControlError(f"no message made version {version}; `secondlook control history` lists those there are")
    found = differences(history.at_version[before], history.at_version[after])
    for name, old, new in found:
        click.echo(f"{name}: {old} -> {new}")
    if not found:
        click.echo("no difference")


def render_controls(document: Mapping[str, Any], console: Console) -> None:
    """Print what is in force."""
    _render_log(document, console)
    for scope, stop in _by_scope(document["stops"]).items():
        say(console, f"AUTOMATION STOPPED for {scope.words}: {_who(stop)}", "bold red")
    model = document["model"]
    own = "model: that of each worker's settings"
    say(console, own if model is None else f"model: {model['sha256'][:12]}, {_who(model)}")
    for kind in (kind for kind in KINDS if kind not in _DRAWN):
        for name, one in named(kind, document[kind]).items():
            say(console, f"{name}: {details(one)}, {_who(one)}", "cyan")
    if not document["thresholds"]:
        say(console, "no threshold: everything goes to humans until one is set for this model", "bold red")
    settings = table("policy", "threshold", "audit", "by", "when", "why")
    thresholds, rates = _by_scope(document["thresholds"]), _by_scope(document["audit_rates"])
    given = {one["settings_threshold"] for one in document["workers"].values()}
    for scope in sorted({*thresholds, *rates}):
        of_both = [of[scope] for of in (thresholds, rates) if scope in of]
        told = next((one for one in of_both if one["since"]), of_both[0])
        why = (told[name] for name in ("issued_by", "at", "reason"))
        row(settings, str(scope), _shown(scope, thresholds, given), _audited(scope, rates), *why)
    console.print(settings)
    _render_budgets(document, console)
    for alert in document["alerts"]:
        of_llm = f", LLM {alert['llm']}" if alert.get("llm") else ""
        scope = Scope(*(alert.get(name, EVERY) for name in Scope._fields))
        say(console, f"{alert['kind']} ({scope}{of_llm}): {alert.get('about', '')}", "bold red")
    _render_quality(document, console)


def _render_quality(document: Mapping[str, Any], console: Console) -> None:
    """How often the automated are wrong, by the worker that keeps the books of live quality."""
    heads = (
        "policy",
        "LLM",
        "wrong among the automated",
        "lately",
        "expected",
        "audits judged",
        "overturned by humans",
    )
    figures = table(*heads)
    for one in document["quality"]:
        counts = {name: one.get(name, 0) for name in ("audits", "drawn", "overturned", "escalated")}
        error, low, high, recent, estimated = (
            f"{one[name]:.1%}" if name in one else "not known"
            for name in ("error", "low", "high", "recent_error", "estimated")
        )
        known = f"{error} [{low}, {high}]" if "error" in one else error
        audits = "{audits:,} of {drawn:,}".format_map(counts)
        overturned = "{overturned:,} of {escalated:,} escalated".format_map(counts)
        row(figures, one["policy"], one["llm"], known, recent, estimated, audits, overturned)
    if document["quality"]:
        console.print(figures)


def _render_log(document: Mapping[str, Any], console: Console) -> None:
    """How the control log stands."""
    say(console, f"controls version {document['version']}, hash {document['hash']}", "bold")
    last = document["last"]
    if last is not None:
        say(console, f"last change: {last['what']}, {_who({**last, 'since': document['version']})}")
    if not document["whole"]:
        say(
            console,
            "NOT KNOWN: the log's beginning is gone, and no snapshot that counts (control_keys, control_signed_from) stands for it. Workers that start send everything to humans",
            "bold red",
        )
    if document["messages"] > _MANY:
        say(console, f"{document['messages']:,} messages: a start reads them all. secondlook control compact", "dim")


def _render_budgets(document: Mapping[str, Any], console: Console) -> None:
    """How review budgets stand, by the worker that moves their thresholds."""
    found = {Scope(*(one[name] for name in Scope._fields)): one for one in document["budgets"]}
    for scope, one in sorted(_by_scope(document["thresholds"]).items()):
        if one["budget"] is None:
            continue
        budget, state = one["budget"], found.get(scope)
        told = f"budget of {scope}: {budget['share']:.1%} to humans, threshold from {budget['lowest']:g} to {budget['highest']:g} ("
        told += f"{_who(budget)}); "
        if state is None:
            say(console, f"{told}no live worker says how it stands", "bold red")
            continue
        counted = f"{state['decisions']:,} decisions: "
        share = counted if state.get("share") is None else f"{state['share']:.1%} of {counted}"
        style = "bold red" if state["state"] in UNMET else ""
        say(console, f"{told}{share}{_STATES.get(state['state'], state['state'])}", style)


def render_workers(document: Mapping[str, Any], console: Console) -> None:
    """Print what each worker makes of it."""
    if not document["workers"]:
        say(console, "no worker is live", "bold red")
    workers = table("worker", "in force", "version", "hash", "model", "shadow", "heard")
    for name, one in document["workers"].items():
        state = "yes" if one["in_force"] else "NO" if one["problem"] else "not yet"
        model = (one["model"] or "none")[:12]
        shadow = "" if one["shadow"] is None else "LEFT OUT" if "problem" in one["shadow"] else "yes"
        row(workers, name, state, str(one["version"]), one["hash"], model, shadow, f"{one['silent_for']:.0f} s ago")
    if document["workers"]:
        console.print(workers)
    for name, one in document["workers"].items():
        if one["problem"]:
            say(console, f"{name} sends everything to humans: {one['problem']}", "bold red")
        if one["shadow"] and "problem" in one["shadow"]:
            say(console, f"{name} leaves the shadow out: {one['shadow']['problem']}", "yellow")
    for name, at in document["gone"].items():
        say(console, f"{name} was last heard {at}: it ended badly, or hangs", "yellow")
    if document["split"]:
        text = "SPLIT FLEET: the workers differ in what they have in force, or in the model and costs of their settings"
        say(console, text, "bold red")


def _by_scope(settings: Mapping[str, Any]) -> dict[Scope, Any]:
    return {Scope(*(one[name] for name in Scope._fields)): one for one in settings.values()}


def _in_force(scope: Scope, settings: Mapping[Scope, Any]) -> Scope | None:
    """Whose setting holds in a scope, but for what is set inside of it."""
    return next((one for one in by_specificity(*scope) if one in settings), None)


def _shown(scope: Scope, thresholds: Mapping[Scope, Any], given: set[float | None]) -> str:
    whose = _in_force(scope, thresholds)
    if whose is None:
        return "by narrower scopes" if any(map(scope.overlaps, thresholds)) else "none: humans decide"
    if whose != scope:
        return f"that of {whose}"
    one = thresholds[scope]
    if one["value"] is not None:
        return f"{one['value']:.4g} ({one['origin']})"
    return (
        f"{given.copy().pop():.4g} (settings)" if len(given) == 1 and None not in given else "by each worker's settings"
    )


def _who(one: Mapping[str, Any]) -> str:
    why = f": {one['reason']}" if one["reason"] else ""
    return f"version {one['since']}, by {one['issued_by'] or 'unknown'}, {one['at'] or 'at an unknown time'}{why}"


def _audited(scope: Scope, rates: Mapping[Scope, Any]) -> str:
    one = rates[_in_force(scope, rates) or EVERYTHING]
    return f"{one['rate']:g}" + (f", at least {one['floor']:g}" if one["floor"] else "")


def _console() -> Console:
    """A terminal has its own width; in a file or a pipe a narrow table would cut words that are searched for."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDE)

"""What the control log says and what the workers make of it, to read."""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
import msgspec
import orjson
from rich.console import Console
from rich.text import Text

from streams.cli.printable import printable
from streams.cli.screen import echo_json, row, say, table
from streams.errors import ControlError
from streams.kafka.control_history import History, read_history
from streams.kafka.control_status import WorkerStatus
from streams.kafka.fleet import LISTEN, Fleet, is_split
from streams.pipeline.budget import STATES, UNMET
from streams.pipeline.control_content import NOTHING_SAID, AuditRate, Content, Threshold
from streams.pipeline.control_fields import Message
from streams.pipeline.control_log import Taken
from streams.pipeline.control_messages import Snapshot, encode_control
from streams.pipeline.routing import rfc3339
from streams.pipeline.scope import EVERY, EVERYTHING, Scope, by_specificity
from streams.settings import Settings

_STATES: Final[Mapping[str, str]] = {state.value: text for state, text in STATES.items()}
_WIDE = 240
"""Columns of a table that is written to no terminal."""
_MANY = 10_000
"""Messages that are a second's reading where they are signed."""
_FOR_THE_RECORD = frozenset({"type", *Message.__struct_fields__})
_WHERE_AND_WHO = frozenset({*Scope._fields, "since", "issued_by", "reason", "at"})
_KINDS = tuple(name for name in Content.__struct_fields__ if name not in ("model", "model_since"))
"""Of settings; what is said here of any of them is said of a new one too."""
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


def in_force(history: History, fleet: Fleet) -> dict[str, Any]:
    """All that `show` says, as JSON: the log's content with who set what, and each worker."""
    log = history.log
    content = log.content
    live = fleet.live
    standing = fleet.standing(log.position, log.version, content.hash)
    return {
        "version": log.version,
        "hash": content.hash,
        "last": record(history.taken[log.version - 1]) if log.version else None,
        "whole": log.is_whole,
        "messages": len(history.taken),
        "refused": sum(one.refusal is not None for one in history.taken.values()),
        "model": None if content.model is None else {"sha256": content.model, **_origin(history, content.model_since)},
        **{name: _settings(getattr(content, name), history) for name in _KINDS},
        "budgets": [msgspec.to_builtins(budget) for one in live.values() for budget in one.budgets],
        "alerts": [msgspec.to_builtins(alert) for one in live.values() for alert in one.alerts],
        "quality": [msgspec.to_builtins(figures) for one in live.values() for figures in one.quality],
        "workers": {name: {"in_force": name in standing.in_force, **_worker(one, fleet)} for name, one in live.items()},
        "gone": {name: one.at for name, one in fleet.gone.items()},
        "split": is_split(live.values()),
        "in_force_everywhere": standing.everywhere,
    }


def _settings(one: Any, history: History) -> Any:
    """What is set of a kind, by scope where it is, with who set it."""
    match one:
        case Mapping():
            return {str(scope): {**scope._asdict(), **_settings(one[scope], history)} for scope in sorted(one)}
        case msgspec.Struct():
            return _with_origin(msgspec.to_builtins(one), history)
        case int():  # of a stop there is but the version
            return _origin(history, one)
    return one


def _with_origin(told: Mapping[str, Any], history: History) -> dict[str, Any]:
    inside = {name: _with_origin(one, history) if isinstance(one, dict) else one for name, one in told.items()}
    return {**inside, **_origin(history, told["since"])} if "since" in told else inside


def _worker(one: WorkerStatus, fleet: Fleet) -> dict[str, Any]:
    return {
        "version": one.control_version,
        "hash": one.hash,
        "settings_hash": one.settings_hash,
        "settings_threshold": one.settings_threshold,
        "model": one.model,
        "models": list(one.models),
        "problem": one.cannot,
        "shadow": None if one.shadow is None else msgspec.to_builtins(one.shadow),
        "silent_for": round(fleet.age(one), 1),
    }


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
    old, new = (dict(_lines(history.at_version[version])) for version in (before, after))
    names = [name for name in (*old, *(name for name in new if name not in old)) if old.get(name) != new.get(name)]
    for name in names:
        click.echo(printable(f"{name}: {old.get(name, 'none')} -> {new.get(name, 'none')}"))
    if not names:
        click.echo("no difference")


def _lines(content: Content) -> Iterator[tuple[str, str]]:
    yield "model", content.model or "that of each worker's settings"
    for kind in _KINDS:
        yield from ((name, _in_words(one)) for name, one in _named(kind, getattr(content, kind)).items())


def _named(kind: str, settings: Any) -> dict[str, Any]:
    """What is set of a kind, each by its name in words: `audit rate of hate`; one that there is once by its kind's."""
    if isinstance(getattr(NOTHING_SAID, kind), Mapping):
        one = kind.removesuffix("s").replace("_", " ")
        return {f"{one} of {scope}": settings[scope] for scope in sorted(settings)}
    return {} if settings is None else {kind.replace("_", " "): settings}


def _in_words(one: Any) -> str:
    match one:
        case Threshold():
            return _value(one)
        case AuditRate():
            return f"{one.rate:g}" + (f", at least {one.floor:g}" if one.floor else "")
        case int():
            return "in force"
    return _fields(msgspec.to_builtins(one), _WHERE_AND_WHO)


def _value(one: Threshold) -> str:
    origin = {"settings": "by the costs in each worker's settings", "costs": "by costs"}.get(one.origin, one.origin)
    if one.budget is not None:
        origin = f"budget: {one.budget.share:g} to humans, from {one.budget.lowest:g} to {one.budget.highest:g}"
    elif one.origin == "bound":
        of_this = one.bound and f"{one.bound.max_risk:g} at {one.bound.confidence:g} confidence"
        origin = f"bound: {of_this or 'none for this model, so humans decide'}"
    return origin if one.value is None else f"{one.value:g} ({origin})"


def _told(message: Mapping[str, Any]) -> str:
    """A message in one line, without what is for the record."""
    return f"{message['type']} {_fields(message, _FOR_THE_RECORD)}"


def _fields(told: Mapping[str, Any], without: frozenset[str]) -> str:
    said = {name: value for name, value in told.items() if name not in without and _says_something(value)}
    return " ".join(f"{name}={_brief(value)}" for name, value in said.items())


def _says_something(value: object) -> bool:
    return bool(value) or (isinstance(value, int | float) and value is not False)


def _origin(history: History, version: int) -> dict[str, Any]:
    """Who set it, when and why."""
    taken = history.of_version(version)
    if taken is None:
        return {"since": version, "issued_by": None, "reason": None, "at": None}
    said = record(taken)
    return {"since": version, "issued_by": said["issued_by"], "reason": said["reason"], "at": said["at"]}


def record(one: Taken) -> dict[str, Any]:
    """One message as the history tells it."""
    message = one.message
    if isinstance(message, Snapshot):  # what it holds may be anything where it was refused
        message = msgspec.structs.replace(message, content=msgspec.Raw(b"{}"), issued={}, messages=[])
    said: Mapping[str, Any] = {} if message is None else orjson.loads(encode_control(message))
    if isinstance(message, Snapshot):
        said = {name: value for name, value in said.items() if name in _FOR_THE_RECORD or name == "base"}
    return {
        "version": one.version,
        "offset": one.offset,
        "at": None if one.timestamp is None else _time(one.timestamp),
        "what": _told(said) if said else None,
        "issued_by": said.get("issued_by"),
        "signed_by": one.signed_by,
        "reason": said.get("reason"),
        "applied": one.is_applied,
        "refused": None if one.refusal is None else str(one.refusal),
    }


def _brief(value: object) -> object:
    """A sha256 in twelve digits, as elsewhere, messages as they are told; anything else as it is."""
    if isinstance(value, list | tuple):
        return "(" + "; ".join(_told(one) for one in value) + ")"
    return value[:12] if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else value


def _time(stamp: int) -> str:
    try:
        return rfc3339(stamp)
    except (ValueError, OverflowError, OSError):  # a producer may stamp what it likes
        return str(stamp)


def render_controls(document: Mapping[str, Any], console: Console) -> None:
    """Print what is in force."""
    _render_log(document, console)
    for scope, stop in _by_scope(document["stops"]).items():
        say(console, f"AUTOMATION STOPPED for {scope.words}: {_who(stop)}", "bold red")
    model = document["model"]
    own = "model: that of each worker's settings"
    say(console, own if model is None else f"model: {model['sha256'][:12]}, {_who(model)}")
    for kind in (kind for kind in _KINDS if kind not in _DRAWN):
        for name, one in _named(kind, document[kind]).items():
            say(console, f"{name}: {_fields(one, _WHERE_AND_WHO)}, {_who(one)}", "cyan")
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

"""What the control log says and what the workers make of it, as a document: for the terminal, the browser, and programs."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import orjson

from streams.kafka.control_history import History
from streams.kafka.control_status import WorkerStatus
from streams.kafka.fleet import Fleet, is_split
from streams.pipeline.control_content import AuditRate, Content, Shadow, Threshold
from streams.pipeline.control_log import Taken
from streams.pipeline.control_messages import Snapshot, encode_control
from streams.pipeline.routing import rfc3339
from streams.pipeline.scope import Scope
from streams.printable import printable

_T = TypeVar("_T")

_FOR_THE_RECORD: Final = frozenset(
    {"type", "issued_by", "reason", "expected_version", "expires_at", "issued_at", "version"}
)


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
        "thresholds": _by_name(content.thresholds, partial(_threshold, history=history)),
        "audit_rates": _by_name(content.audit_rates, partial(_audit_rate, history=history)),
        "stops": _by_name(content.stops, partial(_origin, history)),
        "shadow": None if content.shadow is None else _shadow(content.shadow, history),
        "budgets": [msgspec.to_builtins(budget) for one in live.values() for budget in one.budgets],
        "alerts": [msgspec.to_builtins(alert) for one in live.values() for alert in one.alerts],
        "quality": [msgspec.to_builtins(figures) for one in live.values() for figures in one.quality],
        "workers": {name: {"in_force": name in standing.in_force, **_worker(one, fleet)} for name, one in live.items()},
        "gone": {name: one.at for name, one in fleet.gone.items()},
        "split": is_split(live.values()),
        "in_force_everywhere": standing.everywhere,
    }


def _by_name(settings: Mapping[Scope, _T], told: Callable[[_T], Mapping[str, Any]]) -> dict[str, Any]:
    return {str(scope): {**scope._asdict(), **told(one)} for scope, one in sorted(settings.items())}


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


def differences(before: Content, after: Content) -> list[tuple[str, str, str]]:
    """What differs between two contents: its name, what it was, and what it is."""
    old, new = dict(lines(before)), dict(lines(after))
    names = [name for name in (*old, *(name for name in new if name not in old)) if old.get(name) != new.get(name)]
    return [(printable(name), old.get(name, "none"), new.get(name, "none")) for name in names]


def lines(content: Content) -> Iterator[tuple[str, str]]:
    """A content line by line: a name, and what holds."""
    yield "model", content.model or "that of each worker's settings"
    for scope, one in sorted(content.thresholds.items()):
        yield f"threshold of {scope}", _value(one)
    for scope, rate in sorted(content.audit_rates.items()):
        yield f"audit rate of {scope}", f"{rate.rate:g}" + (f", at least {rate.floor:g}" if rate.floor else "")
    for scope in sorted(content.stops):
        yield f"automation of {scope}", "stopped"
    if content.shadow is not None:
        yield "shadow", _in_words(content.shadow)


def _value(one: Threshold) -> str:
    origin = {"settings": "by the costs in each worker's settings", "costs": "by costs"}.get(one.origin, one.origin)
    if one.budget is not None:
        origin = f"budget: {one.budget.share:g} to humans, from {one.budget.lowest:g} to {one.budget.highest:g}"
    elif one.origin == "bound":
        of_this = one.bound and f"{one.bound.max_risk:g} at {one.bound.confidence:g} confidence"
        origin = f"bound: {of_this or 'none for this model, so humans decide'}"
    return origin if one.value is None else f"{one.value:g} ({origin})"


def _shadow(one: Shadow, history: History) -> dict[str, Any]:
    changes = [msgspec.to_builtins(change) for change in one.changes]
    return {
        "model": one.model,
        "keep_thresholds": one.keep_thresholds,
        "changes": changes,
        "in_words": _in_words(one),
        **_origin(history, one.since),
    }


def _in_words(one: Shadow) -> str:
    model = "the model in force" if one.model is None else f"model {one.model[:12]}"
    kept = " with the thresholds in force" if one.keep_thresholds and one.model else ""
    return "; ".join([model + kept, *(printable(_told(msgspec.to_builtins(change))) for change in one.changes)])


def _told(message: Mapping[str, Any]) -> str:
    """A message in one line, without what is for the record."""
    fields = " ".join(f"{name}={_brief(value)}" for name, value in message.items() if name not in _FOR_THE_RECORD)
    return f"{message['type']} {fields}"


def _threshold(one: Threshold, history: History) -> dict[str, Any]:
    more: dict[str, Any] = {"kept_from": list(one.kept_from)} if one.kept_from else {}
    if one.budget is not None:
        more["budget"] = {**msgspec.to_builtins(one.budget), **_origin(history, one.budget.since)}
    if one.bound is not None:
        more["bound"] = msgspec.to_builtins(one.bound)
    return {"value": one.value, "origin": one.origin, "model": one.model, **more, **_origin(history, one.since)}


def _audit_rate(one: AuditRate, history: History) -> dict[str, Any]:
    return {"rate": one.rate, "floor": one.floor, **_origin(history, one.since)}


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
        "at": None if one.timestamp is None else _moment(one.timestamp),
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


def _moment(stamp: int) -> str:
    try:
        return rfc3339(stamp)
    except (ValueError, OverflowError, OSError):  # a producer may stamp what it likes
        return str(stamp)

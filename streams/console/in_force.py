"""What the control log says and what the workers make of it, as a document: for the terminal, the browser, and programs."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import orjson

from streams.kafka.control_history import History
from streams.kafka.control_status import WorkerStatus
from streams.kafka.fleet import Fleet, is_split
from streams.pipeline.control_content import NOTHING_SAID, AuditRate, Content, Threshold
from streams.pipeline.control_fields import Message
from streams.pipeline.control_log import Taken
from streams.pipeline.control_messages import ControlMessage, Snapshot, encode_control
from streams.pipeline.routing import rfc3339
from streams.pipeline.scope import Scope
from streams.printable import printable

KINDS: Final = tuple(name for name in Content.__struct_fields__ if name not in ("model", "model_since"))
"""Of settings; what is said here of any of them is said of a new one too."""
_FOR_THE_RECORD: Final = frozenset({"type", *Message.__struct_fields__})
_WHERE_AND_WHO: Final = frozenset({*Scope._fields, "since", "issued_by", "reason", "at"})


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
        **{name: _settings(getattr(content, name), history) for name in KINDS},
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


def differences(before: Content, after: Content) -> list[tuple[str, str, str]]:
    """What differs between two contents: its name, what it was, and what it is."""
    old, new = dict(lines(before)), dict(lines(after))
    names = [name for name in (*old, *(name for name in new if name not in old)) if old.get(name) != new.get(name)]
    return [(printable(name), printable(old.get(name, "none")), printable(new.get(name, "none"))) for name in names]


def lines(content: Content) -> Iterator[tuple[str, str]]:
    """A content line by line: a name, and what holds."""
    yield "model", content.model or "that of each worker's settings"
    for kind in KINDS:
        yield from ((name, _in_words(one)) for name, one in named(kind, getattr(content, kind)).items())


def named(kind: str, settings: Any) -> dict[str, Any]:
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
    return details(msgspec.to_builtins(one))


def details(told: Mapping[str, Any]) -> str:
    """What is set, in a line, without where it holds and who set it."""
    return _fields(told, _WHERE_AND_WHO)


def _value(one: Threshold) -> str:
    origin = {"settings": "by the costs in each worker's settings", "costs": "by costs"}.get(one.origin, one.origin)
    if one.budget is not None:
        origin = f"budget: {one.budget.share:g} to humans, from {one.budget.lowest:g} to {one.budget.highest:g}"
    elif one.origin == "bound":
        of_this = one.bound and f"{one.bound.max_risk:g} at {one.bound.confidence:g} confidence"
        origin = f"bound: {of_this or 'none for this model, so humans decide'}"
    return origin if one.value is None else f"{one.value:g} ({origin})"


def message_in_words(message: ControlMessage) -> str:
    """What a message says, in one line."""
    return _told(orjson.loads(encode_control(message)))


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

"""Snapshots of the control log: all that a reader needs who begins there, and reads nothing of what stood before. Pure.

A snapshot holds what was in force at one version, and the messages applied since: folding these again gives the versions that can still be
rolled back to. It states the offset that it was made for, so that it counts only where no other message came between.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args, get_origin

import msgspec
from immutables import Map
from msgspec.structs import replace

from streams.errors import ControlError
from streams.pipeline.control_content import Content
from streams.pipeline.control_fields import Past
from streams.pipeline.control_messages import SetCosts, SetThreshold, Snapshot, encode_control, parse_control
from streams.pipeline.reasons import Refusal
from streams.pipeline.scope import EVERYTHING, Scope, Scoped

KEPT: Final = 100
"""Versions that can be rolled back to afterwards, as far as the snapshot has room for them."""

Versions = Sequence[tuple[int, Content]]


def versions_in(snapshot: Snapshot) -> Versions:
    """The versions that a snapshot holds with what was in force at each, the last one now. Raises ControlError where it makes no sense."""
    content = _read_content(snapshot.content)
    if EVERYTHING not in content.audit_rates:
        raise ControlError("the snapshot lacks the audit rate of every policy (*)")
    if snapshot.base > snapshot.position:
        raise ControlError(
            f"the snapshot for offset {snapshot.position} holds version {snapshot.base}, which comes later"
        )
    versions = [(snapshot.base, content)]

    def restore(version: int) -> Content:
        for known, there in reversed(versions):
            if known == version:
                return there
        raise ControlError(f"the snapshot holds no version {version}", Refusal.UNKNOWN_VERSION)

    for past in snapshot.messages:
        message = parse_control(bytes(past.message))
        if past.offset < snapshot.base:
            continue  # for the record
        version, content = versions[-1]
        if not version <= past.offset < snapshot.position:
            raise ControlError(f"the messages in the snapshot are not in order at offset {past.offset}")
        then = message.apply(content, past.offset + 1, restore)
        if then is content:
            raise ControlError(f"the message of offset {past.offset} in the snapshot changes nothing")
        versions.append((past.offset + 1, then))
    return versions


def make_snapshot(
    versions: Versions,
    messages: Mapping[int, Past],
    *,
    position: int,
    counted: int,
    issued: Mapping[str, float],
    most_bytes: int,
) -> Snapshot:
    """The snapshot for `position` that holds most of the last `KEPT` versions. `messages` by the version that each made.

    Fewer where it would not fit in `most_bytes`, or where a rollback among them goes back to before them. Raises ControlError.
    """
    for first in range(max(0, len(versions) - KEPT), len(versions)):
        base, content = versions[first]
        since = [version for version, _ in versions[first + 1 :]]
        stated = encode_content(content)
        wanted = sorted({*_whole_numbers(msgspec.json.decode(stated)), base, *since})
        snapshot = Snapshot(
            position=position,
            base=base,
            content=stated,
            counted=counted,
            issued=dict(issued),
            messages=[messages[version] for version in wanted if version in messages],
        )
        if len(encode_control(snapshot)) <= most_bytes and _holds(snapshot, versions[first:]):
            return snapshot
    raise ControlError(f"what is in force does not fit in a record of {most_bytes} bytes (max_record_bytes)")


def _holds(snapshot: Snapshot, versions: Versions) -> bool:
    try:
        return list(versions_in(snapshot)) == list(versions)
    except ControlError:
        return False


def encode_content(content: Content) -> msgspec.Raw:
    """What is in force as JSON; a map is a list of pairs, whatever its keys are."""
    return msgspec.Raw(msgspec.json.encode(content, enc_hook=_pairs))


def _read_content(raw: msgspec.Raw) -> Content:
    try:
        content = msgspec.json.decode(raw, type=Content, dec_hook=_map)
        if content.shadow is None:
            return content
        changes = msgspec.convert(content.shadow.changes, tuple[SetThreshold | SetCosts, ...])
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise ControlError(f"what the snapshot says is in force cannot be read: {problem}") from None
    return replace(content, shadow=replace(content.shadow, changes=changes))


def _pairs(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return sorted(value.items(), key=lambda pair: repr(pair[0]))  # the same map is the same JSON


def _map(kind: Any, value: Any) -> Mapping[Any, Any]:
    key, one = (Scope, *get_args(kind)) if get_origin(kind) is Scoped else get_args(kind)
    pairs = msgspec.convert(value, list[tuple[key, one]], dec_hook=_map)  # type: ignore[valid-type]
    return Scoped(dict(pairs)) if get_origin(kind) is Scoped else Map(pairs)


def _whole_numbers(value: Any) -> Iterator[int]:
    """Every whole number in what is in force: the versions that set something are among them, and nothing is lost by more."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _whole_numbers(one)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value

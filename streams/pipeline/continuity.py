"""Where a partition goes on when it is taken over: committed offsets, changelog and input logs held against each other.

The changelog is the truth about positions, because it is written with the state that they belong to; the group's committed
offsets are kept for the broker's fencing and for tools. Each way in which the three can disagree has one outcome, decided
here: go on and say so (*news*), or a *loss* that only the operator can accept. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

import msgspec

from streams.errors import OwnerError
from streams.pipeline.assignment import Place
from streams.pipeline.pending import Claim, PartitionStore
from streams.pipeline.records import REQUESTS, RESPONSES

NewGroupFrom = Literal["earliest", "latest", "state"]
"""Where a group goes on that takes over another one's topics, or begins: see the setting of this name."""


class Note(msgspec.Struct, frozen=True):
    """What travels with each committed offset: the changelog's topic id ("" where unknown), and an end that it had reached."""

    changelog: str
    end: int


def write_note(note: Note) -> str:
    """The note as a commit's metadata."""
    return msgspec.json.encode(note).decode()


def read_note(metadata: str | None) -> Note | None:
    """The note in a commit's metadata; None when another program committed."""
    try:
        return msgspec.json.decode(metadata or "", type=Note)
    except msgspec.DecodeError:
        return None


@dataclass(frozen=True, slots=True)
class Input:
    """One input partition: what the group committed, and what its log holds (first offset and high watermark)."""

    committed: int | None
    note: Note | None
    low: int
    high: int
    topic_id: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """All that Kafka says of one partition. The store is restored from the changelog, whose high watermark is given.

    `decided_before`: there are decisions in the output topics, although no partition of the changelog was ever written.
    """

    store: PartitionStore
    inputs: Mapping[str, Input]
    changelog_end: int
    changelog_id: str = ""
    decided_before: bool = False


class Cause(StrEnum):
    """Why records or state are gone (the label of `secondlook_records_skipped_total`)."""

    RETENTION = "retention"
    LOG_TRUNCATED = "log_truncated"
    TOPIC_RECREATED = "topic_recreated"
    CHANGELOG_LOST = "changelog_lost"


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that is gone. `count` is in records, as far as it can be known."""

    cause: Cause
    place: Place
    count: int
    text: str


@dataclass(slots=True)
class Plan:
    """How to go on: positions, the claim to write first (None when it stands), what is lost and what is worth a log line."""

    positions: dict[Place, int] = field(default_factory=dict)
    claim: Claim | None = None
    losses: list[Loss] = field(default_factory=list)
    news: list[str] = field(default_factory=list)


_INPUTS: Final = (REQUESTS, RESPONSES)


def plan(found: Found, *, group: str, new_group_from: NewGroupFrom | None) -> Plan:
    """Decide for one partition. Raises OwnerError when it is another group's and nobody said to take it over."""
    claim, result = found.store.claim, Plan()
    if claim is not None and claim.group != group and new_group_from is None:
        raise OwnerError(
            f"group {claim.group!r} works on these topics, and {group!r} would decide everything a second time: use another "
            "topic_prefix for a pipeline of its own; or, to take over for good, stop the other group's workers and start "
            "with --new-group-from state (go on where it stopped), latest or earliest"
        )
    ours = claim is not None and claim.group == group
    lost = None if claim is not None else _lost_state(found, new_group_from)
    for role in _INPUTS:
        place, log = (role, found.store.partition), found.inputs[role]
        if claim is not None and not ours:
            position = _taken_over(_state_position(found.store, role), log, new_group_from)
        elif ours:
            position = _own(place, _state_position(found.store, role), log, result)
            lost = lost or _shrunk(found, log)
        else:
            position = log.committed if log.committed is not None else _new(log, new_group_from)
        result.positions[place] = _within(place, position, log, claim if ours else None, result)
    if lost is not None:
        place = (REQUESTS, found.store.partition)
        result.losses.append(
            Loss(Cause.CHANGELOG_LOST, place, 0, f"{lost}; the requests that waited in it are unknown now")
        )
    wanted = Claim(group, found.inputs[REQUESTS].topic_id, found.inputs[RESPONSES].topic_id)
    if claim is None:
        result.claim = wanted
    elif not ours or result.losses or _other_topics(claim, wanted):
        # A loss that the operator accepts is written down with the new position, or a restart would meet it again.
        result.claim = msgspec.structs.replace(wanted, replaces=claim.group)
    return result


def _own(place: Place, state: int | None, log: Input, result: Plan) -> int:
    """The changelog is ours: it says where to go on, unless somebody reset the group's offsets with another tool."""
    if log.committed is None:
        if state is not None:
            result.news.append(
                f"the group has no offset of {_named(place)} (expired?): going on at {state}, as the changelog says"
            )
        return log.low if state is None else state
    if log.note is None:
        if log.committed != state:
            result.news.append(
                f"the offset of {_named(place)} was set to {log.committed} by another tool: going on there"
            )
        return log.committed
    return max(log.committed, state or 0)


def _taken_over(state: int | None, log: Input, choice: NewGroupFrom | None) -> int:
    if choice == "state" and state is not None:
        return state
    return _new(log, choice)


def _new(log: Input, choice: NewGroupFrom | None) -> int:
    return log.high if choice == "latest" else log.low


def _lost_state(found: Found, new_group_from: NewGroupFrom | None) -> str | None:
    """Traces of earlier work, but no changelog that knows of it."""
    if any(log.note is not None for log in found.inputs.values()):
        return "the group's offsets were committed with a changelog, and the changelog is empty"
    if found.store.foreign and any(log.committed is not None for log in found.inputs.values()):
        return (
            f"the group has committed offsets, and the changelog holds {found.store.foreign} records that this version does "
            "not read (an older version's?)"
        )
    if found.decided_before and new_group_from is None:
        return (
            "decisions stand in the output topics, and both the changelog and the group's offsets are gone: everything would "
            "be decided again (--new-group-from latest begins with what comes from now on)"
        )
    return None


def _shrunk(found: Found, log: Input) -> str | None:
    """A changelog that ends before where it once did, or is another topic than it was."""
    note = log.note
    if note is None:
        return None
    if note.changelog and found.changelog_id and note.changelog != found.changelog_id:
        return "the changelog topic was deleted and made anew since the group's last commit"
    if note.end > found.changelog_end:
        return f"the changelog ends at {found.changelog_end}, and had reached {note.end} at the group's last commit"
    return None


def _within(place: Place, position: int, log: Input, claim: Claim | None, result: Plan) -> int:
    """The position, or the nearest one that the log still has."""
    known = "" if claim is None else claim.requests_topic if place[0] == REQUESTS else claim.responses_topic
    if known and log.topic_id and known != log.topic_id:
        text = f"the topic of {_named(place)} was deleted and made anew: it begins at {log.low} again"
        result.losses.append(Loss(Cause.TOPIC_RECREATED, place, 0, text))
        return log.low
    if position < log.low:
        text = f"records {position} to {log.low - 1} of {_named(place)} were deleted by retention before they were read"
        result.losses.append(Loss(Cause.RETENTION, place, log.low - position, text))
        return log.low
    if position > log.high:
        text = f"{_named(place)} ends at {log.high}, and had been read up to {position}: its log was cut, or the topic made anew"
        result.losses.append(Loss(Cause.LOG_TRUNCATED, place, position - log.high, text))
        return log.high if known and log.topic_id else log.low
    return position


def _other_topics(claim: Claim, wanted: Claim) -> bool:
    pairs = ((claim.requests_topic, wanted.requests_topic), (claim.responses_topic, wanted.responses_topic))
    return any(known != now and now for known, now in pairs)


def _state_position(store: PartitionStore, role: str) -> int | None:
    return store.requests_position if role == REQUESTS else store.responses_position


def _named(place: Place) -> str:
    return f"partition {place[1]} of the {place[0]}"

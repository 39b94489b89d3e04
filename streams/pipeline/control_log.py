"""The fold of the control log: message after message, what is in force. Pure, and the same wherever it is done.

The version is that of the last message that changed something: its offset + 1. A message that is not valid, or not in its place, is
refused and changes nothing; which ones are is decided by the log alone.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from immutables import Map
from msgspec import Raw

from streams.errors import ControlError
from streams.pipeline.control_content import NOTHING_SAID, Content
from streams.pipeline.control_fields import Past
from streams.pipeline.control_messages import ControlMessage, Snapshot, encode_control, parse_control
from streams.pipeline.control_signing import Trust, id_of
from streams.pipeline.control_snapshot import Versions, make_snapshot, versions_in
from streams.pipeline.reasons import Refusal

_AHEAD: Final = 300
"""Seconds that the clock of an issuer who signs may be ahead of the broker's."""
REMEMBERED: Final = 1_000
"""Versions that can be rolled back to; part of the fold, so not a setting."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one message. `message` is None where there was none to read; `timestamp` (ms) is the broker's, if any."""

    offset: int
    timestamp: int | None
    message: ControlMessage | None
    refusal: ControlError | None = None
    is_applied: bool = False
    """Whether it made a version: one that only asks the workers for something makes none."""
    signed_by: str | None = None
    """The name of the trusted key that signed it."""

    @property
    def version(self) -> int:
        """The version that it made, or would have made."""
        return self.offset + 1


def taken_before(past: Past) -> Taken:
    """What became of a message that a snapshot holds: it was applied."""
    return Taken(
        past.offset, past.timestamp, parse_control(bytes(past.message)), is_applied=True, signed_by=past.signed_by
    )


class ControlLog:
    """What is in force (`content`, `version`) after the messages taken so far; `position` is the next offset to take.

    With `trust`, only messages signed by its keys count. Whoever trusts the same keys arrives at the same, from the beginning or from any
    snapshot on. `start` is the first offset that the log still holds: if that is not its beginning, a snapshot must stand there.
    """

    def __init__(self, trust: Trust | None = None, start: int = 0) -> None:
        self._trust, self._start = trust, start
        self.is_whole = start == 0
        """Whether what is in force is known: nothing is missing before what was taken, or a snapshot stands for it."""
        self._last_issued: Map[str, float] = Map()
        """By key id, the `issued_at` (s) of its last message, applied or not: a copy of a refused one could fit later."""
        self.content = NOTHING_SAID
        self.version = 0
        self.position = 0
        self._counted = 0
        """The version as it was counted before it was an offset: by `version` in messages of the old form."""
        self._versions: deque[tuple[int, Content]] = deque([(0, NOTHING_SAID)], maxlen=REMEMBERED)

    def take(self, offset: int, timestamp: int | None, value: bytes | None, signature: bytes | None = None) -> Taken:
        """Apply the message at an offset, or refuse it. Offsets only rise."""
        self.position = offset + 1
        message: ControlMessage | None = None
        signed_by: str | None = None
        try:
            message = parse_control(value)
            issued = self._last_issued
            signed_by = self._authenticate(offset, timestamp, message, value, signature)
            self._check(message, timestamp)
            if isinstance(message, Snapshot):
                self._meet(message, offset, issued)
            content = message.apply(self.content, offset + 1, self._restore)
        except ControlError as problem:
            return Taken(offset, timestamp, message, problem.with_traceback(None), signed_by=signed_by)
        if content is self.content:
            return Taken(offset, timestamp, message, signed_by=signed_by)
        self._counted = self._counted + 1 if message.version is None else message.version
        self.content, self.version = content, offset + 1
        self._versions.append((self.version, content))
        return Taken(offset, timestamp, message, is_applied=True, signed_by=signed_by)

    def _authenticate(
        self,
        offset: int,
        timestamp: int | None,
        message: ControlMessage,
        value: bytes | None,
        signature: bytes | None,
    ) -> str | None:
        """The name of the key that signed it, where it must be signed. Raises ControlError where it counts for nothing."""
        if self._trust is None or offset < self._trust.signed_from:
            return None
        name = self._trust.signer(value or b"", signature)
        if message.issued_at is None or message.expires_at is None:
            raise ControlError(
                "it is signed but lacks issued_at or expires_at, without which a copy of it would count again",
                Refusal.UNSIGNED,
            )
        issued, key = message.issued_at.timestamp(), id_of(self._trust.keys[name])
        if issued <= self._last_issued.get(key, float("-inf")):
            raise ControlError(
                f"it was issued at {message.issued_at.isoformat()}, and key {name} has signed one as young or younger before it: it is a "
                "copy, or came out of order",
                Refusal.REPLAYED,
            )
        if timestamp is not None and issued > timestamp / 1000 + _AHEAD:  # it would shut its key out until then
            raise ControlError(
                f"it was issued at {message.issued_at.isoformat()}, {_AHEAD} s and more ahead of the broker's clock: set the issuer's",
                Refusal.REPLAYED,
            )
        self._last_issued = self._last_issued.set(key, issued)
        return name

    def _check(self, message: ControlMessage, timestamp: int | None) -> None:
        """Raise ControlError for a message that is too late, or was made for another state of the log."""
        if message.expected_version not in (None, self.version):
            raise ControlError(
                f"it expects version {message.expected_version} in force, but that is {self.version}: look at what has changed, "
                "and issue it anew",
                Refusal.STALE,
            )
        if message.version is not None and message.version <= self._counted:
            raise ControlError(
                f"version {message.version} is not above {self._counted}, the count of messages in force: issue it anew",
                Refusal.STALE,
            )
        if message.expires_at is None:
            return
        if timestamp is None:
            raise ControlError("it expires, but the broker put no time on it by which to judge that", Refusal.EXPIRED)
        late = timestamp / 1000 - message.expires_at.timestamp()
        if late >= 0:
            raise ControlError(
                f"it expired at {message.expires_at.isoformat()}, {late:.1f} s before it was written by the broker's clock",
                Refusal.EXPIRED,
            )

    def _meet(self, snapshot: Snapshot, offset: int, issued: Mapping[str, float]) -> None:
        """Hold a snapshot against what is known, or begin with it; from here on only its versions can be rolled back to.

        `issued` is by key what was signed before it. Raises ControlError where it counts for nothing, and then nothing has changed.
        """
        if snapshot.position != offset:
            raise ControlError(
                f"the snapshot was made for offset {snapshot.position}, and stands at {offset}: something came between. Make another one",
                Refusal.STALE,
            )
        if snapshot.expected_version is not None or snapshot.version is not None:
            raise ControlError("a snapshot states its offset, and no version that it expects")
        versions = versions_in(snapshot)
        if self.is_whole:
            self._hold_against(snapshot, versions, issued)
        elif offset != self._start:
            raise ControlError(
                f"the log begins at offset {self._start} with no snapshot: this one cannot be held against what stood before",
                Refusal.DIFFERS,
            )
        else:
            self._begin_with(snapshot)
        self._versions = deque(versions, maxlen=REMEMBERED)
        self.version, self.content = self._versions[-1]

    def _hold_against(self, snapshot: Snapshot, versions: Versions, issued: Mapping[str, float]) -> None:
        mine = list(self._versions)[-len(versions) :]
        # Without keys nobody looks at who has signed what.
        same = self._trust is None or dict(issued) == snapshot.issued
        if not (same and mine == list(versions) and snapshot.counted == self._counted):
            raise ControlError("the snapshot says otherwise than the messages before it", Refusal.DIFFERS)

    def _begin_with(self, snapshot: Snapshot) -> None:
        for key, issued in self._last_issued.items():  # of the one who signed the snapshot
            if issued <= snapshot.issued.get(key, float("-inf")):
                raise ControlError("the snapshot is older than what its own key has signed before it", Refusal.REPLAYED)
        self._last_issued = Map(snapshot.issued).update(self._last_issued)
        self._counted = snapshot.counted
        self.is_whole = True

    def snapshot(self, position: int, taken: Mapping[int, Taken], most_bytes: int) -> Snapshot:
        """The snapshot that may be written at `position` next, in at most so many bytes. `taken` are the messages by their offset.

        Raises ControlError where it would be too large.
        """
        messages = {
            one.version: Past(one.offset, Raw(encode_control(one.message)), one.timestamp, one.signed_by)
            for one in taken.values()
            if one.is_applied
        }
        return make_snapshot(
            self.versions,
            messages,
            position=position,
            counted=self._counted,
            issued=self._last_issued,
            most_bytes=most_bytes,
        )

    @property
    def versions(self) -> Versions:
        """The versions that can be rolled back to with what was in force at each, the last one now."""
        return list(self._versions)

    def _restore(self, version: int) -> Content:
        for known, content in reversed(self._versions):
            if known == version:
                return content
        raise ControlError(
            f"version {version} cannot be restored: no message made it, {REMEMBERED:,} have come since, or a snapshot",
            Refusal.UNKNOWN_VERSION,
        )

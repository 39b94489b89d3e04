"""The fold of the control log: message after message, what is in force. Pure, and the same wherever it is done.

The version is that of the last message that changed something: its offset + 1. A message that is not valid, or not in its place, is
refused and changes nothing; which ones are is decided by the log alone.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from streams.errors import ControlError
from streams.pipeline.control_content import NOTHING_SAID, Content
from streams.pipeline.control_messages import ControlMessage, parse_control
from streams.pipeline.control_signing import Trust
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


class ControlLog:
    """What is in force (`content`, `version`) after the messages taken so far; `position` is the next offset to take.

    With `trust`, only messages signed by its keys count. Whoever trusts the same keys arrives at the same.
    """

    def __init__(self, trust: Trust | None = None) -> None:
        self._trust = trust
        self._last_issued: dict[str, float] = {}
        """By key, the `issued_at` (s) of its last message, applied or not: a copy of a refused one could fit later."""
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
            signed_by = self._authenticate(offset, timestamp, message, value, signature)
            self._check(message, timestamp)
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
        issued = message.issued_at.timestamp()
        if issued <= self._last_issued.get(name, float("-inf")):
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
        self._last_issued[name] = issued
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

    def _restore(self, version: int) -> Content:
        for known, content in reversed(self._versions):
            if known == version:
                return content
        raise ControlError(
            f"version {version} cannot be restored: no message made it, or {REMEMBERED:,} have come since",
            Refusal.UNKNOWN_VERSION,
        )

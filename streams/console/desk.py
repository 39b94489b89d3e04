"""What may be changed from the browser: a few controls, each shown with what it would do before it is issued, and only with the token.

A message is checked, stamped, signed and written as `secondlook control` does it (`streams.kafka.issuing`). It names the version that was seen, so
that a change in between refuses it; but for a stop, which only ever sends more to humans.
"""

import hashlib
import hmac
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from streams.console.in_force import differences, message_in_words, record
from streams.errors import ControlError, SettingsError, TokenError
from streams.kafka.control_history import History, read_history
from streams.kafka.control_keys import load_private_key, load_trust
from streams.kafka.fleet import Fleet
from streams.kafka.issuing import (
    Issue,
    counts_before,
    model_of_workers,
    reach,
    takes_away,
    undoing,
    unknown_policy,
    write,
)
from streams.pipeline.control_log import Taken
from streams.pipeline.control_messages import ControlMessage, SetThreshold, parse_control
from streams.pipeline.control_signing import public_key
from streams.pipeline.reasons import Refusal
from streams.pipeline.scope import EVERY, Scope
from streams.settings import Settings

log = logging.getLogger(__name__)

SHORTEST_TOKEN: Final = 32
_FEWEST_DIFFERENT: Final = 10
"""Characters of a token, and how many of them must differ: what `openssl rand -base64 24` gives has both."""
_TOLD: Final = 5
_TOLD_FOR: Final = 60.0
"""Wrong tokens that the log tells of in so many seconds."""
_LONGEST_NAME: Final = 100
_NO_VERSION: Final = "which version was seen is not said: open the page anew. Nothing was written"

STOP, RESUME, THRESHOLD, UNDO = "stop", "resume", "threshold", "undo"
_TYPES: Final = {STOP: "stop_automation", RESUME: "resume_automation", THRESHOLD: "set_threshold"}
ACTIONS: Final = (STOP, RESUME, THRESHOLD, UNDO)


class Token:
    """The token, compared in constant time.

    Nobody is kept out for the wrong ones that came: it is too long to be guessed, and else whoever can connect could keep everybody from stopping.
    """

    def __init__(self, token: str, now: Callable[[], float] = time.monotonic) -> None:
        if len(token) < SHORTEST_TOKEN or len(set(token)) < _FEWEST_DIFFERENT or not token.isprintable():
            raise SettingsError(
                f"the console's token must be {SHORTEST_TOKEN} printable characters or more, and made by chance: openssl rand -base64 24 > FILE"
            )
        self._digest = _digest(token)
        self._now = now
        self._told: deque[float] = deque(maxlen=_TOLD)

    def check(self, given: str, whose: str) -> None:
        """Raise TokenError unless this is the token; `whose` is the address that gave it."""
        if hmac.compare_digest(_digest(given), self._digest):
            return
        now = self._now()
        if len(self._told) < _TOLD or now - self._told[0] > _TOLD_FOR:
            self._told.append(now)
            log.warning("a wrong token for the console's controls, from %s", whose)
        raise TokenError("this is not the token. Nothing was written")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.strip().encode(errors="surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a browser asks for, as it wrote it."""

    action: str
    policy: str = EVERY
    tenant: str = EVERY
    outcome: str = EVERY
    threshold: str = ""

    @classmethod
    def of(cls, form: Mapping[str, str]) -> "Wanted":
        """From a form, or an address's query."""
        given = {name: form.get(name, "").strip() for name in ("policy", "tenant", "outcome")}
        return cls(
            form.get("action", ""),
            **{name: text or EVERY for name, text in given.items()},
            threshold=form.get("threshold", "").strip(),
        )

    def message(self, history: History | None) -> ControlMessage:
        """The message that does it; only undoing needs the history. Raises ControlError on what makes no message."""
        if self.action == UNDO and history is not None:
            return undoing(history)
        if self.action not in _TYPES:
            raise ControlError(f"the console cannot do this: {', '.join(ACTIONS)}. Nothing was written")
        # What is left out is not written: older workers would not know the field.
        narrowed = {name: text for name, text in self.scope._asdict().items() if text != EVERY}
        fields: dict[str, Any] = {"type": _TYPES[self.action], "policy": EVERY, **narrowed}
        if self.action == THRESHOLD:
            fields["threshold"] = _number(self.threshold)
        return parse_control(orjson.dumps(fields))

    @property
    def scope(self) -> Scope:
        """Whom it is about."""
        return Scope(self.policy, self.tenant, self.outcome)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ControlError("a threshold is a number from 0 to 1. Nothing was written")
    return number


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a message would do: in words, for whom, what would be in force in place of what; what should be known; and the version that was seen."""

    version: int
    words: str
    reach: str
    changes: list[tuple[str, str, str]]
    notes: list[str]


class Desk:
    """Proposes and issues. Blocking, and one at a time, but for a stop. Raises SettingsError where what it signs would not count."""

    def __init__(self, settings: Settings, sign_with: Path | None) -> None:
        trust = load_trust(settings)
        if trust is not None and sign_with is None:
            raise SettingsError("only signed messages count (control_keys): --allow-controls needs --sign-with FILE")
        if (
            trust is not None
            and sign_with is not None
            and public_key(load_private_key(sign_with)) not in trust.keys.values()
        ):
            raise SettingsError(
                f"{sign_with}: its public key is not among the control_keys, so what it signs would be refused"
            )
        self._settings, self._sign_with = settings, sign_with
        self._history: History | None = None

    def propose(self, wanted: Wanted) -> Proposal:
        """What it would do, by what is in force now. Raises ControlError where it could not be issued, BrokerError."""
        with Fleet(self._settings) as fleet:
            history = self._read()
            message = _made_for(wanted.message(history), history, fleet)
            content, version = history.log.content, history.log.version
            after = message.apply(content, version + 1, dict(history.log.versions).__getitem__)
            notes = (
                _taken_back(history) if wanted.action == UNDO else None,
                unknown_policy(message, content, fleet),
                takes_away(message, content),
                counts_before(message, content),
            )
            return Proposal(
                version,
                message_in_words(message),
                reach(message),
                differences(content, after),
                [one for one in notes if one is not None],
            )

    def issue(self, wanted: Wanted, seen: int | None, by: str, reason: str) -> Taken:
        """Write it. `seen` is the version that was in force when it was asked for. Raises ControlError when it is refused, BrokerError."""
        by = by.strip()
        if not by or len(by) > _LONGEST_NAME:
            raise ControlError(f"say who you are, in up to {_LONGEST_NAME} characters. Nothing was written")
        asked = Issue(
            issued_by=f"{by} (console)",
            reason=reason.strip() or None,
            expected_version=None if wanted.action == STOP else seen,
            expires_at=None,
            sign_with=self._sign_with,
            wait=0.0,
            yes=True,
        )
        if wanted.action == STOP:  # there is nothing to check, and nothing may come before it: no other reading either
            return write(wanted.message(None), asked, self._settings)[0]
        if seen is None:
            raise ControlError(_NO_VERSION, Refusal.STALE)
        with Fleet(self._settings) as fleet:
            history = self._read()
            asked.check(history.log.version)
            message = _made_for(wanted.message(history), history, fleet)
        taken, self._history = write(message, asked, self._settings, history)
        return taken

    def _read(self) -> History:
        self._history = read_history(self._settings, on=self._history)
        return self._history


def _taken_back(history: History) -> str | None:
    """Whose change it is that is undone, and why it was made."""
    last = history.of_version(history.log.version)
    if last is None:
        return None
    said = record(last)
    why = f": {said['reason']}" if said["reason"] else ""
    return f"this takes back version {last.version}: {said['what']}, by {said['issued_by'] or 'unknown'}{why}"


def _made_for(message: ControlMessage, history: History, fleet: Fleet) -> ControlMessage:
    """A threshold is made for the model in force, or else for that of all live workers."""
    if not isinstance(message, SetThreshold):
        return message
    return msgspec.structs.replace(message, model=history.log.content.model or model_of_workers(fleet))

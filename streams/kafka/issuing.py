"""Issuing a control message, whoever asks for it: what goes with it, what should be known before it is written, writing it, and what became of it."""

import getpass
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Self

from msgspec import structs

from streams.errors import BrokerError, ControlError
from streams.kafka.control_history import History, read_history
from streams.kafka.control_keys import load_private_key
from streams.kafka.fleet import Fleet
from streams.kafka.publishing import publish_control
from streams.pipeline.control_content import Content
from streams.pipeline.control_fields import ScopedMessage
from streams.pipeline.control_log import Taken
from streams.pipeline.control_messages import ControlMessage, Rollback, SetCosts, SetModel, StopAutomation
from streams.pipeline.reasons import Refusal
from streams.pipeline.scope import EVERY, EVERYTHING, Scope
from streams.printable import printable
from streams.settings import Settings

_SIGNED_FOR: Final = timedelta(minutes=10)
"""How long a signed message may take to the broker, unless it is said when it expires."""
_NAMED: Final = 8
"""Policies or models that one line names."""


@dataclass(frozen=True, slots=True)
class Issue:
    """What goes with a message: for the record, for the fold, and for who issues it."""

    issued_by: str
    reason: str | None
    expected_version: int | None
    expires_at: datetime | None
    sign_with: Path | None
    wait: float
    yes: bool

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self:
        """From a command's options; takes them out of `options`."""
        given = {name: options.pop(name) for name in cls.__slots__}
        return cls(**{**given, "issued_by": given["issued_by"] or _user()})

    def on(self, version: int) -> Self:
        """The same, refused when another version is in force by then; what was asked for stays."""
        return self if self.expected_version is not None else replace(self, expected_version=version)

    def check(self, version: int) -> None:
        """Raise ControlError where another version is in force than was expected."""
        if self.expected_version not in (None, version):
            raise ControlError(
                f"version {version} is in force, not {self.expected_version}: look at what has changed. Nothing was written",
                Refusal.STALE,
            )

    def stamped(self, message: ControlMessage) -> ControlMessage:
        """The message as it is written; a signed one expires, and says when it was issued."""
        signed = self.sign_with is not None
        now = datetime.now(UTC)
        return structs.replace(
            message,
            issued_by=self.issued_by,
            reason=self.reason,
            expected_version=self.expected_version,
            expires_at=now + _SIGNED_FOR if signed and self.expires_at is None else self.expires_at,
            issued_at=now if signed else None,
        )


def write(
    message: ControlMessage, asked: Issue, settings: Settings, history: History | None = None
) -> tuple[Taken, History]:
    """Write a message, and read back what the log made of it, and the log. Raises ControlError when it was refused, BrokerError."""
    private_key = None if asked.sign_with is None else load_private_key(asked.sign_with)
    if private_key is None and settings.control_keys is not None:
        raise ControlError("only signed messages count (control_keys): give --sign-with FILE. Nothing was written")
    offset = publish_control(settings, asked.stamped(message), private_key)
    try:
        history = read_history(settings, on=history, at_least=offset + 1)
    except BrokerError as problem:
        raise BrokerError(f"it is written, at offset {offset}; what became of it is not known: {problem}") from None
    taken = history.taken[offset]
    if taken.refusal is not None:
        raise ControlError(f"refused, nothing has changed: {taken.refusal}", taken.refusal.code)
    return taken, history


def undoing(history: History) -> Rollback:
    """The message that takes back the last change. Raises ControlError where `rollback` is not what does that."""
    versions = history.log.versions
    last = history.of_version(history.log.version)
    if last is None or len(versions) < 2:  # noqa: PLR2004 - one before the last
        raise ControlError("there is no change that could be undone: no earlier version is known. Nothing was written")
    if isinstance(last.message, StopAutomation):
        named = last.message.scope._asdict().items()
        which = "".join(f" --{name} {shlex.quote(value)}" for name, value in named if value != EVERY)
        raise ControlError(
            f"the last change is a stop, which only secondlook control resume{printable(which)} takes back. Nothing was written"
        )
    return Rollback(to_version=versions[-2][0])


def model_of_workers(fleet: Fleet) -> str | None:
    """The model that all live workers have by their settings; None where they differ or there are none."""
    models = {one.settings_model for one in fleet.live.values()}
    return models.pop() or None if len(models) == 1 else None


def unknown_policy(message: ControlMessage, content: Content, fleet: Fleet) -> str | None:
    """That nobody knows the policy: a slip of the pen would change nothing, and seem to. None where somebody does, or that is not known."""
    policy = scope_of(message).policy
    live = fleet.live.values()
    if policy == EVERY or not live or any(one.model and not one.policies for one in live):
        return None
    known = sorted(
        {
            *(name for one in live for name in one.policies),
            *(scope.policy for scope in (*content.thresholds, *content.stops)),
        }
        - {EVERY}
    )
    if policy in known:
        return None
    close = get_close_matches(policy, known, n=1)
    meant = f"is {close[0]!r} meant? " if close else ""
    return f"no model of a live worker knows policy {printable(policy)!r}: {meant}{listed('They know' if close else 'they know', known)}"


def takes_away(message: ControlMessage, content: Content) -> str | None:
    """What narrower scopes have of their own that they will not have any more; None where that is nothing."""
    what, has = _kind(message, content)
    scope = scope_of(message)
    sets = message.mistakes if isinstance(message, SetCosts) else ()
    own = [str(one) for one in sorted(has) if scope.covers(one) and one not in (scope, *sets)]
    if not own:
        return None
    return f"this takes away the {what} that {some(own, '; ')} {'has' if len(own) == 1 else 'have'} of their own"


def counts_before(message: ControlMessage, content: Content) -> str | None:
    """Where the message will not count: a policy's own setting weighs more than that of a tenant, a tenant's than an outcome's."""
    what, has = _kind(message, content)
    scope = scope_of(message)
    first = [str(one) for one in sorted(has) if one.counts_before(scope)]
    return (
        f"what {some(first, '; ')} {'has' if len(first) == 1 else 'have'} of {what} counts before it, there"
        if first
        else None
    )


def reach(message: ControlMessage) -> str:
    """What the message is about; it takes away what is set inside of that."""
    if message.without_effect:
        return "what is in force stays"
    scope = scope_of(message)
    replaces = message.replaces and isinstance(message, ScopedMessage) and scope == EVERYTHING
    return f"for {printable(scope.words)}" + (", in place of their own settings" if replaces else "")


def scope_of(message: ControlMessage) -> Scope:
    """Whom it is about."""
    return getattr(message, "scope", EVERYTHING)


def listed(head: str, names: list[str]) -> str:
    """A line's end that names what there is."""
    return f"{head}: {some(names)}" if names else "No live worker says what it has"


def some(names: list[str], separator: str = ", ") -> str:
    """The first few names; scopes have commas of their own, and take another separator."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return separator.join(printable(name) for name in names[:_NAMED]) + more


def _kind(message: ControlMessage, content: Content) -> tuple[str, Mapping[Scope, object]]:
    """What it sets, or takes away, and what is set of that."""
    if not message.replaces or (isinstance(message, SetModel) and message.keep_thresholds):
        return "", {}
    return message.replaces.replace("_", " "), getattr(content, message.replaces)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"

"""Issuing a control message: checked before it is written, then followed until every live worker has it in force."""

import getpass
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Self

import click
from msgspec import structs

from streams.cli.main import settings_from
from streams.errors import BrokerError, ControlError
from streams.kafka.control_history import History, read_history
from streams.kafka.control_keys import load_private_key
from streams.kafka.fleet import LISTEN, Fleet, Standing
from streams.kafka.publishing import publish_control
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.control_content import Content
from streams.pipeline.control_fields import ScopedMessage
from streams.pipeline.control_limits import SetReviewBudget
from streams.pipeline.control_log import Taken
from streams.pipeline.control_messages import (
    ControlMessage,
    Rollback,
    SetCosts,
    SetModel,
    SetShadow,
    SetThreshold,
    StopAutomation,
)
from streams.pipeline.reasons import Refusal
from streams.pipeline.scope import EVERY, EVERYTHING, Scope
from streams.printable import printable
from streams.settings import Settings

EXIT_NOT_EVERYWHERE: Final = 3
EXIT_NO_WORKER: Final = 5
_SIGNED_FOR: Final = timedelta(minutes=10)
"""How long a signed message may take to the broker, unless --expires-at says otherwise."""
_NAMED = 8
"""Policies or models that one line names."""


@dataclass(frozen=True, slots=True)
class Issue:
    """What goes with a message: for the record, for the fold, and for this command."""

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


def issue(
    message: ControlMessage,
    asked: Issue,
    settings: Settings,
    fleet: Fleet | None,
    history: History | None = None,
    *,
    first: Callable[[], object] = lambda: None,
) -> None:
    """Check, write, and wait for the live workers; ends the command with its exit code. Raises ControlError when refused.

    Without a `fleet` it is written unchecked, and first of all. `first` is done once it is checked.
    """
    if fleet is not None and not asked.yes:
        history = history or read_history(settings)
        for one in (message, *getattr(message, "changes", ())):
            _check_policy(one, history.log.content, fleet)
        _check_reach(message, history.log.content)
        _tell_what_counts_before(message, history.log.content)
    first()
    had_shadow = history is not None and history.log.content.shadow is not None
    taken, after = write(message, asked, settings, history)
    topic = topic_names(load_topics(settings.topic_prefix))["control"]
    click.echo(f"version {taken.version}, written to {topic} at offset {taken.offset}, {_reach(message)}")
    if isinstance(message, SetModel) and message.keep_thresholds and history is not None:
        _tell_what_is_not_kept(history.log.content)
    if isinstance(message, SetModel) and not message.keep_thresholds:
        click.echo(
            "it has no threshold yet unless one was made for it: what it has none for goes to humans (set-threshold, set-costs)"
        )
    if isinstance(message, SetShadow) and message.sha256 and not (message.keep_thresholds or message.changes):
        click.echo(
            "it has no threshold: in the shadow everything goes to humans (--keep-thresholds, --threshold or --review with --mistake)"
        )
    if had_shadow and history is not None and history.log.content.shadow is None:
        click.echo("the shadow has ended")
    if asked.wait:
        with Fleet(settings) if fleet is None else nullcontext(fleet) as workers:
            of_shadow = isinstance(message, SetShadow)
            made = dict(after.log.versions).get(taken.version)
            content_hash = None if made is None else made.hash
            wait_for_fleet(workers, taken.offset + 1, taken.version, content_hash, asked.wait, of_shadow=of_shadow)


def issue_threshold(kind: type[SetThreshold | SetReviewBudget], options: dict[str, Any], **values: Any) -> None:
    """Issue what gives a threshold, made for the model in force, or else for that of all live workers."""
    scope = {name: options.pop(name) for name in Scope._fields}
    asked, settings = Issue.of(options), settings_from(options)
    with Fleet(settings) as fleet:
        history = read_history(settings)
        model = history.log.content.model or model_of_workers(fleet)
        issue(kind(**values, **scope, model=model), asked, settings, fleet, history)


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


def wait_for_fleet(
    fleet: Fleet,
    position: int,
    version: int,
    content_hash: str | None,
    wait: float,
    *,
    patient: bool = False,
    of_shadow: bool = False,
) -> None:
    """Wait until every live worker has read the control log to `position`, has `version` and does what it says, and say of each.

    `patient`: one that cannot may be able to in a moment. `of_shadow`: one that leaves the shadow out cannot. Ends the command with its exit code.
    """
    expected = frozenset(fleet.live)

    def settled() -> bool:
        standing = fleet.standing(position, version, content_hash, expected, of_shadow=of_shadow)
        return standing.everywhere or (not patient and bool(standing.unable) and not standing.silent)

    if not expected:  # none by this machine's clock: whoever there is speaks within a few seconds
        fleet.listen(min(wait, LISTEN))
    if fleet.live:
        fleet.listen(wait, settled)
    standing = fleet.standing(position, version, content_hash, expected, of_shadow=of_shadow)
    for line in _told(standing, fleet, version):
        click.echo(line)
    if not (standing.in_force or standing.unable or standing.silent):
        click.echo("no worker is live: it holds from the moment one starts")
        sys.exit(EXIT_NO_WORKER)
    if not standing.everywhere:
        sys.exit(EXIT_NOT_EVERYWHERE)


def _told(standing: Standing, fleet: Fleet, version: int) -> Iterator[str]:
    """A line on each worker, and on those that fell silent before."""
    for name, one in standing.in_force.items():
        yield f"{printable(name)}: in force, version {one.control_version}"
    for name, one in standing.unable.items():
        if one.cannot is None and one.leaves_out is not None:
            yield f"{printable(name)}: it leaves the shadow out until it can honour it: {printable(one.leaves_out)}"
        elif one.cannot is None and one.control_version == version:
            yield f"{printable(name)}: it has other controls at version {version}: does another version of secondlook run there?"
        elif one.cannot is None:
            yield f"{printable(name)}: it refused it, and has version {one.control_version} in force. Are its control_keys those of this machine?"
        else:
            yield f"{printable(name)}: everything goes to humans, it cannot do that: {printable(one.cannot)}"
    for name, one in standing.silent.items():
        yield f"{printable(name)}: silent for {fleet.age(one):.0f} s, it has not said that it has it in force"
    for name, one in fleet.gone.items():
        if name not in standing.silent:
            yield f"{printable(name)}: not counted, last heard {printable(one.at)}: it ended badly, or hangs"


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


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def _check_policy(message: ControlMessage, content: Content, fleet: Fleet) -> None:
    """Raise ControlError for a policy that nobody knows: a slip of the pen would change nothing, and seem to."""
    policy = _scope(message).policy
    live = fleet.live.values()
    if policy == EVERY or not live or any(one.model and not one.policies for one in live):
        return
    known = sorted(
        {
            *(name for one in live for name in one.policies),
            *(scope.policy for scope in (*content.thresholds, *content.stops)),
        }
        - {EVERY}
    )
    if policy in known:
        return
    close = get_close_matches(policy, known, n=1)
    meant = f"is {close[0]!r} meant? " if close else ""
    raise ControlError(
        f"no model of a live worker knows policy {printable(policy)!r}: {meant}{listed('They know' if close else 'they know', known)} (--yes to write it all the same)"
    )


def _check_reach(message: ControlMessage, content: Content) -> None:
    """Ask before what narrower scopes have is taken away. Raises ControlError where nobody is there to answer."""
    what, has = _kind(message, content)
    scope = _scope(message)
    sets = message.mistakes if isinstance(message, SetCosts) else ()
    own = [str(one) for one in sorted(has) if scope.covers(one) and one not in (scope, *sets)]
    if not own:
        return
    lost = f"this takes away the {what} that {some(own, '; ')} {'has' if len(own) == 1 else 'have'} of their own"
    if not sys.stdin.isatty():
        narrower = "--keep-thresholds" if isinstance(message, SetModel) else "narrow it (--policy, --tenant, --outcome)"
        raise ControlError(f"{lost}: say --yes if that is meant, or {narrower}. Nothing was written")
    if not click.confirm(f"{lost}. Go on?"):
        raise ControlError("not confirmed: nothing was written")


def _tell_what_counts_before(message: ControlMessage, content: Content) -> None:
    """Say where the message will not count: a policy's own setting weighs more than that of a tenant, a tenant's than an outcome's."""
    what, has = _kind(message, content)
    scope = _scope(message)
    first = [str(one) for one in sorted(has) if one.counts_before(scope)]
    if first:
        click.echo(f"what {some(first, '; ')} {'has' if len(first) == 1 else 'have'} of {what} counts before it, there")


def _tell_what_is_not_kept(content: Content) -> None:
    """Say what `keep_thresholds` does not keep."""
    bound = [str(scope) for scope, one in sorted(content.thresholds.items()) if one.origin == "bound"]
    if bound:
        click.echo(
            f"a risk bound is of one model: {some(bound, '; ')} goes to humans until set-risk-bound or set-threshold"
        )
    moved = [str(scope) for scope, one in sorted(content.thresholds.items()) if one.budget is not None]
    if moved:
        click.echo(f"the review budget of {some(moved, '; ')} begins anew at its lowest threshold")


def _kind(message: ControlMessage, content: Content) -> tuple[str, Mapping[Scope, object]]:
    """What it sets, or takes away, and what is set of that."""
    if not message.replaces or (isinstance(message, SetModel) and message.keep_thresholds):
        return "", {}
    return message.replaces.replace("_", " "), getattr(content, message.replaces)


def _reach(message: ControlMessage) -> str:
    """What the message is about; it takes away what is set inside of that."""
    if message.without_effect:
        return "what is in force stays"
    scope = _scope(message)
    replaces = message.replaces and isinstance(message, ScopedMessage) and scope == EVERYTHING
    return f"for {printable(scope.words)}" + (", in place of their own settings" if replaces else "")


def _scope(message: ControlMessage) -> Scope:
    return getattr(message, "scope", EVERYTHING)


def listed(head: str, names: list[str]) -> str:
    """A line's end that names what there is."""
    return f"{head}: {some(names)}" if names else "No live worker says what it has"


def some(names: list[str], separator: str = ", ") -> str:
    """The first few names; scopes have commas of their own, and take another separator."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return separator.join(printable(name) for name in names[:_NAMED]) + more

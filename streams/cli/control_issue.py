"""Issuing a control message by a command: checked before it is written, then followed until every live worker has it in force."""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, Final

import click

from streams.cli.main import settings_from
from streams.errors import ControlError
from streams.kafka.control_history import History, read_history
from streams.kafka.fleet import LISTEN, Fleet, Standing
from streams.kafka.issuing import Issue, counts_before, model_of_workers, reach, some, takes_away, unknown_policy, write
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.control_content import Content
from streams.pipeline.control_limits import SetReviewBudget
from streams.pipeline.control_messages import ControlMessage, SetModel, SetShadow, SetThreshold
from streams.pipeline.scope import Scope
from streams.printable import printable
from streams.settings import Settings

EXIT_NOT_EVERYWHERE: Final = 3
EXIT_NO_WORKER: Final = 5


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
        if (first_there := counts_before(message, history.log.content)) is not None:
            click.echo(first_there)
    first()
    had_shadow = history is not None and history.log.content.shadow is not None
    taken, after = write(message, asked, settings, history)
    topic = topic_names(load_topics(settings.topic_prefix))["control"]
    click.echo(f"version {taken.version}, written to {topic} at offset {taken.offset}, {reach(message)}")
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


def _check_policy(message: ControlMessage, content: Content, fleet: Fleet) -> None:
    """Raise ControlError for a policy that nobody knows."""
    if (problem := unknown_policy(message, content, fleet)) is not None:
        raise ControlError(f"{problem} (--yes to write it all the same)")


def _check_reach(message: ControlMessage, content: Content) -> None:
    """Ask before what narrower scopes have is taken away. Raises ControlError where nobody is there to answer."""
    lost = takes_away(message, content)
    if lost is None:
        return
    if not sys.stdin.isatty():
        narrower = "--keep-thresholds" if isinstance(message, SetModel) else "narrow it (--policy, --tenant, --outcome)"
        raise ControlError(f"{lost}: say --yes if that is meant, or {narrower}. Nothing was written")
    if not click.confirm(f"{lost}. Go on?"):
        raise ControlError("not confirmed: nothing was written")


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

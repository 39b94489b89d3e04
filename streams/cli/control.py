"""`secondlook control`: see what is in force, and change it while the stream runs."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from scoring import ACCOUNTINGS
from streams.cli.control_compact import compact_log
from streams.cli.control_issue import Issue, issue, model_of_workers, undoing, wait_for_fleet
from streams.cli.control_prepare import full_sha256, prepare
from streams.cli.control_show import show_diff, show_history, show_in_force
from streams.cli.control_watch import watch_in_force
from streams.cli.main import ResultFile, setting_options, settings_from
from streams.cli.printable import printable
from streams.errors import ControlError
from streams.kafka.control_history import read_history
from streams.kafka.control_keys import write_private_key
from streams.kafka.fleet import Fleet
from streams.pipeline.control_content import EVERY_POLICY
from streams.pipeline.control_messages import (
    ControlMessage,
    ResumeAutomation,
    Rollback,
    SetAuditRate,
    SetCosts,
    SetModel,
    SetThreshold,
    StopAutomation,
)

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SETTINGS = ("broker", "topic_prefix", "control_keys", "control_signed_from")
_F = TypeVar("_F", bound=Callable[..., Any])


@click.group()
def control() -> None:
    """See what is in force, and change it while the stream runs.

    \b
    stop all automation          secondlook control stop --reason "wrong removals"
    what is in force, by whom    secondlook control show
    what would 0.2 do            secondlook control simulate --threshold 0.2
    undo the last change         secondlook control rollback

    What changes something writes one message to the control topic and waits for the live workers. Exit codes: 0 it is in force
    on all of them; 3 not on all (those are named: silent, or unable and why); 4 refused, nothing has changed; 5 written, but no
    worker is live; 2 wrong usage; 1 no broker, or another failure.
    """  # noqa: D301 - click's mark for lines that stay as they are


class _Number(click.ParamType):
    """A number within bounds, or one line that says what it may be."""

    name = "NUMBER"

    def __init__(self, what: str, most: float = float("inf"), *, zero: bool = True) -> None:
        self._what, self._most, self._zero = what, most, zero

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not 0 <= number <= self._most or number == float("inf") or not (number or self._zero):
            limits = f"from 0 to {self._most:g}" if self._most < float("inf") else "above 0"
            raise ControlError(f"{value!r} is no {self._what}: that is a number {limits}. Nothing was written")
        return number


class _Moment(click.ParamType):
    name = "TIME"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> datetime:
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ControlError(f"{value!r} is no time with its zone, such as 2026-01-31T09:00:00Z. Nothing was written")
        return moment


def _reading(command: _F) -> _F:
    return setting_options(*_SETTINGS)(command)


def _issuing_by(*more: str) -> Callable[[_F], _F]:
    """The options of a command that writes a message, and goes by more settings than those of the broker."""
    return lambda command: _with_options(command, *more)


def _issuing(command: _F) -> _F:
    return _with_options(command)


def _with_options(command: _F, *more: str) -> _F:
    options = (
        click.option(
            "--issued-by",
            envvar="SECONDLOOK_ISSUED_BY",
            metavar="NAME",
            help="Who issues it, for the record.  [default: $SECONDLOOK_ISSUED_BY, else the user of this machine]",
        ),
        click.option("--reason", metavar="TEXT", help="Why, for the record."),
        click.option(
            "--expected-version",
            type=click.IntRange(0),
            metavar="N",
            help="Refuse it when another version is in force by then.",
        ),
        click.option(
            "--expires-at",
            type=_Moment(),
            metavar="TIME",
            help="Refuse it when the broker gets it at this time or later.",
        ),
        click.option(
            "--sign-with",
            type=_FILE,
            envvar="SECONDLOOK_SIGN_WITH",
            metavar="FILE",
            help="Sign it with the private key of this file (control keygen); it then expires after ten minutes.  [default: $SECONDLOOK_SIGN_WITH]",
        ),
        click.option(
            "--wait",
            type=click.FloatRange(0),
            default=10.0,
            show_default=True,
            help="Seconds to wait for the live workers; 0: only write it.",
        ),
        click.option("--yes", is_flag=True, help="Do not ask, and do not stop at what looks like a mistake."),
        setting_options(*_SETTINGS, *more),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _policy(text: str) -> Callable[[_F], _F]:
    return click.option("--policy", default=EVERY_POLICY, show_default=True, help=text)


def _issue(message: ControlMessage, options: dict[str, Any]) -> None:
    asked, settings = Issue.of(options), settings_from(options)
    with Fleet(settings) as fleet:
        issue(message, asked, settings, fleet)


_of_setting = _policy("The policy; * sets it for all, their own settings included.")
_of_stop = _policy("The policy; * = all of them.")


@control.command("set-threshold")
@click.argument("value", type=_Number("threshold", 1.0))
@_of_setting
@_issuing
def set_threshold(value: float, policy: str, **options: Any) -> None:
    """Escalate where P(error) is at or above VALUE. VALUE is 0 to 1; the lower, the more goes to humans."""
    asked = Issue.of(options)
    settings = settings_from(options)
    with Fleet(settings) as fleet:
        history = read_history(settings)
        model = None if history.log.content.model else model_of_workers(fleet)
        issue(SetThreshold(threshold=value, policy=policy, model=model), asked, settings, fleet, history)


@control.command("set-costs")
@click.option("--review", type=_Number("cost", zero=False), required=True, help="Cost of one human review.")
@click.option("--mistake", type=_Number("cost", zero=False), required=True, help="Cost of acting on one wrong verdict.")
@click.option("--accounting", type=click.Choice(ACCOUNTINGS), default=ACCOUNTINGS[0], show_default=True)
@_of_setting
@_issuing
def set_costs(review: float, mistake: float, accounting: Any, policy: str, **options: Any) -> None:
    """Set the threshold that follows from the costs. It needs a calibrated model."""
    _issue(SetCosts(accounting=accounting, review=review, mistake=mistake, policy=policy), options)


@control.command("set-audit-rate")
@click.argument("rate", type=_Number("audit rate", 1.0))
@_of_setting
@_issuing
def set_audit_rate(rate: float, policy: str, **options: Any) -> None:
    """Audit a share of what is automated. RATE (0 to 1) of the automatic decisions goes to a human as well."""
    _issue(SetAuditRate(rate=rate, policy=policy), options)


@control.command("set-model")
@click.argument("sha256")
@click.option(
    "--keep-thresholds",
    is_flag=True,
    help="Keep the thresholds in force, which were made for another model; both must be calibrated.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Put it in force though no worker was asked to prepare it; needs --yes. One that lacks it sends everything to humans.",
)
@_issuing
def set_model(sha256: str, keep_thresholds: bool, force: bool, **options: Any) -> None:
    """Score with another model, once every live worker is ready.

    First each live worker fetches, loads and checks it; only when all say that they could go on with it, it is put in force.
    SHA256 may be cut short where one model of the live workers, or of the models topic, begins so. Without --keep-thresholds
    everything goes to humans until set-threshold or set-costs gives it a threshold of its own.
    """
    asked = Issue.of(options)
    if force and not asked.yes:
        raise click.UsageError("--force needs --yes: workers without the model will send everything to humans")
    settings = settings_from(options)
    with Fleet(settings) as fleet:
        message = SetModel(sha256=full_sha256(sha256, settings, fleet), keep_thresholds=keep_thresholds)
        first = (lambda: None) if force else (lambda: prepare(message, asked, settings, fleet))
        issue(message, asked, settings, fleet, first=first)


@control.command()
@click.option("--threshold", type=_Number("threshold", 1.0), help="Try this threshold, 0 to 1.")
@click.option("--review", type=_Number("cost", zero=False), help="Try the costs of a review ...")
@click.option("--mistake", type=_Number("cost", zero=False), help="... and of a mistake.")
@click.option("--accounting", type=click.Choice(ACCOUNTINGS), default=ACCOUNTINGS[0], show_default=True)
@click.option("--sha256", metavar="SHA256", help="Try this model: one of the model directory or of the models topic.")
@click.option("--keep-thresholds", is_flag=True, help="With a model: keep the thresholds in force.")
@_of_setting
@click.option("--last", type=click.IntRange(1), default=10_000, show_default=True, help="The last so many answers.")
@click.option("--since", type=_Moment(), metavar="TIME", help="Only answers from this time on.")
@click.option("--vectors", type=_FILE, metavar="FILE", help="JSONL of vectors (.xz, .gz), in place of their topic.")
@click.option("--decisions", type=_FILE, metavar="FILE", help="With --vectors: JSONL of human decisions.")
@click.option(
    "--routed",
    type=_FILE,
    metavar="FILE",
    help="With --decisions: JSONL of the decisions that went to auto-action and human-review, audits among them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("--plot", type=ResultFile(), metavar="FILE", help="Write escalation and error over thresholds, as SVG.")
@click.option("--apply", "apply", is_flag=True, help="Issue exactly what was simulated.")
@_issuing_by("model", "cost_review", "cost_mistake", "cost_accounting")
def simulate(**options: Any) -> None:
    """Show what a change would do, before it is made. Recent answers, decided anew by a threshold, costs or a model; by policy.

    Thresholds and models that are in force now are those of the control log, and of this machine's settings where the log says nothing.
    """
    from streams.cli.control_simulate import Proposal, run_simulation

    asked = Issue.of(options)
    proposal = Proposal.of(options)
    sources = {
        name: options.pop(name)
        for name in ("last", "since", "vectors", "decisions", "routed", "as_json", "plot", "apply")
    }
    run_simulation(proposal, asked, settings_from(options), **sources)


@control.command()
@_of_stop
@_issuing
def stop(policy: str, **options: Any) -> None:
    """Stop automation, all of it or a policy's. Every verdict goes to a human until `resume`."""
    if policy == EVERY_POLICY:  # there is nothing to check, and nothing may come before it
        issue(StopAutomation(policy=policy), Issue.of(options), settings_from(options), None)
    else:
        _issue(StopAutomation(policy=policy), options)


@control.command()
@_of_stop
@_issuing
def resume(policy: str, **options: Any) -> None:
    """Take back a `stop`, and automate again. A policy that was stopped by its own name stays stopped when all is resumed."""
    _issue(ResumeAutomation(policy=policy), options)


@control.command()
@click.argument("version", type=click.IntRange(0), required=False)
@_issuing
def rollback(version: int | None, **options: Any) -> None:
    """Undo the last change, or all since VERSION. What was in force before is put in force again; a `stop` stays until `resume`."""
    if version is not None:
        _issue(Rollback(to_version=version), options)
        return
    asked, settings = Issue.of(options), settings_from(options)
    with Fleet(settings) as fleet:
        history = read_history(settings)
        message, asked = undoing(history, asked)
        issue(message, asked, settings, fleet, history)


@control.command()
@_issuing
def compact(**options: Any) -> None:
    """Shorten the control log, so that starts are quick. A snapshot stands for all before it, which is deleted: a start then reads no further back.

    What is in force stays. Of the versions before it, only the last can still be rolled back to, and the history keeps only their
    messages and those that set what is in force. It says which, and asks.
    """
    asked = Issue.of(options)
    compact_log(asked, settings_from(options))


@control.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("name")
def keygen(file: Path, name: str) -> None:
    """Make a key to sign with. FILE gets the private key; what is printed is the line for the file of public keys (control_keys)."""
    click.echo(f"{write_private_key(file)} {printable(name)}")


@control.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON; with --watch, a line at each change.")
@click.option("--watch", is_flag=True, help="Keep it on the screen, renewed every second, until Ctrl-C.")
@_reading
def show(as_json: bool, watch: bool, **options: Any) -> None:
    """Show what is in force, who set it, and which workers have it. By policy, with when and why, and what each live worker makes of it."""
    settings = settings_from(options)
    if watch:
        watch_in_force(settings, as_json=as_json)
    else:
        show_in_force(settings, as_json=as_json)


@control.command()
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="So many messages.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON lines.")
@_reading
def history(last: int, as_json: bool, **options: Any) -> None:
    """List the last changes, and who made them. Every control message, when and why, and what became of it."""
    show_history(settings_from(options), last=last, as_json=as_json)


@control.command()
@click.argument("before", metavar="V1", type=click.IntRange(0))
@click.argument("after", metavar="V2", type=click.IntRange(0))
@_reading
def diff(before: int, after: int, **options: Any) -> None:
    """Show what two versions differ in."""
    show_diff(settings_from(options), before, after)


@control.command()
@click.option("--wait", type=click.FloatRange(0), default=10.0, show_default=True, help="Seconds to wait at most.")
@_reading
def wait(wait: float, **options: Any) -> None:
    """Wait until every live worker has in force what the control log says by now."""
    settings = settings_from(options)
    with Fleet(settings) as fleet:
        log = read_history(settings).log
        wait_for_fleet(fleet, log.position, log.version, wait, patient=True)

"""`secondlook control`: see what is in force, and change it while the stream runs."""

from pathlib import Path
from typing import Any

import click

from streams.cli import control_shadow
from streams.cli.control_compact import compact_log
from streams.cli.control_issue import issue, issue_threshold, wait_for_fleet
from streams.cli.control_limits import set_review_budget, set_risk_bound
from streams.cli.control_options import (
    FILE,
    Moment,
    Number,
    costs,
    issuing,
    issuing_by,
    of_setting,
    of_stop,
    proposing,
    reading,
    taken,
)
from streams.cli.control_plan import plan
from streams.cli.control_prepare import full_sha256, prepare
from streams.cli.control_proposal import COSTS, Proposal, check_costs
from streams.cli.control_show import show_diff, show_history, show_in_force
from streams.cli.control_watch import watch_in_force
from streams.cli.main import ResultFile, settings_from
from streams.console.in_force import record
from streams.kafka.control_history import read_history
from streams.kafka.control_keys import write_private_key
from streams.kafka.fleet import Fleet
from streams.kafka.issuing import Issue, undoing
from streams.pipeline.control_messages import (
    ClearShadow,
    ControlMessage,
    ResumeAutomation,
    Rollback,
    SetAuditRate,
    SetCosts,
    SetModel,
    SetThreshold,
    StopAutomation,
)
from streams.pipeline.scope import EVERY, Scope
from streams.printable import printable


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


def _issue(message: ControlMessage, options: dict[str, Any]) -> None:
    asked, settings = Issue.of(options), settings_from(options)
    with Fleet(settings) as fleet:
        issue(message, asked, settings, fleet)


@control.command("set-threshold")
@click.argument("value", type=Number("threshold", 1.0))
@of_setting
@issuing
def set_threshold(value: float, **options: Any) -> None:
    """Escalate where P(error) is at or above VALUE. VALUE is 0 to 1; the lower, the more goes to humans.

    What was set inside of the policy, tenant and outcome named is replaced. Of what then holds for a decision, the most specific counts:
    the policy weighs more than the tenant, the tenant more than the outcome.
    """
    issue_threshold(SetThreshold, options, threshold=value)


@control.command("set-costs")
@costs(required=True)
@of_setting
@issuing
def set_costs(**options: Any) -> None:
    """Set the threshold that follows from the costs. It needs a calibrated model.

    Give --mistake, or --missed-violation and --wrong-removal: then each outcome has its own threshold.
    """
    message = SetCosts(**taken(options, *COSTS, *Scope._fields))
    check_costs(message)
    _issue(message, options)


control.add_command(set_review_budget)
control.add_command(set_risk_bound)
control.add_command(plan)


@control.command("set-audit-rate")
@click.argument("rate", type=Number("audit rate", 1.0))
@click.option(
    "--floor",
    type=Number("audit rate", 1.0),
    default=0.0,
    help="The least share, whatever rates are set inside of it; not above RATE.",
)
@of_setting
@issuing
def set_audit_rate(rate: float, floor: float, **options: Any) -> None:
    """Audit a share of what is automated. RATE (0 to 1) of the automatic decisions goes to a human as well.

    What is rarely automated needs a rate of its own, or it is hardly ever audited.
    """
    _issue(SetAuditRate(rate=rate, floor=floor, **taken(options, *Scope._fields)), options)


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
@issuing
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
@proposing
@click.option("--last", type=click.IntRange(1), default=10_000, show_default=True, help="The last so many answers.")
@click.option("--since", type=Moment(), metavar="TIME", help="Only answers from this time on.")
@click.option("--vectors", type=FILE, metavar="FILE", help="JSONL of vectors (.xz, .gz), in place of their topic.")
@click.option("--decisions", type=FILE, metavar="FILE", help="With --vectors: JSONL of human decisions.")
@click.option(
    "--routed",
    type=FILE,
    metavar="FILE",
    help="With --decisions: JSONL of the decisions that went to auto-action and human-review, audits among them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("--plot", type=ResultFile(), metavar="FILE", help="Write escalation and error over thresholds, as SVG.")
@click.option("--apply", "apply", is_flag=True, help="Issue exactly what was simulated.")
@issuing_by("model", "cost_review", "cost_mistake", "cost_accounting")
def simulate(**options: Any) -> None:
    """Show what a change would do, before it is made. Recent answers, decided anew by a threshold, costs or a model; by policy.

    Thresholds and models that are in force now are those of the control log, and of this machine's settings where the log says nothing.
    """
    from streams.cli.control_simulate import run_simulation

    asked = Issue.of(options)
    proposal = Proposal.of(options)
    settings = settings_from(options)
    run_simulation(proposal, asked, settings, **options)


@control.command("set-shadow")
@proposing
@issuing
def set_shadow(**options: Any) -> None:
    """Decide with a second model or other thresholds, without effect. Stamped on decisions and counted beside what is in force.

    The options are those of `simulate`, for what comes from now on. A shadow takes the place of the one before. A model is first
    got ready on all live workers, unless there is no time for that (--wait 0): one that lacks it leaves the shadow out until it has it.
    """
    asked = Issue.of(options)
    control_shadow.issue_shadow(Proposal.of(options), asked, settings_from(options))


@control.command("clear-shadow")
@issuing
def clear_shadow(**options: Any) -> None:
    """End the shadow. What is in force stays."""
    _issue(ClearShadow(), options)


@control.command("show-shadow")
@click.option(
    "--last", type=click.IntRange(1), default=10_000, show_default=True, help="Of each route, the last so many."
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@reading
def show_shadow(last: int, as_json: bool, **options: Any) -> None:
    """Show how the shadow does. Recent decisions made beside it that would differ: by policy, what flips."""
    control_shadow.show_shadow(settings_from(options), last=last, as_json=as_json)


@control.command()
@of_stop
@issuing
def stop(**options: Any) -> None:
    """Stop automation, all of it or a part. Every verdict, or those of a policy, tenant or outcome, goes to a human until `resume`."""
    message = StopAutomation(**taken(options, *Scope._fields))
    if message.policy == EVERY:  # there is nothing to check, and nothing may come before it
        issue(message, Issue.of(options), settings_from(options), None)
    else:
        _issue(message, options)


@control.command()
@of_stop
@issuing
def resume(**options: Any) -> None:
    """Take back a `stop`, and automate again. By the names that it was stopped by: what has a stop of its own stays stopped when all is resumed."""
    _issue(ResumeAutomation(**taken(options, *Scope._fields)), options)


@control.command()
@click.argument("version", type=click.IntRange(0), required=False)
@issuing
def rollback(version: int | None, **options: Any) -> None:
    """Undo the last change, or all since VERSION. What was in force before is put in force again; a `stop` stays until `resume`.

    A rollback is a change as well: the next one undoes it, and goes no further back. To go further back, give the VERSION (`history`).
    """
    asked, settings = Issue.of(options), settings_from(options)
    with Fleet(settings) as fleet:
        history = read_history(settings)
        asked = asked.on(history.log.version)
        if version is None:
            message = undoing(history)
            undone = record(history.taken[history.log.version - 1])
            click.echo(
                f"undoing version {undone['version']}: {printable(undone['what'])}, by {printable(undone['issued_by'] or 'unknown')}"
            )
        else:
            message = Rollback(to_version=version)
        issue(message, asked, settings, fleet, history)


@control.command()
@issuing
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
@reading
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
@reading
def history(last: int, as_json: bool, **options: Any) -> None:
    """List the last changes, and who made them. Every control message, when and why, and what became of it."""
    show_history(settings_from(options), last=last, as_json=as_json)


@control.command()
@click.argument("before", metavar="V1", type=click.IntRange(0))
@click.argument("after", metavar="V2", type=click.IntRange(0))
@reading
def diff(before: int, after: int, **options: Any) -> None:
    """Show what two versions differ in."""
    show_diff(settings_from(options), before, after)


@control.command()
@click.option("--wait", type=click.FloatRange(0), default=10.0, show_default=True, help="Seconds to wait at most.")
@reading
def wait(wait: float, **options: Any) -> None:
    """Wait until every live worker has in force what the control log says by now."""
    settings = settings_from(options)
    with Fleet(settings) as fleet:
        log = read_history(settings).log
        wait_for_fleet(fleet, log.position, log.version, log.content.hash, wait, patient=True)

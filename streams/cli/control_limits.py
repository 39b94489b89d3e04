"""`secondlook control set-review-budget` and `set-risk-bound`: what a threshold is to achieve, in place of the threshold."""

from typing import Any

import click

from streams.cli.control_issue import issue_threshold
from streams.cli.control_options import FILE, Number, issuing, issuing_by, of_setting, taken
from streams.cli.main import settings_from
from streams.kafka.issuing import Issue
from streams.pipeline.control_limits import SetReviewBudget
from streams.pipeline.scope import Scope


@click.command("set-review-budget")
@click.argument("share", type=Number("share", 1.0, zero=False))
@click.option("--lowest", type=Number("threshold", 1.0), required=True, help="Limit: the threshold never goes below.")
@click.option("--highest", type=Number("threshold", 1.0), required=True, help="Limit: it never goes above.")
@of_setting
@issuing
def set_review_budget(share: float, lowest: float, highest: float, **options: Any) -> None:
    """Send a share of the traffic to humans. SHARE is 0 to 1; the workers move the threshold for it, slowly, between the limits.

    It begins at the threshold in force, or at the limit next to it. A threshold, costs or a bound that is set ends it. `show` says how it
    stands, `history` how it was moved. With signed controls the workers need a key of their own (control_sign_with).
    """
    issue_threshold(SetReviewBudget, options, share=share, lowest=lowest, highest=highest)


@click.command("set-risk-bound")
@click.option(
    "--max-risk",
    type=Number("risk", 1.0, zero=False),
    required=True,
    help="Most wrong verdicts among the automated, 0 to 1.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="How sure it is to be, over the draw of the labels.",
)
@click.option("--from-topics", is_flag=True, help="Certify it on the audits in human-review and human-decisions.")
@click.option(
    "--labels",
    "files",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="Certify it on labelled answers, as `evaluate --data` reads them; may be repeated.",
)
@click.option(
    "--drawn-at-random",
    is_flag=True,
    help="With --labels: every item of the traffic had the same chance to be among them.",
)
@of_setting
@issuing_by("model")
def set_risk_bound(**options: Any) -> None:
    """Bound the error of what is automated. It certifies the largest threshold that labels allow for the model in force, or refuses.

    Labels must be a fair draw of what is automated: audits are (set-audit-rate), what was escalated is not. It needs the `train` extra.
    For another model it does not hold: set-model takes it away, and its scope is closed until it is certified anew.
    """
    from streams.cli.control_risk_bound import run_risk_bound

    scope, asked = Scope(**taken(options, *Scope._fields)), Issue.of(options)
    settings = settings_from(options)
    run_risk_bound(scope, asked, settings, **options)

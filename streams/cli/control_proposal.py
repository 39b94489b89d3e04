"""What `secondlook control simulate` tries: from a command's options to the messages that would put it in force."""

from dataclasses import dataclass
from typing import Any, Final, Self

import click

from scoring import Accounting
from streams.pipeline.control_messages import ControlMessage, SetCosts, SetModel, SetThreshold
from streams.pipeline.scope import EVERY, Outcome, Scope
from streams.pipeline.simulation import Costs
from streams.settings import Settings

COSTS: Final = ("review", "mistake", "missed_violation", "wrong_removal", "accounting")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be tried: a model, and a threshold or costs, or one of them."""

    threshold: float | None
    review: float | None
    mistake: float | None
    missed_violation: float | None
    wrong_removal: float | None
    accounting: Accounting
    sha256: str | None
    keep_thresholds: bool
    policy: str
    tenant: str
    outcome: Outcome

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self:
        """From a command's options; takes them out of `options`. Raises click.UsageError on what makes no sense together."""
        given = cls(**{name: options.pop(name) for name in cls.__slots__})
        of_a_mistake = (given.mistake, given.missed_violation, given.wrong_removal)
        if given.review is None and of_a_mistake != (None, None, None):
            raise click.UsageError("--review goes with --mistake, or with --missed-violation and --wrong-removal")
        if given.review is not None:
            check_costs(given.set_costs(given.review))
        if given.threshold is not None and given.review is not None:
            raise click.UsageError("give --threshold, or costs, not both")
        if given.sha256 is None and given.threshold is None and given.review is None:
            raise click.UsageError("say what to try: --threshold, --review with --mistake, or --sha256 of a model")
        if given.keep_thresholds and given.sha256 is None:
            raise click.UsageError("--keep-thresholds goes with --sha256")
        return given

    @property
    def scope(self) -> Scope:
        """What it is about."""
        return Scope(self.policy, self.tenant, self.outcome)

    def set_costs(self, review: float) -> SetCosts:
        """The message that puts its costs in force."""
        return SetCosts(
            **self.scope._asdict(),
            accounting=self.accounting,
            review=review,
            mistake=self.mistake,
            missed_violation=self.missed_violation,
            wrong_removal=self.wrong_removal,
        )

    def messages(self, sha256: str | None, made_for: str | None) -> list[ControlMessage]:
        """The control messages that put it in force, the model first; a threshold of `made_for` where the log names no model."""
        found: list[ControlMessage] = []
        if sha256 is not None:
            found.append(SetModel(sha256=sha256, keep_thresholds=self.keep_thresholds))
        if self.threshold is not None:
            found.append(SetThreshold(**self.scope._asdict(), threshold=self.threshold, model=made_for))
        elif self.review is not None:
            found.append(self.set_costs(self.review))
        return found

    def costs(self, settings: Settings) -> Costs:
        """Those that are tried, else those of the settings."""
        if self.review is None:
            accounting: Any = settings.cost_accounting
            return Costs(settings.cost_review, settings.cost_mistake, settings.cost_mistake, accounting)
        missed, wrong = self.missed_violation, self.wrong_removal
        if missed is None or wrong is None:
            missed = wrong = self.mistake or 0.0
        return Costs(self.review, missed, wrong, self.accounting)


def check_costs(message: SetCosts) -> None:
    """Raise click.UsageError where it is not said what a mistake costs, or said twice."""
    by_outcome = (message.missed_violation, message.wrong_removal)
    given = 1 if message.mistake is not None else 0
    if (given and by_outcome != (None, None)) or (not given and None in by_outcome):
        raise click.UsageError("give --mistake, or --missed-violation and --wrong-removal")
    if not given and message.outcome != EVERY:
        raise click.UsageError("--missed-violation and --wrong-removal are for both outcomes: leave out --outcome")

"""Control messages that say what a threshold is to achieve: a share of the traffic to humans, or a bound on the error among the automated."""

from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import msgspec

from streams.errors import ControlError
from streams.pipeline.control_content import Bound, Budget, Content, Threshold
from streams.pipeline.control_fields import MadeFor, Restore, ScopedMessage, Sha256, model_for
from streams.pipeline.reasons import Refusal
from streams.pipeline.scope import by_specificity

_Threshold = Annotated[
    float, msgspec.Meta(ge=0, le=1, description="P(error), 0 to 1, at and above which a human decides.")
]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class SetReviewBudget(ScopedMessage, tag="set_review_budget"):
    """Have `share` of the traffic go to humans: from now on the workers move the threshold for that, within the limits.

    It begins at the threshold that is in force, or at the limit next to it; at `lowest` where none is known.
    """

    replaces: ClassVar[str] = "thresholds"
    share: Annotated[float, msgspec.Meta(gt=0, lt=1, description="Share of the decisions that is to go to humans.")]
    lowest: Annotated[float, msgspec.Meta(ge=0, le=1, description="Limit: P(error) below which it never goes.")]
    highest: Annotated[float, msgspec.Meta(ge=0, le=1, description="Limit: P(error) above which it never goes.")]
    model: MadeFor = None

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """The scope has this budget, in place of whatever gave its threshold."""
        if self.lowest > self.highest:
            raise ControlError(f"its lowest threshold, {self.lowest:g}, is above its highest, {self.highest:g}")
        model = model_for(content, self.model)
        budget = Budget(self.share, self.lowest, self.highest, version)
        mine = Threshold(self._start(content, model), "budget", model, since=version, budget=budget)
        thresholds = content.thresholds.placed(self.scope, {self.scope: mine})
        return msgspec.structs.replace(content, thresholds=thresholds)

    def _start(self, content: Content, model: str | None) -> float:
        scopes = by_specificity(*self.scope)
        now = next((content.thresholds[one] for one in scopes if one in content.thresholds), None)
        if now is None or now.value is None or now.model not in (None, model):
            return self.lowest
        return min(max(now.value, self.lowest), self.highest)


class AdjustThreshold(ScopedMessage, tag="adjust_threshold"):
    """Move the threshold of a review budget. A worker issues it; it must name the `expected_version`, lest two move it at once."""

    threshold: _Threshold

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """The threshold is moved, the budget stays."""
        if self.expected_version is None:
            raise ControlError("it names no expected_version: two workers could both move the threshold")
        scope = self.scope
        now = content.thresholds.get(scope)
        if now is None or now.budget is None:
            raise ControlError(
                f"{scope.words} has no review budget that its threshold could be moved for", Refusal.NO_BUDGET
            )
        if not now.budget.lowest <= self.threshold <= now.budget.highest:
            raise ControlError(
                f"{self.threshold:g} is outside of the budget's limits, {now.budget.lowest:g} to {now.budget.highest:g}",
                Refusal.NO_BUDGET,
            )
        moved = msgspec.structs.replace(now, value=self.threshold, since=version)
        return msgspec.structs.replace(content, thresholds=content.thresholds.changed(scope, moved))


class SetRiskBound(ScopedMessage, tag="set_risk_bound"):
    """The threshold below which at most `max_risk` of the verdicts are wrong, with `confidence`: certified on labels, for one model.

    `secondlook control set-risk-bound` certifies it; a worker takes its word, unless its own counts speak against it.
    """

    replaces: ClassVar[str] = "thresholds"
    max_risk: Annotated[
        float, msgspec.Meta(gt=0, lt=1, description="Most wrong verdicts among the automated, a share.")
    ]
    confidence: Annotated[
        float, msgspec.Meta(ge=0.5, lt=1, description="Probability that the bound holds, over the draw of the labels.")
    ]
    threshold: _Threshold
    labels: Annotated[_Count, msgspec.Meta(description="Labelled decisions that it was certified on.")]
    automated: Annotated[_Count, msgspec.Meta(description="Those of them below the threshold.")]
    errors: Annotated[_Count, msgspec.Meta(description="Those of these where the LLM was wrong.")]
    labels_sha256: Annotated[Sha256, msgspec.Meta(description="Hash of the labels.")]
    sample: Annotated[
        Literal["audits", "drawn-at-random"],
        msgspec.Meta(
            description="Why the labels are a fair draw: audits of what was automated, or items drawn at random, by the issuer's word."
        ),
    ]
    model: Annotated[Sha256, msgspec.Meta(description="The model whose scores it was certified on.")]
    method: Annotated[Literal["learn-then-test"], msgspec.Meta(description="How it was certified.")] = "learn-then-test"

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """The scope has this bound, in place of whatever gave its threshold."""
        if not self.errors <= self.automated <= self.labels:
            raise ControlError("its counts contradict each other: errors <= automated <= labels")
        # In decimals, which are alike everywhere: floating point powers are not.
        by_chance = (1 - Decimal(self.max_risk)) ** self.automated
        if self.errors > self.max_risk * self.automated or by_chance > 1 - Decimal(self.confidence):
            raise ControlError(
                f"{self.errors} wrong of {self.automated} labels do not certify a risk of {self.max_risk:g} at {self.confidence:g}"
            )
        bound = Bound(self.max_risk, self.confidence)
        mine = Threshold(self.threshold, "bound", model_for(content, self.model), since=version, bound=bound)
        return msgspec.structs.replace(content, thresholds=content.thresholds.placed(self.scope, {self.scope: mine}))

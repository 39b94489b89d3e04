"""Control messages: what an operator can change while the stream runs, and what each makes of what is in force.

A new kind of message is a class here, with its `apply`, and its name in `ControlMessage`; a command in `streams.cli.control`
issues it. `apply` looks at the log alone, never at the worker: every worker must arrive at the same.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, TypeAlias

import msgspec

from scoring import ThresholdError, cost_threshold
from streams.errors import ControlError
from streams.pipeline.control_content import NOTHING_SAID, AuditRate, Content, Shadow, Threshold
from streams.pipeline.control_fields import (
    MOST_EXACT,
    CostAccounting,
    MadeFor,
    Message,
    Past,
    Restore,
    ScopedMessage,
    Sha256,
    Stopped,
    with_thresholds,
)
from streams.pipeline.control_limits import AdjustThreshold, SetReviewBudget, SetRiskBound
from streams.pipeline.reasons import Refusal
from streams.pipeline.scope import EVERY, OUTCOMES, Scope, Scoped

_Cost = Annotated[float, msgspec.Meta(gt=0)]


class SetThreshold(ScopedMessage, tag="set_threshold"):
    """Escalate where P(error) is at or above `threshold`."""

    replaces: ClassVar[str] = "thresholds"
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1, description="P(error), 0 to 1, from which a human decides.")]
    model: MadeFor = None

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """The scope has this threshold, made for the model that is in force."""
        scope = self.scope
        return with_thresholds(content, scope, {scope: self.threshold}, "set", self.model, version)


class SetCosts(ScopedMessage, tag="set_costs"):
    """The threshold that follows from the cost of a review and of a mistake, in any one currency.

    Either `mistake` is given, or what it costs by outcome: `missed_violation` and `wrong_removal`.
    """

    replaces: ClassVar[str] = "thresholds"
    accounting: CostAccounting
    review: Annotated[
        _Cost,
        msgspec.Meta(
            description="Cost of one human review, in any currency. Under `review-charged` it must be below that of a mistake."
        ),
    ]
    mistake: Annotated[
        _Cost | None, msgspec.Meta(description="Cost of acting on one wrong verdict, in the same currency.")
    ] = None
    missed_violation: Annotated[
        _Cost | None,
        msgspec.Meta(description="Cost of a wrong `allow`. With `wrong_removal`, in place of `mistake` and `outcome`."),
    ] = None
    wrong_removal: Annotated[_Cost | None, msgspec.Meta(description="Cost of a wrong `remove`.")] = None
    model: MadeFor = None

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """The scope has the threshold of these costs, or each outcome in it has its own."""
        try:
            thresholds = {
                scope: cost_threshold(self.accounting, review=self.review, mistake=mistake)
                for scope, mistake in self.mistakes.items()
            }
        except ThresholdError as problem:
            raise ControlError(str(problem)) from problem
        return with_thresholds(content, self.scope, thresholds, "costs", self.model, version)

    @property
    def mistakes(self) -> dict[Scope, float]:
        """What a mistake costs, by scope. Raises ControlError where that is not said, or twice."""
        missed, wrong = self.missed_violation, self.wrong_removal
        if self.mistake is not None and missed is None and wrong is None:
            return {self.scope: self.mistake}
        if self.mistake is None and missed is not None and wrong is not None and self.outcome == EVERY:
            by_outcome = zip(OUTCOMES, (missed, wrong), strict=True)
            return {self.scope._replace(outcome=outcome): cost for outcome, cost in by_outcome}
        raise ControlError(
            "give mistake, or else missed_violation and wrong_removal, which are for both outcomes at once"
        )


class SetAuditRate(ScopedMessage, tag="set_audit_rate"):
    """The share of automatic decisions that go to a human all the same, as a check on the model."""

    replaces: ClassVar[str] = "audit_rates"
    rate: Annotated[float, msgspec.Meta(ge=0, le=1, description="Share of the automatic decisions, 0 to 1.")]
    floor: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=1,
            description="The least share of all that it holds for, whatever rates hold within; not above `rate`.",
        ),
    ] = 0.0

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """The scope has this rate."""
        if self.floor > self.rate:
            raise ControlError(f"its floor, {self.floor:g}, is above its rate, {self.rate:g}")
        mine = AuditRate(self.rate, version, self.floor)
        return msgspec.structs.replace(content, audit_rates=content.audit_rates.placed(self.scope, {self.scope: mine}))


class SetModel(Message, tag="set_model"):
    """Score every policy with another model of the model directory, named by its sha256.

    Thresholds that were not made for it go: everything goes to humans until it has thresholds of its own. Where a wider threshold that
    was made for it would count in their place, theirs is 0. A shadow of this very model goes too, and one of the model that was in force
    until now.
    """

    replaces: ClassVar[str] = "thresholds"
    sha256: Annotated[
        Sha256,
        msgspec.Meta(description="The model: a directory of this name must be in every worker's model directory."),
    ]
    keep_thresholds: Annotated[
        bool,
        msgspec.Meta(
            description="Keep the thresholds that are in force. A worker that finds one of the models uncalibrated sends everything to "
            "humans: its scores are on no common scale. A review budget begins anew at its lowest threshold; a risk bound is not kept: its "
            "scope is closed until it has one for the new model."
        ),
    ] = False

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """The model is in force, with the thresholds that were made for it or that are kept."""
        made_for_it = {scope: one for scope, one in content.thresholds.items() if one.model == self.sha256}
        if self.keep_thresholds:
            made_for_it |= {
                scope: _kept(one, self.sha256, version)
                for scope, one in content.thresholds.items()
                if scope not in made_for_it
            }
        else:  # what is taken away must not fall to a wider threshold that stays
            made_for_it |= {
                scope: Threshold(0.0, "set", self.sha256, since=version)
                for scope in content.thresholds
                if scope not in made_for_it and any(scope.weighs_more_than(one) for one in made_for_it)
            }
        shadow = content.shadow
        if shadow and self.sha256 != content.model and shadow.model in (None, content.model, self.sha256):
            shadow = None
        return msgspec.structs.replace(
            content, model=self.sha256, model_since=version, thresholds=Scoped(made_for_it), shadow=shadow
        )


class PrepareModel(Message, tag="prepare_model"):
    """Get, load and check a model, and say on control-status whether `set_model` could be honoured. Changes nothing in force."""

    sha256: Annotated[Sha256, msgspec.Meta(description="The model.")]
    keep_thresholds: Annotated[bool, msgspec.Meta(description="As `set_model` will have it.")] = False

    def apply(self, content: Content, _version: int, _restore: Restore) -> Content:
        """What is in force stays, to the letter."""
        return content


_MOST_CHANGES = 100


class _Shadow(Message):
    without_effect: ClassVar[bool] = True
    sha256: Annotated[
        Sha256 | None,
        msgspec.Meta(description="The shadow's model. Left out: the one in force, with other thresholds."),
    ] = None
    keep_thresholds: Annotated[
        bool,
        msgspec.Meta(
            description="With `sha256`: the thresholds in force, as they are at each time, are its thresholds too."
        ),
    ] = False
    changes: Annotated[
        tuple[SetThreshold | SetCosts, ...],
        msgspec.Meta(
            max_length=_MOST_CHANGES,
            description="Messages `set_threshold` and `set_costs` without what is for the record: its thresholds, on top of those.",
        ),
    ] = ()

    def beside(self, content: Content, version: int) -> Content:
        """The content with this shadow, whatever it is worth."""
        return msgspec.structs.replace(content, shadow=Shadow(self.sha256, self.keep_thresholds, self.changes, version))

    def _checked(self, content: Content, version: int) -> Content:
        """The same. Raises ControlError where it is worth nothing."""
        if self.sha256 is None and not self.changes:
            raise ControlError("it has neither a model nor thresholds: say what to look at, or clear_shadow")
        if any(getattr(one, name) is not None for one in self.changes for name in Message.__struct_fields__):
            raise ControlError(
                f"a change has one of {', '.join(Message.__struct_fields__)}: these stand in set_shadow itself"
            )
        then = self.beside(content, version)
        shadowed(then)
        return then


class SetShadow(_Shadow, tag="set_shadow"):
    """Score and decide with another model, or other thresholds, beside what is in force: stamped on decisions, without effect.

    It takes the place of the shadow before, and ends with `clear_shadow`, or when its model, or another one in place of the one in
    force, is set by `set_model`.
    """

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """What is in force stays; there is this shadow beside it."""
        return self._checked(content, version)


class PrepareShadow(_Shadow, tag="prepare_shadow"):
    """Get, load and check the model of a shadow, and say on control-status whether `set_shadow` could be honoured. Changes nothing."""

    sha256: Annotated[Sha256, msgspec.Meta(description="The shadow's model.")]

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """What is in force stays, to the letter."""
        self._checked(content, version)
        return content


class ClearShadow(Message, tag="clear_shadow"):
    """There is no shadow any more."""

    without_effect: ClassVar[bool] = True

    def apply(self, content: Content, _version: int, _restore: Restore) -> Content:
        """What is in force stays."""
        if content.shadow is None:
            raise ControlError("there is no shadow", Refusal.NO_SHADOW)
        return msgspec.structs.replace(content, shadow=None)


class StopAutomation(ScopedMessage, tag="stop_automation"):
    """Send every verdict to a human, until `resume_automation`; what else is in force stays."""

    policy: Stopped

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """Nothing of the scope is automated."""
        return msgspec.structs.replace(content, stops=content.stops.set(self.scope, version))


class ResumeAutomation(ScopedMessage, tag="resume_automation"):
    """Take back the stop of the same policy, tenant and outcome; what was stopped by other names stays stopped."""

    policy: Stopped

    def apply(self, content: Content, _version: int, _restore: Restore) -> Content:
        """The stop is taken back."""
        if self.scope not in content.stops:
            raise ControlError(_not_stopped(self.scope, content.stops), Refusal.NOT_STOPPED)
        return msgspec.structs.replace(content, stops=content.stops.delete(self.scope))


class Rollback(Message, tag="rollback"):
    """Put in force again what was in force at a version, as a new version. Stops that are in force by now stay."""

    to_version: Annotated[
        int,
        msgspec.Meta(ge=0, le=MOST_EXACT, description="One of the last 1,000 versions; 0 = before the first message."),
    ]

    def apply(self, content: Content, _version: int, restore: Restore) -> Content:
        """What was in force then. A kill switch is lifted by `resume_automation` alone."""
        before = restore(self.to_version)
        return msgspec.structs.replace(before, stops=before.stops.update(content.stops))


class Snapshot(Message, tag="snapshot"):
    """All that stands before it in the log, for a reader who begins here; changes nothing in force. `secondlook control compact`."""

    position: Annotated[
        int,
        msgspec.Meta(ge=0, le=MOST_EXACT, description="The offset that it must stand at; refused at any other."),
    ]
    base: Annotated[
        int, msgspec.Meta(ge=0, le=MOST_EXACT, description="The oldest version that can be rolled back to.")
    ]
    content: Annotated[
        msgspec.Raw,
        msgspec.Meta(extra_json_schema={"type": "object", "description": "What was in force at that version."}),
    ]
    counted: Annotated[int, msgspec.Meta(ge=0, le=MOST_EXACT, description="The count of the old form's `version`.")]
    issued: Annotated[
        dict[str, float], msgspec.Meta(description="By key id, the last `issued_at` (seconds) that it has signed.")
    ]
    messages: Annotated[
        list[Past],
        msgspec.Meta(
            description="Those since `base`, which give the later versions; before them those that set what was in force, for the record."
        ),
    ]

    def apply(self, content: Content, _version: int, _restore: Restore) -> Content:
        """What is in force stays, to the letter; the fold holds it against what the snapshot says."""
        return content


ControlMessage: TypeAlias = (
    SetThreshold
    | SetCosts
    | SetReviewBudget
    | AdjustThreshold
    | SetRiskBound
    | SetAuditRate
    | PrepareModel
    | SetModel
    | PrepareShadow
    | SetShadow
    | ClearShadow
    | StopAutomation
    | ResumeAutomation
    | Rollback
    | Snapshot
)

_decoder: msgspec.json.Decoder[ControlMessage] = msgspec.json.Decoder(ControlMessage)
encode_control = msgspec.json.Encoder().encode


def parse_control(value: bytes | None) -> ControlMessage:
    """The message in a control record; raises ControlError naming the field that is wrong."""
    try:
        return _decoder.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise ControlError(f"not a control message: {problem}") from None


def shadowed(content: Content) -> Content:
    """What would be in force with the shadow, if there is one; nothing of it is stopped. Raises ControlError where it makes no sense."""
    shadow = content.shadow
    then = msgspec.structs.replace(content, shadow=None, stops=NOTHING_SAID.stops)
    if shadow is None:
        return then
    steps: list[SetModel | SetThreshold | SetCosts] = list(shadow.changes)
    if shadow.model is not None:
        steps.insert(0, SetModel(sha256=shadow.model, keep_thresholds=shadow.keep_thresholds))
    for step in steps:
        then = step.apply(then, shadow.since, _nothing_to_restore)
    return then


def _nothing_to_restore(version: int) -> Content:
    raise AssertionError(version)


def _kept(one: Threshold, model: str, version: int) -> Threshold:
    """The threshold under the next model.

    What follows from costs holds for any calibrated model; what was set by hand, for models on one scale with its own. So do the limits of
    a budget, but where between them its share lies is not known: it begins anew at the lowest. A bound is of one model's scores, and
    nothing is automated in its place.
    """
    before = one.kept_from if one.model in one.kept_from else (*one.kept_from, one.model)
    if one.origin == "bound":
        return Threshold(0.0, "bound", model, since=version)
    if one.budget is not None:
        return msgspec.structs.replace(one, value=one.budget.lowest, model=model, kept_from=before, since=version)
    return msgspec.structs.replace(one, model=model, kept_from=before if one.origin == "set" else one.kept_from)


def _not_stopped(scope: Scope, stops: Mapping[Scope, int]) -> str:
    name = f"automation of {scope.words}"
    if not stops:
        return f"{name} is not stopped: nothing is"
    others = "; ".join(one.words for one in sorted(stops))
    return f"{name} was not stopped by that name; these are: {others}. Resume what was stopped"

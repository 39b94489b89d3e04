"""Control messages: what an operator can change while the stream runs, and what each makes of what is in force.

A new kind of message is a class here, with its `apply`, and its name in `ControlMessage`; a command in `streams.cli.control`
issues it. `apply` looks at the log alone, never at the worker: every worker must arrive at the same.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from immutables import Map

from scoring import ThresholdError, cost_threshold
from streams.errors import ControlError
from streams.pipeline.control_content import EVERY_POLICY, AuditRate, Content, Origin, Threshold
from streams.pipeline.reasons import Refusal

_MOST_EXACT = 2**53 - 1
"""Whole numbers up to this one survive every JSON reader."""

_Policy = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=255,
        description="The policy that it holds for; `*` = every policy, replacing what single policies had.",
    ),
]
_Stopped = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=255,
        description="The policy; `*` = every policy. A stop of one policy and a stop of all are two, each resumed by its own name.",
    ),
]
_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
_MadeFor = Annotated[
    _Sha256 | None,
    msgspec.Meta(
        description="The model whose scores the threshold was made for. Refused while the log names another one. Left out: the "
        "model in force."
    ),
]
_Accounting = Annotated[
    Literal["false-discovery", "review-charged"],
    msgspec.Meta(
        description="`false-discovery`: threshold = review / (review + mistake). `review-charged`: review / mistake."
    ),
]
Restore: TypeAlias = Callable[[int], Content]
"""What was in force at a version; raises ControlError where that is not known."""


# A misspelt field must not turn into a default. What is left out is not written: older workers would not know the field.
class _Message(msgspec.Struct, tag_field="type", kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    issued_by: Annotated[str | None, msgspec.Meta(description="Who issued it, for the record.")] = None
    reason: Annotated[
        Annotated[str, msgspec.Meta(max_length=1000)] | None, msgspec.Meta(description="Why, for the record.")
    ] = None
    expected_version: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=_MOST_EXACT)] | None,
        msgspec.Meta(
            description="The version that the issuer saw in force; refused when another one is in force by then."
        ),
    ] = None
    expires_at: Annotated[
        Annotated[datetime, msgspec.Meta(tz=True)] | None,
        msgspec.Meta(
            description="RFC 3339. Refused when the broker stamps the message at this time or later: it came too late to be meant."
        ),
    ] = None
    issued_at: Annotated[
        Annotated[datetime, msgspec.Meta(tz=True)] | None,
        msgspec.Meta(
            description="RFC 3339. Needed in a signed message: later in each than in the last of the same key."
        ),
    ] = None
    version: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=_MOST_EXACT)] | None,
        msgspec.Meta(
            description="Old form of `expected_version`: a count of messages, refused unless above the count so far. Leave it out."
        ),
    ] = None


class SetThreshold(_Message, tag="set_threshold"):
    """Escalate where P(error) is at or above `threshold`."""

    policy: _Policy
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1, description="P(error), 0 to 1, from which a human decides.")]
    model: _MadeFor = None

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """The policy has this threshold, made for the model that is in force."""
        return _with_threshold(content, self.policy, self.threshold, "set", self.model, version)


class SetCosts(_Message, tag="set_costs"):
    """The threshold that follows from the cost of a review and of a mistake, in any one currency."""

    policy: _Policy
    accounting: _Accounting
    review: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            description="Cost of one human review, in any currency. Under `review-charged` it must be below `mistake`.",
        ),
    ]
    mistake: Annotated[
        float, msgspec.Meta(gt=0, description="Cost of acting on one wrong verdict, in the same currency.")
    ]
    model: _MadeFor = None

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """The policy has the threshold of these costs."""
        try:
            threshold = cost_threshold(self.accounting, review=self.review, mistake=self.mistake)
        except ThresholdError as problem:
            raise ControlError(str(problem)) from problem
        return _with_threshold(content, self.policy, threshold, "costs", self.model, version)


class SetAuditRate(_Message, tag="set_audit_rate"):
    """The share of automatic decisions that go to a human all the same, as a check on the model."""

    policy: _Policy
    rate: Annotated[float, msgspec.Meta(ge=0, le=1, description="Share of the automatic decisions, 0 to 1.")]

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """The policy has this rate."""
        mine = AuditRate(self.rate, version)
        rates = Map({EVERY_POLICY: mine}) if self.policy == EVERY_POLICY else content.audit_rates.set(self.policy, mine)
        return msgspec.structs.replace(content, audit_rates=rates)


class SetModel(_Message, tag="set_model"):
    """Score every policy with another model of the model directory, named by its sha256.

    Thresholds that were not made for it go: everything goes to humans until it has thresholds of its own.
    """

    sha256: Annotated[
        _Sha256,
        msgspec.Meta(description="The model: a directory of this name must be in every worker's model directory."),
    ]
    keep_thresholds: Annotated[
        bool,
        msgspec.Meta(
            description="Keep the thresholds that are in force. A worker that finds one of the models uncalibrated sends everything to "
            "humans: its scores are on no common scale."
        ),
    ] = False

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """The model is in force, with the thresholds that were made for it or that are kept."""
        made_for_it = {policy: one for policy, one in content.thresholds.items() if one.model == self.sha256}
        if self.keep_thresholds:
            made_for_it |= {
                policy: _kept(one, self.sha256)
                for policy, one in content.thresholds.items()
                if policy not in made_for_it
            }
        return msgspec.structs.replace(
            content, model=self.sha256, model_since=version, thresholds=Map[str, Threshold](made_for_it)
        )


class PrepareModel(_Message, tag="prepare_model"):
    """Get, load and check a model, and say on control-status whether `set_model` could be honoured. Changes nothing in force."""

    sha256: Annotated[_Sha256, msgspec.Meta(description="The model.")]
    keep_thresholds: Annotated[bool, msgspec.Meta(description="As `set_model` will have it.")] = False

    def apply(self, content: Content, _version: int, _restore: Restore) -> Content:
        """What is in force stays, to the letter."""
        return content


class StopAutomation(_Message, tag="stop_automation"):
    """Send every verdict to a human, until `resume_automation`; what else is in force stays."""

    policy: _Stopped

    def apply(self, content: Content, version: int, _restore: Restore) -> Content:
        """Nothing of the policy is automated."""
        return msgspec.structs.replace(content, stops=content.stops.set(self.policy, version))


class ResumeAutomation(_Message, tag="resume_automation"):
    """Take back the stop of the same policy, or of `*`; a policy that was stopped by its own name stays stopped."""

    policy: _Stopped

    def apply(self, content: Content, _version: int, _restore: Restore) -> Content:
        """The stop is taken back."""
        if self.policy not in content.stops:
            raise ControlError(_not_stopped(self.policy, content.stops), Refusal.NOT_STOPPED)
        return msgspec.structs.replace(content, stops=content.stops.delete(self.policy))


class Rollback(_Message, tag="rollback"):
    """Put in force again what was in force at a version, as a new version. Stops that are in force by now stay."""

    to_version: Annotated[
        int,
        msgspec.Meta(ge=0, le=_MOST_EXACT, description="One of the last 1,000 versions; 0 = before the first message."),
    ]

    def apply(self, content: Content, _version: int, restore: Restore) -> Content:
        """What was in force then. A kill switch is lifted by `resume_automation` alone."""
        before = restore(self.to_version)
        return msgspec.structs.replace(before, stops=before.stops.update(content.stops))


class Past(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A message that was applied before a snapshot, as it stood in the log."""

    offset: Annotated[int, msgspec.Meta(ge=0, le=_MOST_EXACT)]
    message: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
    timestamp: int | None = None
    signed_by: str | None = None


class Snapshot(_Message, tag="snapshot"):
    """All that stands before it in the log, for a reader who begins here; changes nothing in force. `secondlook control compact`."""

    position: Annotated[
        int,
        msgspec.Meta(ge=0, le=_MOST_EXACT, description="The offset that it must stand at; refused at any other."),
    ]
    base: Annotated[
        int, msgspec.Meta(ge=0, le=_MOST_EXACT, description="The oldest version that can be rolled back to.")
    ]
    content: Annotated[
        msgspec.Raw,
        msgspec.Meta(extra_json_schema={"type": "object", "description": "What was in force at that version."}),
    ]
    counted: Annotated[int, msgspec.Meta(ge=0, le=_MOST_EXACT, description="The count of the old form's `version`.")]
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
    | SetAuditRate
    | PrepareModel
    | SetModel
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


def _with_threshold(
    content: Content, policy: str, value: float, origin: Origin, made_for: str | None, version: int
) -> Content:
    if made_for is not None and content.model not in (None, made_for):
        raise ControlError(
            f"it was made for model {made_for[:12]}, but {content.model} is in force: make it for that one, or swap the model first",
            Refusal.OTHER_MODEL,
        )
    mine = Threshold(value, origin, made_for or content.model, since=version)
    every = policy == EVERY_POLICY
    return msgspec.structs.replace(
        content, thresholds=Map({EVERY_POLICY: mine}) if every else content.thresholds.set(policy, mine)
    )


def _kept(one: Threshold, model: str) -> Threshold:
    """What follows from costs holds for any calibrated model; what was set by hand, for models on one scale with its own."""
    before = (*one.kept_from, one.model) if one.origin == "set" and one.model not in one.kept_from else one.kept_from
    return msgspec.structs.replace(one, model=model, kept_from=before)


def _not_stopped(policy: str, stops: Mapping[str, int]) -> str:
    name = "automation of every policy" if policy == EVERY_POLICY else f"automation of {policy}"
    if not stops:
        return f"{name} is not stopped: nothing is"
    others = ", ".join("every policy (*)" if one == EVERY_POLICY else one for one in sorted(stops))
    return f"{name} was not stopped by that name; these are: {others}. Resume what was stopped"

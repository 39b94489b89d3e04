"""Control messages: what an operator can change while the stream runs.

A message is validated whole and gives a new immutable `Controls`, or a `ControlError` and nothing changes. The control
topic is an append-only log read by every worker from its beginning, so all workers arrive at the same version.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias

import msgspec

from featurizers import SecondlookError
from scoring import ErrorModel, cost_threshold
from streams.errors import ControlError

EVERY_POLICY = "*"

_Policy = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=255,
        description="The policy that it holds for; `*` = every policy, replacing what single policies had.",
    ),
]
_Version = Annotated[
    Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)] | None,
    msgspec.Meta(
        description="The version that this message makes; it must be above the one in force. Left out: the next one."
    ),
]
_Accounting = Annotated[
    Literal["false-discovery", "review-charged"],
    msgspec.Meta(
        description="`false-discovery`: threshold = review / (review + mistake). `review-charged`: review / mistake."
    ),
]


# A misspelt field must not turn into a default.
class _Message(msgspec.Struct, tag_field="type", kw_only=True, forbid_unknown_fields=True):
    version: _Version = None
    issued_by: Annotated[str | None, msgspec.Meta(description="Who issued it, for the record.")] = None


class SetThreshold(_Message, tag="set_threshold"):
    """Escalate where P(error) is at or above `threshold`."""

    policy: _Policy
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1, description="P(error), 0 to 1, from which a human decides.")]


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


class SetAuditRate(_Message, tag="set_audit_rate"):
    """The share of automatic decisions that go to a human all the same, as a check on the model."""

    policy: _Policy
    rate: Annotated[float, msgspec.Meta(ge=0, le=1, description="Share of the automatic decisions, 0 to 1.")]


class SetModel(_Message, tag="set_model"):
    """Score every policy with another model of the model directory, named by its sha256."""

    sha256: Annotated[
        str,
        msgspec.Meta(
            pattern="^[0-9a-f]{64}$",
            max_length=64,
            description="The model: a directory of this name must be in every worker's model directory.",
        ),
    ]


ControlMessage: TypeAlias = SetThreshold | SetCosts | SetAuditRate | SetModel

_decoder: msgspec.json.Decoder[ControlMessage] = msgspec.json.Decoder(ControlMessage)
encode_control = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Controls:
    """What is in force: one immutable snapshot, swapped whole."""

    model: ErrorModel
    thresholds: Mapping[str, float]
    audit_rates: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({EVERY_POLICY: 0.0}))
    version: int = 0

    def threshold(self, policy: str) -> float | None:
        """The threshold for a policy: its own, else that of `*` if the model covers the policy, else None.

        A model covers the policies it was trained on; one that was never trained (a single estimator) covers all.
        """
        own = self.thresholds.get(policy)
        if own is None and (policy in self.model.policies or not self.model.policies):
            return self.thresholds.get(EVERY_POLICY)
        return own

    def audit_rate(self, policy: str) -> float:
        """The share of automatic decisions to audit: the policy's own, else that of `*`."""
        return self.audit_rates.get(policy, self.audit_rates[EVERY_POLICY])


def parse_control(value: bytes | None) -> ControlMessage:
    """The message in a control record; raises ControlError naming the field that is wrong."""
    try:
        return _decoder.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise ControlError(f"not a control message: {problem}") from None


def apply_control(controls: Controls, message: ControlMessage, load_model: Callable[[str], ErrorModel]) -> Controls:
    """The snapshot after a message. Raises ControlError when it can't be applied; `load_model` finds a model by sha256.

    Without a `version` the message takes the next one; a version that is not above the one in force is refused, which
    keeps a message issued on a stale view from undoing a newer one.
    """
    version = controls.version + 1 if message.version is None else message.version
    if version <= controls.version:
        raise ControlError(f"version {version} is not above version {controls.version} in force: issue it anew")
    try:
        changed = _apply(controls, message, load_model)
    except ControlError:
        raise
    except SecondlookError as problem:
        raise ControlError(str(problem)) from problem
    return replace(changed, version=version)


def _apply(controls: Controls, message: ControlMessage, load_model: Callable[[str], ErrorModel]) -> Controls:
    match message:
        case SetThreshold(policy=policy, threshold=threshold):
            return replace(controls, thresholds=_with(controls.thresholds, policy, threshold))
        case SetCosts(policy=policy, accounting=accounting, review=review, mistake=mistake):
            threshold = cost_threshold(accounting, review=review, mistake=mistake)
            return replace(controls, thresholds=_with(controls.thresholds, policy, threshold))
        case SetAuditRate(policy=policy, rate=rate):
            return replace(controls, audit_rates=_with(controls.audit_rates, policy, rate))
        case SetModel(sha256=sha256):
            return replace(controls, model=load_model(sha256))


def _with(values: Mapping[str, float], policy: str, value: float) -> Mapping[str, float]:
    """A setting for `*` replaces all others: what an operator sets for every policy holds for every policy."""
    if policy == EVERY_POLICY:
        return MappingProxyType({EVERY_POLICY: value})
    return MappingProxyType({**values, policy: value})

"""What control messages are made of: the fields that several have in common, with what their schema says of them, and what several do."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

import msgspec

from streams.errors import ControlError
from streams.pipeline.control_content import Content, Origin, Threshold
from streams.pipeline.reasons import Refusal
from streams.pipeline.scope import EVERY, Outcome, Scope

MOST_EXACT: Final = 2**53 - 1
"""Whole numbers up to this one survive every JSON reader."""
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Policy = Annotated[
    _Name,
    msgspec.Meta(
        description="The policy that it holds for; `*` = every policy. What was set inside of policy, tenant and outcome together is "
        "replaced."
    ),
]
Tenant = Annotated[_Name, msgspec.Meta(description="The requests' `tenant` that it holds for; `*` = all.")]
OfOutcome = Annotated[
    Outcome,
    msgspec.Meta(description="What the LLM's verdict would do: `allow` (outcome 0), `remove` (1) or `*` = either."),
]
Stopped = Annotated[
    _Name,
    msgspec.Meta(
        description="The policy; `*` = every policy. Stops of different policies, tenants or outcomes, of one and of all, are stops of "
        "their own, each resumed by the same names."
    ),
]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
MadeFor = Annotated[
    Sha256 | None,
    msgspec.Meta(
        description="The model whose scores the threshold was made for. Refused while the log names another one. Left out: the "
        "model in force."
    ),
]
CostAccounting = Annotated[
    Literal["false-discovery", "review-charged"],
    msgspec.Meta(
        description="`false-discovery`: threshold = review / (review + mistake). `review-charged`: review / mistake."
    ),
]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]
Restore: TypeAlias = Callable[[int], Content]
"""What was in force at a version; raises ControlError where that is not known."""


# A misspelt field must not turn into a default. What is left out is not written: older workers would not know the field.
class Message(msgspec.Struct, tag_field="type", kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What any control message may have. One `without_effect` leaves what is in force as it is.

    One that `replaces` a field of `Content` takes away what that has for narrower scopes than its own.
    """

    without_effect: ClassVar[bool] = False
    replaces: ClassVar[str] = ""

    issued_by: Annotated[str | None, msgspec.Meta(description="Who issued it, for the record.")] = None
    reason: Annotated[
        Annotated[str, msgspec.Meta(max_length=1000)] | None, msgspec.Meta(description="Why, for the record.")
    ] = None
    expected_version: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=MOST_EXACT)] | None,
        msgspec.Meta(
            description="The version that the issuer saw in force; refused when another one is in force by then."
        ),
    ] = None
    expires_at: Annotated[
        _Time | None,
        msgspec.Meta(
            description="RFC 3339. Refused when the broker stamps the message at this time or later: it came too late to be meant."
        ),
    ] = None
    issued_at: Annotated[
        _Time | None,
        msgspec.Meta(
            description="RFC 3339. Needed in a signed message: later in each than in the last of the same key."
        ),
    ] = None
    version: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=MOST_EXACT)] | None,
        msgspec.Meta(
            description="Old form of `expected_version`: a count of messages, refused unless above the count so far. Leave it out."
        ),
    ] = None


class ScopedMessage(Message, kw_only=True):
    """One that is about a scope."""

    policy: Policy
    tenant: Tenant = EVERY
    outcome: OfOutcome = EVERY

    @property
    def scope(self) -> Scope:
        """What it is about."""
        return Scope(self.policy, self.tenant, self.outcome)


class Past(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A message that was applied before a snapshot, as it stood in the log."""

    offset: Annotated[int, msgspec.Meta(ge=0, le=MOST_EXACT)]
    message: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
    timestamp: Annotated[int, msgspec.Meta(ge=-MOST_EXACT, le=MOST_EXACT)] | None = None
    signed_by: str | None = None


def model_for(content: Content, made_for: str | None) -> str | None:
    """The model that a threshold belongs to. Raises ControlError where it was made for another one than that in force."""
    if made_for is not None and content.model not in (None, made_for):
        raise ControlError(
            f"it was made for model {made_for[:12]}, but {content.model} is in force: make it for that one, or swap the model first",
            Refusal.OTHER_MODEL,
        )
    return made_for or content.model


def with_thresholds(
    content: Content, scope: Scope, values: Mapping[Scope, float], origin: Origin, made_for: str | None, version: int
) -> Content:
    """These thresholds in place of all that was set inside of a scope."""
    model = model_for(content, made_for)
    mine = {one: Threshold(value, origin, model, since=version) for one, value in values.items()}
    return msgspec.structs.replace(content, thresholds=content.thresholds.placed(scope, mine))

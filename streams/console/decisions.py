"""Decisions as the views show them, and which of them are asked for. Pure; nothing here holds what was moderated."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from streams.pipeline.reasons import REASONS
from streams.pipeline.routing import AUTO_ACTION, HUMAN_REVIEW

ROLES: Final = ("auto_action", "human_review")
ROUTES: Final = (AUTO_ACTION, HUMAN_REVIEW)

_Text = Annotated[str, msgspec.Meta(max_length=255)]
_Code = Annotated[str, msgspec.Meta(max_length=64)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Llm(msgspec.Struct, frozen=True):
    """What the LLM said."""

    name: _Text | None = None
    outcome: int | None = None
    confidence: float | None = None
    category: _Text | None = None


class Model(msgspec.Struct, frozen=True):
    """The meta-model that scored."""

    name: _Text | None = None
    sha256: _Text | None = None


class Driver(msgspec.Struct, frozen=True):
    """A term of the score; `push` is positive towards "the LLM is wrong"."""

    predictor: _Text
    push: float


class Decision(msgspec.Struct, frozen=True):
    """A decision as its record says it, without the request."""

    request_id: _Text
    policy: _Text
    route: Literal["auto-action", "human-review"]
    reasons: Annotated[list[_Code], msgspec.Meta(min_length=1, max_length=8)]
    llm: Llm
    model: Model
    action: _Code = ""
    tenant: _Text | None = None
    error_probability: _Share | None = None
    threshold: _Share | None = None
    audit_probability: _Share | None = None
    drivers: Annotated[list[Driver], msgspec.Meta(max_length=8)] = []
    missing_predictors: Annotated[list[_Text], msgspec.Meta(max_length=200)] = []
    spec: _Text | None = None
    control_version: int = 0
    decided_at: _Code = ""

    @property
    def reason(self) -> str:
        """The one that decided."""
        return self.reasons[0]

    @property
    def meaning(self) -> str:
        """The reason in words."""
        return _MEANINGS.get(self.reason, "A reason that this version does not know.")


_MEANINGS: Final[Mapping[str, str]] = {code.value: text for code, text in REASONS.items()}
_decode = msgspec.json.Decoder(Decision).decode


def read_decision(value: bytes | None) -> Decision | None:
    """The decision in a record's value, or None: anybody may write to the topic."""
    try:
        return _decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def without_request(value: bytes) -> dict[str, Any]:
    """A decision's record with all that it says, but for the request."""
    document: dict[str, Any] = msgspec.json.decode(value)
    document.pop("request", None)
    return document


class Asked(NamedTuple):
    """Which decisions are asked for; empty: any. `request_id` is a part of it."""

    policy: str = ""
    route: str = ""
    reason: str = ""
    llm: str = ""
    request_id: str = ""

    def wants(self, one: Decision) -> bool:
        """Whether this is one of them."""
        return (
            self.policy in ("", one.policy)
            and self.route in ("", one.route)
            and (not self.reason or self.reason in one.reasons)
            and self.llm in ("", one.llm.name or "")
            and self.request_id in one.request_id
        )

"""What a control message must look like, anew: from what docs/reference.md says of its fields, with none of the stream's code. Pure."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

ALL = "*"
OUTCOMES = ("allow", "remove")
_Fits = Callable[[Any], bool]


class RefusedError(Exception):
    """A control message that must change nothing."""


class Scope(NamedTuple):
    """Policy, tenant and outcome."""

    policy: str
    tenant: str = ALL
    outcome: str = ALL

    def holds(self, other: "Scope") -> bool:
        """Whether the other is in it."""
        return all(mine in (ALL, one) for mine, one in zip(self, other, strict=True))

    def counts_before(self, other: "Scope") -> bool:
        """Whether it counts where a decision lies in both, as some can."""
        share = all(ALL in pair or pair[0] == pair[1] for pair in zip(self, other, strict=True))
        return share and [one == ALL for one in self] < [one == ALL for one in other]

    def around(self) -> Iterator["Scope"]:
        """Itself and all scopes that it is in, what counts most first."""
        for number in range(8):
            wide = bool(number & 4), bool(number & 2), bool(number & 1)
            yield Scope(*(ALL if is_wide else name for is_wide, name in zip(wide, self, strict=True)))


def scope_of(message: Mapping[str, Any]) -> Scope:
    """Whom a message is about."""
    return Scope(message["policy"], message.get("tenant", ALL), message.get("outcome", ALL))


def _number(least: float, most: float, *, open_at: str = "") -> _Fits:
    def fits(value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        above = value > least if "least" in open_at else value >= least
        return above and (value < most if "most" in open_at else value <= most)

    return fits


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255


def _is_sha(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_moment(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _or_null(fits: _Fits) -> _Fits:
    return lambda value: value is None or fits(value)


def _are_changes(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 100 and all(_is_change(one) for one in value)


def _is_change(value: Any) -> bool:
    try:
        return check(value)["type"] in ("set_threshold", "set_costs")
    except RefusedError:
        return False


_SHARE, _COST = _number(0, 1), _number(0, float("inf"), open_at="least")
_WITHIN = {"policy": _is_text}
_NARROWED = {"tenant": _is_text, "outcome": lambda value: value in (ALL, *OUTCOMES)}
_FOR_A_MODEL = {"model": _or_null(_is_sha)}
_SHADOW = {"keep_thresholds": _is_flag, "changes": _are_changes}
_MUST: dict[str, dict[str, _Fits]] = {
    "set_threshold": {**_WITHIN, "threshold": _SHARE},
    "set_costs": {
        **_WITHIN,
        "accounting": lambda value: value in ("false-discovery", "review-charged"),
        "review": _COST,
    },
    "set_audit_rate": {**_WITHIN, "rate": _SHARE},
    "set_review_budget": {
        **_WITHIN,
        "share": _number(0, 1, open_at="least most"),
        "lowest": _SHARE,
        "highest": _SHARE,
    },
    "adjust_threshold": {**_WITHIN, "threshold": _SHARE},
    "set_risk_bound": {
        **_WITHIN,
        "max_risk": _number(0, 1, open_at="least most"),
        "confidence": _number(0.5, 1, open_at="most"),
        "threshold": _SHARE,
        "labels": _is_whole,
        "automated": _is_whole,
        "errors": _is_whole,
        "labels_sha256": _is_sha,
        "sample": lambda value: value in ("audits", "drawn-at-random"),
        "model": _is_sha,
    },
    "set_model": {"sha256": _is_sha},
    "prepare_model": {"sha256": _is_sha},
    "set_shadow": {},
    "prepare_shadow": {"sha256": _is_sha},
    "clear_shadow": {},
    "stop_automation": _WITHIN,
    "resume_automation": _WITHIN,
    "rollback": {"to_version": _is_whole},
}
_MAY: dict[str, _Fits] = {
    "issued_by": _or_null(lambda value: isinstance(value, str)),
    "reason": _or_null(lambda value: isinstance(value, str) and len(value) <= 1000),
    "expected_version": _or_null(_is_whole),
    "expires_at": _or_null(_is_moment),
    "issued_at": _or_null(_is_moment),
    "version": _or_null(lambda value: _is_whole(value) and value > 0),
}
_MAY_OF: dict[str, dict[str, _Fits]] = {
    "set_threshold": {**_NARROWED, **_FOR_A_MODEL},
    "set_costs": {
        **_NARROWED,
        **_FOR_A_MODEL,
        **{name: _or_null(_COST) for name in ("mistake", "missed_violation", "wrong_removal")},
    },
    "set_audit_rate": {**_NARROWED, "floor": _SHARE},
    "set_review_budget": {**_NARROWED, **_FOR_A_MODEL},
    "adjust_threshold": _NARROWED,
    "set_risk_bound": {**_NARROWED, "method": lambda value: value == "learn-then-test"},
    "set_model": {"keep_thresholds": _is_flag},
    "prepare_model": {"keep_thresholds": _is_flag},
    "set_shadow": {**_SHADOW, "sha256": _or_null(_is_sha)},
    "prepare_shadow": _SHADOW,
    "stop_automation": _NARROWED,
    "resume_automation": _NARROWED,
}
FOR_THE_RECORD = tuple(_MAY)


def parse(value: bytes | None) -> dict[str, Any]:
    """The message, as JSON. Raises RefusedError where a field is missing, unknown or wrong."""
    try:
        return check(json.loads(value or b""))
    except ValueError:
        raise RefusedError("invalid") from None


def check(message: Any) -> dict[str, Any]:
    """The same message. Raises RefusedError as `parse` does."""
    kind = message.get("type") if isinstance(message, dict) else None
    if kind not in _MUST:
        raise RefusedError("invalid")
    fields = {**_MAY, **_MAY_OF.get(kind, {}), **_MUST[kind]}
    given = {name: one for name, one in message.items() if name != "type"}
    if _MUST[kind].keys() - given.keys() or given.keys() - fields.keys():
        raise RefusedError("invalid")
    if not all(fields[name](one) for name, one in given.items()):
        raise RefusedError("invalid")
    found: dict[str, Any] = message
    return found

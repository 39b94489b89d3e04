"""What the control log says is in force: an immutable value, the same for everyone who has read the same messages.

It knows models by their sha256 alone. Whether a worker can do what it says is another matter: see `streams.pipeline.controls`.
"""

import hashlib
from typing import Final, Literal

import msgspec
from immutables import Map

EVERY_POLICY: Final = "*"

Origin = Literal["settings", "set", "costs", "budget", "bound"]
"""Where a threshold comes from. `budget` and `bound` are kept for messages that are yet to come."""


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """P(error) from which a human decides, and what it stands on.

    `value` is None where the costs in each worker's settings give it. `model` is the one whose scores it was made for (None: the
    one in the worker's settings), `kept_from` the models before that one, under which it was in force already. `since` is the
    version that set it.
    """

    value: float | None
    origin: Origin
    model: str | None = None
    kept_from: tuple[str | None, ...] = ()
    since: int = 0


class AuditRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of automatic decisions that a human sees all the same."""

    rate: float
    since: int = 0


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is in force after a message; the default is what is in force before the first one.

    By policy or `*`: `thresholds`, `audit_rates`, and `stops`, the versions that stopped automation. `model` is None while
    no message has named one: each worker then has that of its settings.
    """

    model: str | None = None
    model_since: int = 0
    thresholds: "Map[str, Threshold]" = Map({EVERY_POLICY: Threshold(None, "settings")})
    audit_rates: "Map[str, AuditRate]" = Map({EVERY_POLICY: AuditRate(0.0)})
    stops: "Map[str, int]" = Map()

    @property
    def hash(self) -> str:
        """The same for the same content, whoever computes it and whichever versions led to it."""
        stated = {
            "model": self.model,
            "thresholds": {
                policy: (one.value, one.origin, one.model, sorted(str(model) for model in one.kept_from))
                for policy, one in self.thresholds.items()
            },
            "audit_rates": {policy: one.rate for policy, one in self.audit_rates.items()},
            "stops": sorted(self.stops),
        }
        return hashlib.sha256(msgspec.json.encode(stated, order="deterministic")).hexdigest()[:16]


NOTHING_SAID: Final = Content()
"""Version 0: the control log is empty, and each worker goes by its settings."""

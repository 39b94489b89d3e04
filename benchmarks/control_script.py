"""What an operator writes under load: control messages of every kind, good, impossible, malformed and forged."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from control_fold import Fold, Keys, State
from control_messages import ALL, OUTCOMES
from control_models import TENANTS, Models
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_POLICIES = ("hate", "harassment", "self-harm", "sexual", "violence")
_PAST = "2020-01-01T00:00:00Z"


class Letter(NamedTuple):
    """A message's value; `forged` is how its signature is wrong, where messages are signed."""

    value: bytes
    forged: str = ""


FORGERIES = ("unsigned", "stranger", "altered", "copy", "undated")
_Make = Callable[[], Letter]


def letter(kind: str, **fields: Any) -> Letter:
    """A message of a kind."""
    return Letter(json.dumps({"type": kind, **fields}).encode())


class Signer:
    """Signs as docs/guarantees.md says, or wrongly as a letter asks for."""

    def __init__(self, topic: str, private: bytes, clock: Callable[[], float] = time.time) -> None:
        self._topic, self._clock = topic, clock
        self._key, self._stranger = Ed25519PrivateKey.from_private_bytes(private), Ed25519PrivateKey.generate()
        self._last = 0.0
        self._copied: tuple[bytes, bytes | None] = b"", None

    @property
    def public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def keys(self, *others: bytes) -> Keys:
        """What the checker goes by; `others` are public keys too."""
        return Keys(self._topic, [self.public, *others])

    def sign(self, one: Letter) -> tuple[bytes, bytes | None]:
        """The value as it is written, and its signature."""
        if one.forged == "copy" and self._copied[1]:
            return self._copied
        value = one.value if one.forged == "undated" else self._dated(one.value)
        if one.forged == "unsigned":
            return value, None
        key = self._stranger if one.forged == "stranger" else self._key
        signed = key.sign(b"secondlook control message\0" + self._topic.encode() + b"\0" + value)
        name = hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()[:16]
        header = name.encode() + b":" + base64.b64encode(signed)
        if one.forged == "altered":
            return value + b" ", header
        self._copied = value, header
        return value, header

    def _dated(self, value: bytes) -> bytes:
        """With the times that a signed message needs; what is no JSON object stays what it is."""
        try:
            message = json.loads(value)
        except ValueError:
            return value
        if not isinstance(message, dict):
            return value
        self._last = max(self._clock(), self._last + 0.001)
        issued = datetime.fromtimestamp(self._last, UTC)
        until = {"expires_at": (issued + timedelta(minutes=10)).isoformat(), "issued_at": issued.isoformat()}
        return json.dumps({**until, **message}).encode()


class Script:
    """What the operator does, kind by kind: each is one message, or two where the second goes with the first.

    A message is put together when it is asked for, from the log as it stands then. Forgeries are among them where messages are `signed`.
    """

    def __init__(self, models: Models, fold: Fold, chance: Random, *, signed: bool = False) -> None:
        self._models, self._fold, self._chance, self._signed = models, fold, chance, signed

    def messages(self) -> Iterator[Letter]:
        """Messages without end, all kinds equally often, in an order by chance."""
        kinds = [*self._settings(), *self._models_and_stops(), *self._closed(), *self._refused(), *self._forged()]
        while True:
            for kind in self._chance.sample(kinds, len(kinds)):
                for message in kind:
                    yield message()

    def _settings(self) -> list[list[_Make]]:
        """Thresholds, costs, audit rates, budgets, bounds and shadows."""
        fold, share = self._fold, self._share

        def moved(least: float, most: float) -> Letter:
            threshold = share(least, most)
            return letter("adjust_threshold", **self._budgeted, threshold=threshold, expected_version=fold.version)

        def audits(least: float = 0.0, **more: Any) -> Letter:
            return letter("set_audit_rate", **self._scope(), rate=share(least, 0.5), **more)

        return [
            [lambda: self._threshold(**self._scope())],
            [lambda: self._costs(**self._scope())],
            [lambda: self._costs_by_outcome(**self._scope(outcome=False))],
            [audits],
            [lambda: audits(0.2, floor=share(0, 0.2))],
            [lambda: letter("set_audit_rate", policy=ALL, rate=0.1, expected_version=fold.version, issued_by="trial")],
            [self._budget],
            [self._budget, lambda: moved(0.2, 0.4)],
            [self._budget, lambda: moved(0.51, 1)],
            [self._bound],
            [self._shadow],
            [self._shadow, lambda: letter("clear_shadow")],
            [lambda: letter("prepare_shadow", sha256=self._good(), keep_thresholds=True)],
        ]

    def _models_and_stops(self) -> list[list[_Make]]:
        """Models, stops and rollbacks."""
        models, fold = self._models, self._fold

        def stop() -> Letter:
            self._stopped = self._scope()
            return letter("stop_automation", **self._stopped, reason="trial")

        def rollback() -> Letter:
            good = (None, models.own, models.other)
            versions = [version for version, state in fold.states.items() if state.model in good]
            return letter("rollback", to_version=self._chance.choice(versions[-50:]))

        return [
            [stop, lambda: letter("resume_automation", **self._stopped)],
            [lambda: letter("set_model", sha256=self._good(), keep_thresholds=True)],
            [lambda: letter("set_model", sha256=self._good()), lambda: self._costs(policy=ALL)],
            [rollback],
            [lambda: letter("prepare_model", sha256=self._good(models.uncalibrated), keep_thresholds=True)],
        ]

    def _closed(self) -> list[list[_Make]]:
        """Models that workers cannot honour, each taken back by a rollback."""
        models, fold = self._models, self._fold

        def swap(*names: str) -> _Make:
            def message() -> Letter:
                self._before = fold.version
                return letter("set_model", sha256=self._chance.choice(names), keep_thresholds=True)

            return message

        def back() -> Letter:
            return letter("rollback", to_version=self._before)

        return [
            [swap(models.missing), back],
            [swap(models.wrong_schema, models.corrupt), back],
            [swap(models.uncalibrated), back],
        ]

    def _refused(self) -> list[list[_Make]]:
        """Those that must change nothing; most of them would open automation wide."""
        fold, chance = self._fold, self._chance
        bound = {**_CERTIFIED, "policy": ALL, "threshold": 1.0, "errors": 400, "model": self._models.own}
        malformed = (
            Letter(b""),
            Letter(b"no JSON"),
            Letter(b"[]"),
            letter("set_threshold", policy=ALL, threshold=1.5),
            letter("set_threshold", policy=ALL, treshold=1.0),
            letter("set_threshold", policy=ALL, outcome="both", threshold=1.0),
            letter("set_threshold", policy=ALL, tenant="", threshold=1.0),
            letter("set_threshold", policy=ALL, tenant=None, threshold=1.0),
            letter("set_model", sha256="current"),
            letter("stop_everything"),
            letter("set_costs", policy=ALL, accounting="review-charged", review=2.0, mistake=1.0),
            letter("set_costs", policy=ALL, accounting="false-discovery", review=0.01, mistake=1.0, wrong_removal=1.0),
            letter("set_audit_rate", policy=ALL, rate=0.0, floor=0.1),
            letter("set_review_budget", policy=ALL, share=0.01, lowest=1.0, highest=0.9),
            letter("adjust_threshold", policy=ALL, threshold=1.0),
            letter("set_risk_bound", **bound),
            letter("set_shadow"),
            letter("set_shadow", changes=[{"type": "set_threshold", "policy": ALL, "threshold": 1.0, "reason": "why"}]),
            letter("set_shadow", changes=[{"type": "stop_automation", "policy": ALL}]),
            letter("snapshot", position=0, base=0, content={}, counted=0, issued={}, messages=[]),
        )
        return [
            [lambda: _wide(expected_version=max(0, fold.version - 1))],
            [lambda: _wide(version=1)],
            [lambda: _wide(expires_at=_PAST)],
            [lambda: _wide(model=self._models.newcomer)],
            [lambda: letter("resume_automation", policy="nobody-stopped-this")],
            [lambda: letter("resume_automation", policy=ALL, tenant="nobody-stopped-this")],
            [lambda: letter("rollback", to_version=fold.version + 1_000_000)],
            [lambda: chance.choice(malformed)],
            [lambda: chance.choice(malformed)],
        ]

    def _forged(self) -> list[list[_Make]]:
        """Those that no trusted key has signed as they stand."""
        return [[lambda: _wide()._replace(forged=self._chance.choice(FORGERIES))]] * 3 if self._signed else []

    def _share(self, least: float, most: float) -> float:
        return round(self._chance.uniform(least, most), 4)

    def _good(self, *more: str) -> str:
        return self._chance.choice((self._models.own, self._models.other, *more))

    def _scope(self, *, outcome: bool = True) -> dict[str, str]:
        """Of some policy or all, and half of the time narrowed."""
        chance = self._chance
        scope = {"policy": ALL if chance.random() < 0.4 else chance.choice(_POLICIES)}
        if chance.random() < 0.3:
            scope["tenant"] = chance.choice(TENANTS)
        if outcome and chance.random() < 0.3:
            scope["outcome"] = chance.choice(OUTCOMES)
        return scope

    def _threshold(self, **scope: str) -> Letter:
        made_for = {"model": self._fold.state.model or self._models.own} if self._chance.random() < 0.3 else {}
        return letter("set_threshold", **scope, threshold=self._share(0.05, 0.6), **made_for)

    def _costs(self, **scope: str) -> Letter:
        accounting = self._chance.choice(("false-discovery", "review-charged"))
        return letter("set_costs", **scope, accounting=accounting, review=self._share(0.05, 0.6), mistake=1.0)

    def _costs_by_outcome(self, **scope: str) -> Letter:
        costs = {"review": self._share(0.05, 0.6), "missed_violation": 1.0, "wrong_removal": self._share(0.7, 3)}
        return letter("set_costs", **scope, accounting="false-discovery", **costs)

    def _budget(self) -> Letter:
        self._budgeted = self._scope()
        return letter("set_review_budget", **self._budgeted, share=self._share(0.1, 0.5), lowest=0.1, highest=0.5)

    def _bound(self) -> Letter:
        model = self._fold.state.model or self._models.own
        return letter("set_risk_bound", **_CERTIFIED, **self._scope(), threshold=self._share(0.05, 0.4), model=model)

    def _shadow(self) -> Letter:
        """Another model, other thresholds, or both; some that no worker can honour."""
        models, chance = self._models, self._chance
        fields: dict[str, Any] = {}
        if chance.random() < 0.7:
            bad = (models.uncalibrated, models.missing, models.corrupt)
            fields = {"sha256": self._good(*bad), "keep_thresholds": chance.random() < 0.5}
        if not fields or chance.random() < 0.5:
            some = [self._threshold(**self._scope()), self._costs(**self._scope())]
            fields["changes"] = [json.loads(one.value) for one in chance.sample(some, chance.randint(1, 2))]
        return letter("set_shadow", **fields)


_CERTIFIED = {
    "max_risk": 0.1,
    "confidence": 0.95,
    "labels": 3000,
    "automated": 1000,
    "errors": 60,
    "labels_sha256": "c" * 64,
    "sample": "audits",
}


def _wide(**more: Any) -> Letter:
    return letter("set_threshold", policy=ALL, threshold=1.0, **more)


def plain(state: State, own: str) -> Iterator[Letter]:
    """What puts in force what the settings give: their model and costs, nothing audited, nothing stopped, no shadow."""
    yield letter("set_model", sha256=own)
    yield letter("set_costs", policy=ALL, accounting="false-discovery", review=0.64, mistake=1.0)
    yield letter("set_audit_rate", policy=ALL, rate=0.0)
    for stop in state.stops:
        yield letter("resume_automation", **stop._asdict())
    if state.shadow is not None:
        yield letter("clear_shadow")

"""Any log, read by workers that start whenever and have whichever models: one version, one content; no automation beside it."""

import dataclasses
from collections.abc import Mapping
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule
from msgspec.structs import replace

from scoring import ModelError
from streams.pipeline.control_content import Threshold
from streams.pipeline.control_log import ControlLog
from streams.pipeline.control_messages import Rollback, encode_control
from streams.pipeline.control_signing import Trust, new_keys, sign
from streams.pipeline.controls import Baseline, Controls, honour, is_calibrated
from streams.pipeline.matching import Case
from streams.pipeline.routing import AUTO_ACTION, Verdict, decide
from streams.pipeline.scope import Scope
from tests.rig import request
from tests.streams.pipeline.test_controls import Model

SHAS = [letter * 64 for letter in "0abc"]
RAW = SHAS[3]
POLICIES = ["*", "hate", "spam"]
ANA, EVE = new_keys(), new_keys()


def model(sha256: str) -> Any:
    return Model(sha256, calibrated=sha256 != RAW, policies=frozenset({"hate", "spam"}))


class Worker:
    """Folds the log for itself, has some of the models, and one of them by its settings."""

    def __init__(self, own: str, has: frozenset[str], *, trusting: bool) -> None:
        self.trusting = trusting
        self.log = ControlLog(Trust("control", {"ana": ANA[1]}) if trusting else None)
        self.applied: list[tuple[int, bytes, bytes | None]] = []
        self.baseline = Baseline(model(own), 0.4)
        self.has = has

    def find(self, sha256: str) -> Any:
        if sha256 not in self.has:
            raise ModelError(f"no model {sha256}")
        return model(sha256)

    def read(self, topic: list[tuple[int, bytes, bytes | None]], most: int) -> None:
        for offset in range(self.log.position, min(len(topic), self.log.position + most)):
            if self.log.take(offset, *topic[offset]).is_applied:
                self.applied.append(topic[offset])

    @property
    def controls(self) -> Controls:
        return honour(self.log.content, self.log.version, self.baseline, self.find)


COMMON = {
    "expected_version": st.one_of(st.none(), st.integers(0, 12)),
    "expires_at": st.sampled_from([None, "1970-01-01T00:00:01Z", "2100-01-01T00:00:00Z"]),
    "version": st.one_of(st.none(), st.none(), st.integers(1, 12)),
    "issued_at": st.sampled_from([None, "1970-01-01T00:00:00Z", "1970-01-01T00:00:02Z", "2023-11-14T22:13:20Z"]),
}
POLICY = st.sampled_from(POLICIES)
SCOPE: dict[str, Any] = {
    "policy": POLICY,
    "tenant": st.sampled_from(["*", "*", "acme"]),
    "outcome": st.sampled_from(["*", "*", "allow", "remove"]),
}
SHA = st.sampled_from(SHAS)
CHANGES = st.one_of(
    st.fixed_dictionaries({"type": st.just("set_threshold"), **SCOPE, "threshold": st.floats(0, 1)}),
    st.fixed_dictionaries(
        {
            "type": st.just("set_costs"),
            **SCOPE,
            "accounting": st.just("false-discovery"),
            "review": st.floats(0.1, 2),
            "mistake": st.floats(0.1, 2),
        }
    ),
)
MESSAGES = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("set_threshold"),
            **SCOPE,
            "threshold": st.floats(0, 1),
            "model": st.none() | SHA,
            **COMMON,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("set_costs"),
            **SCOPE,
            "accounting": st.just("review-charged"),
            "review": st.floats(0.1, 2),
            **{name: st.none() | st.floats(0.1, 2) for name in ("mistake", "missed_violation", "wrong_removal")},
            **COMMON,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("set_review_budget"),
            **SCOPE,
            "share": st.floats(0.1, 0.9),
            "lowest": st.floats(0, 1),
            "highest": st.floats(0, 1),
            "model": st.none() | SHA,
            **COMMON,
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("adjust_threshold"), **SCOPE, "threshold": st.floats(0, 1), **COMMON},
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("set_risk_bound"),
            **SCOPE,
            "max_risk": st.sampled_from([0.1, 0.3]),
            "confidence": st.just(0.9),
            "threshold": st.floats(0, 1),
            "labels": st.just(100),
            "automated": st.integers(0, 100),
            "errors": st.integers(0, 10),
            "labels_sha256": SHA,
            "sample": st.just("audits"),
            "model": SHA,
            **COMMON,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("set_audit_rate"),
            **SCOPE,
            "rate": st.floats(0, 1),
            "floor": st.just(0.0) | st.floats(0, 1),
            **COMMON,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["set_model", "prepare_model"]),
            "sha256": SHA,
            "keep_thresholds": st.booleans(),
            **COMMON,
        }
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["stop_automation", "resume_automation"]), **SCOPE, **COMMON}),
    st.fixed_dictionaries({"type": st.just("rollback"), "to_version": st.integers(0, 12), **COMMON}),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["set_shadow", "prepare_shadow"]),
            "keep_thresholds": st.booleans(),
            "changes": st.lists(CHANGES, max_size=2),
            **COMMON,
        },
        optional={"sha256": SHA},
    ),
    st.fixed_dictionaries({"type": st.just("clear_shadow"), **COMMON}),
)
VALUES = st.one_of(MESSAGES.map(encode_control), st.binary(max_size=20), st.just(b'{"type": "set_everything"}'))


class OneLogManyWorkers(RuleBasedStateMachine):
    """Messages come, workers start, read on, get models, end."""

    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.topic: list[tuple[int, bytes, bytes | None]] = []
        self.running: list[Worker] = []
        self.changed: list[Worker] = []
        """By the last step: what did not change was checked before."""
        self.hash_of: dict[tuple[bool, int], str] = {}

    @rule(value=VALUES, stamp=st.sampled_from([0, 2_000, 1_700_000_000_000]), key=st.sampled_from([None, ANA, EVE]))
    def write(self, value: bytes, stamp: int, key: tuple[bytes, bytes] | None) -> None:
        self.topic.append((stamp, value, key and sign(key[0], "control", value)))
        self.changed = []

    @rule(policy=POLICY, second=st.integers(0, 9))
    def write_signed(self, policy: str, second: int) -> None:
        issued, late = f"2023-11-14T22:13:0{second}Z", "2100-01-01T00:00:00Z"
        stop = {"type": "stop_automation", "policy": policy, "issued_at": issued, "expires_at": late}
        self.write(encode_control(stop), 1_700_000_000_000, ANA)  # type: ignore[arg-type]

    @rule(data=st.data())
    @precondition(lambda self: self.topic)
    def write_a_copy(self, data: st.DataObject) -> None:
        _, value, signature = data.draw(st.sampled_from(self.topic))
        self.topic.append((1_700_000_000_000, value, signature))
        self.changed = []

    @rule(target=workers, own=SHA, has=st.frozensets(SHA), trusting=st.booleans())
    def start(self, own: str, has: frozenset[str], *, trusting: bool) -> Worker:
        worker = Worker(own, has | {own}, trusting=trusting)
        worker.read(self.topic, len(self.topic))
        self.running.append(worker)
        self.changed = [worker]
        return worker

    @rule(worker=workers, most=st.integers(1, 5))
    def read_on(self, worker: Worker, most: int) -> None:
        worker.read(self.topic, most)
        self.changed = [worker]

    @rule(worker=workers, sha256=SHA)
    def get_model(self, worker: Worker, sha256: str) -> None:
        worker.has |= {sha256}
        self.changed = [worker]

    @rule(worker=consumes(workers))
    def end(self, worker: Worker) -> None:
        self.running.remove(worker)
        self.changed = []

    @invariant()
    def one_version_is_one_content(self) -> None:
        for worker in self.changed:
            log = worker.log
            known = worker.trusting, log.version
            assert log.content.hash == self.hash_of.setdefault(known, log.content.hash)

    @invariant()
    def a_position_has_one_version(self) -> None:
        versions: dict[tuple[bool, int], int] = {}
        for worker in self.running:
            known = worker.trusting, worker.log.position
            assert worker.log.version == versions.setdefault(known, worker.log.version)

    @invariant()
    def who_trusts_a_key_goes_by_its_messages_alone(self) -> None:
        for worker in self.changed:
            signatures = [signature for _, _, signature in worker.applied]
            if worker.trusting:
                assert signatures == [sign(ANA[0], "control", value) for _, value, _ in worker.applied]
                assert len(signatures) == len(set(signatures))

    @invariant()
    def nothing_in_force_hangs_on_the_shadow(self) -> None:
        for worker in self.changed:
            controls, content = worker.controls, worker.log.content
            without = honour(replace(content, shadow=None), controls.version, worker.baseline, worker.find)
            assert without == dataclasses.replace(controls, shadow=None, shadow_problem=None)
            if controls.shadow is None:
                assert (content.shadow is None) == (controls.shadow_problem is None)
                continue
            assert content.shadow is not None
            looking = controls.shadow.model
            assert looking is not None
            assert looking.sha256 == (content.shadow.model or content.model or worker.baseline.model.sha256)
            assert looking.sha256 in worker.has
            assert (None, frozenset()) == (controls.shadow.problem, controls.shadow.stopped)

    @invariant()
    def what_is_automated_is_in_force(self) -> None:
        for worker in self.changed:
            controls = worker.controls
            for policy, tenant, outcome in product(POLICIES[1:], ("*", "acme", "other"), (0, 1)):
                self._check(worker, controls, policy, tenant, outcome)

    def _check(self, worker: Worker, controls: Controls, policy: str, tenant: str, outcome: int) -> None:
        content = worker.log.content
        verdict = Verdict()
        verdict.outcome, verdict.error_probability = outcome, 0.05
        case = Case("a", policy, request(), None, None, tenant=tenant)
        decision = decide(case, verdict, controls)
        threshold, audited = decision.threshold, decision.audit_probability
        if not worker.log.position:
            assert (decision.route == AUTO_ACTION) == (worker.baseline.model.sha256 != RAW)
        if decision.route != AUTO_ACTION:
            return
        assert controls.problem is None
        lies_in = (policy, tenant, ("allow", "remove")[outcome])
        assert not any(lies(lies_in, scope) for scope in content.stops)
        asked = first_of(content.thresholds, lies_in)
        assert asked is not None
        assert audited >= max(one.floor for scope, one in content.audit_rates.items() if lies(lies_in, scope))
        used = controls.model
        assert used is not None
        assert used.sha256 == (content.model or worker.baseline.model.sha256)
        assert used.sha256 in worker.has
        assert threshold == (0.4 if asked.value is None else asked.value)
        if asked.origin == "bound":
            assert asked.bound is not None
            assert (asked.model, ()) == (used.sha256, asked.kept_from)
        if asked.budget is not None:
            assert asked.budget.lowest <= threshold <= asked.budget.highest
        if asked.origin not in ("settings", "costs"):
            assert asked.model in (None, used.sha256)
            assert not asked.kept_from or is_calibrated(used)
        else:
            assert is_calibrated(used)


def lies(decision: tuple[str, str, str], scope: Scope) -> bool:
    """The rule again, in other words: what a scope names is what the decision has."""
    return all(named in ("*", has) for named, has in zip(scope, decision, strict=True))


def first_of(settings: Mapping[Scope, Threshold], decision: tuple[str, str, str]) -> Threshold | None:
    """By brute force: of all that the decision lies in, what names the policy comes first, then the tenant, then the outcome."""
    found = [scope for scope in settings if lies(decision, scope)]
    return settings[min(found, key=lambda scope: tuple(name == "*" for name in scope))] if found else None


TestOneLogManyWorkers = OneLogManyWorkers.TestCase
TestOneLogManyWorkers.settings = settings(max_examples=150, stateful_step_count=40)


@given(st.lists(MESSAGES, max_size=12))
def test_a_message_says_of_which_settings_it_takes_away_the_narrower_ones(messages: list[dict[str, Any]]) -> None:
    """Or the command would not ask before it does; a rollback takes away what came since."""
    log = ControlLog()
    for message in messages:
        before = log.content
        taken = log.take(log.position, 0, encode_control(message))  # type: ignore[arg-type]
        if taken.message is not None and not isinstance(taken.message, Rollback):
            gone = {
                kind
                for kind in ("thresholds", "audit_rates")
                if set(getattr(before, kind)) - set(getattr(log.content, kind))
            }
            assert gone <= {taken.message.replaces}

"""The trial of the controls under load: its checker, which shares no code with the stream, against the stream's own fold and routing."""

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest

from scoring import ModelError
from streams.pipeline.control_log import ControlLog
from streams.pipeline.control_signing import Trust
from streams.pipeline.controls import Baseline, honour
from streams.pipeline.encoding import DecisionEncoder
from streams.pipeline.matching import Case
from streams.pipeline.reasons import Reason
from streams.pipeline.routing import Verdict, decide
from streams.pipeline.scope import EVERY, UNREADABLE
from tests.rig import request
from tests.streams.pipeline.test_controls import Model

_POLICIES = frozenset({"hate", "violence"})


def _decided_under_every_kind(
    count: int, lacking: str | None = None, *, signed: bool = False
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Decisions of the stream's own fold, honouring and routing among `count` messages of every kind; with what the checker takes.

    `lacking` is a model that the worker does not have.
    """
    from control_check import Answer, Decided, Facts
    from control_check import Model as Known
    from control_fold import Fold
    from control_models import TENANTS, Models
    from control_script import Script, Signer

    names = Models(*(letter * 64 for letter in "abcdef"))
    calibrated = {names.own: True, names.other: True, names.uncalibrated: False}
    has = {sha256: Model(sha256, calibrated=one, policies=_POLICIES) for sha256, one in calibrated.items()}
    facts = Facts({sha256: Known(one, _POLICIES) for sha256, one in calibrated.items()}, names.own, 0.4)
    has.pop(lacking or "", None)

    def find(sha256: str) -> Any:
        if sha256 not in has:
            raise ModelError(sha256)
        return has[sha256]

    stamp, chance = 1_800_000_000_000, Random(1)
    signer = Signer("control", bytes(32), lambda: stamp / 1000) if signed else None
    fold = Fold(signer and signer.keys())
    log = ControlLog(Trust("control", {"operator": signer.public}) if signer else None)
    for offset, one in zip(range(count), Script(names, fold, chance, signed=signed).messages(), strict=False):
        value, signature = signer.sign(one) if signer else (one.value, None)
        stamp += 1000
        refused = log.take(offset, stamp, value, signature).refusal is not None
        fold.take(offset, stamp, value, signature)
        assert (refused, log.version) == (offset in fold.refused, fold.version), value
        controls = honour(log.content, log.version, Baseline(Model(names.own, policies=_POLICIES), 0.4), find)  # type: ignore[arg-type]
        scores = {sha256: round(chance.random(), 7) for sha256 in calibrated}
        policy, tenant = chance.choice(("hate", "violence", "spam")), chance.choice((EVERY, UNREADABLE, *TENANTS))
        answer = Answer(policy, chance.choice((-1, 0, 1, 1, 1, 2, 3)), scores, tenant)
        case = Case(f"0001-{offset:08d}", policy, request(), None, None, tenant=tenant)
        verdict, stamped = _verdict(answer, controls), None
        if controls.shadow is not None:
            beside = _verdict(answer, controls.shadow)
            other = decide(case, beside, controls.shadow)
            model = controls.shadow.model
            stamped = {
                "model": model and model.sha256,
                "error_probability": beside.error_probability,
                "threshold": other.threshold,
                "route": other.route,
                "reasons": [other.reason],
            }
        decision = decide(case, verdict, controls)
        output = DecisionEncoder(controls, "2026-11-26T05:00:00.000Z").encode(case, verdict, decision, stamped)
        yield msgspec.json.decode(output.value or b"", type=Decided), answer, fold.states, facts


def _verdict(answer: Any, controls: Any) -> Verdict:
    verdict = Verdict()
    verdict.outcome = answer.outcome
    if answer.outcome in (0, 1) and controls.model is not None:
        verdict.error_probability = answer.scores[controls.model.sha256]
    if answer.outcome < 0:
        verdict.reason = Reason.OUTCOME_MISSING
    return verdict


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.usefixtures("_benchmarks")
def test_the_checker_of_controls_agrees_with_the_stream_on_every_kind_of_message(signed: bool) -> None:
    """Two folds and two routings, written apart, arrive at the same versions, refusals and decisions."""
    from control_check import wrongs

    reasons: Counter[str] = Counter()
    shadows: Counter[str] = Counter()
    for decided, answer, states, facts in _decided_under_every_kind(3000, signed=signed):
        assert not wrongs(decided, answer, states, facts)
        reasons[decided.reasons[0]] += 1
        shadows[decided.shadow.route if decided.shadow else ""] += 1

    rare = {
        "controls_not_honoured",
        "automation_stopped",
        "no_threshold",
        "tenant_unreadable",
        "audit",
        "above_threshold",
        "below_threshold",
    }
    assert rare <= reasons.keys()
    assert {"", "auto-action", "human-review"} == shadows.keys()


@pytest.mark.usefixtures("_benchmarks")
def test_the_checker_of_controls_finds_each_wrong_stamp() -> None:
    """Another version, model, threshold, route, reason, action or P(error) than what was in force."""
    from control_check import Scorer, Stamp, wrongs

    found: Counter[str] = Counter()
    for decided, answer, states, facts in _decided_under_every_kind(300):
        if decided.reasons != ["below_threshold"]:
            continue
        for name, wrong in {
            "control_version": max(states) + 1,
            "model": Scorer("f" * 64),
            "threshold": (decided.threshold or 0) + 0.01,
            "route": "human-review",
            "reasons": ["audit"],
            "action": "review",
            "error_probability": (decided.error_probability or 0) + 0.01,
            "tenant": "another",
            "audit_probability": decided.audit_probability + 0.01,
            "shadow": None if decided.shadow else Stamp(None, None, None, "human-review", []),
        }.items():
            said = wrongs(msgspec.structs.replace(decided, **{name: wrong}), answer, states, facts)
            assert any(line.startswith(name) for line in said), (name, said)
            found[name] += 1
    assert 10 == len(found)


@pytest.mark.usefixtures("_benchmarks")
def test_the_checker_of_controls_finds_what_was_decided_under_another_version() -> None:
    """A worker that stamps the version in force and decides under the one before is found as soon as the two differ."""
    from control_check import wrongs

    caught = 0
    for decided, answer, states, facts in _decided_under_every_kind(300):
        late = {**states, decided.control_version: list(states.values())[-2 if len(states) > 1 else -1]}
        caught += bool(wrongs(decided, answer, late, facts))
    assert caught


@pytest.mark.usefixtures("_benchmarks")
def test_the_checker_of_controls_knows_that_a_worker_lacks_a_model() -> None:
    """What it decides is right for one without that model, and wrong for one with it."""
    from control_check import wrongs

    lacking = "b" * 64
    closed = 0
    for decided, answer, states, facts in _decided_under_every_kind(300, lacking):
        assert not wrongs(decided, answer, states, facts.without(lacking))
        closed += bool(wrongs(decided, answer, states, facts))
    assert closed


@pytest.mark.usefixtures("_benchmarks")
def test_the_times_of_a_swap_are_those_of_the_last_worker_and_the_last_decision() -> None:
    """From the broker's stamp of the message; a stop counts until the last automated decision could be read."""
    from control_check import Decided, Scorer
    from control_figures import after_stops, counts, in_force, under_the_old
    from control_fold import Fold
    from control_traffic import Log, Said, Seen

    log = Log(Fold(), {0: 1000, 1: 2000}, [])
    for offset, kind in enumerate(("stop_automation", "resume_automation")):
        log.fold.take(offset, 0, b'{"type":"%s","policy":"*"}' % kind.encode())
    said = [
        Said("a", "applied", "", version, version, "", honoured=True, stored_at=at)
        for version, at in ((0, 900), (1, 1010), (2, 2005))
    ] + [
        Said("b", "applied", "", version, version, "", honoured=True, stored_at=at)
        for version, at in ((0, 900), (2, 2300))
    ]

    def seen(version: int, decided_at: str, at: float, route: str = "auto-action") -> Seen:
        decided = Decided(
            "0001-0",
            "hate",
            None,
            route,
            "",
            None,
            None,
            1.0,
            [],
            Scorer(None),
            version,
            f"1970-01-01T00:00:0{decided_at}Z",
        )
        return Seen(decided, 0, at)

    decisions = [
        seen(0, "1.040", 1200),
        seen(0, "0.900", 1250),
        seen(1, "1.500", 1600, "human-review"),
        seen(2, "2.100", 2200),
    ]

    assert [1300.0, 300.0] == in_force(log, said)
    assert [40.0] == under_the_old(decisions, log)
    assert ([40.0], [250.0]) == after_stops(decisions, log, [0])
    assert 1 == counts([*decisions, seen(1, "2.200", 2300)], 1)["versions_that_went_back"]

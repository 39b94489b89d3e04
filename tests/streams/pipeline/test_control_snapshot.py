"""Snapshots: whoever begins at one that was taken holds the same, and refuses the same, as whoever has read everything."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.errors import ControlError
from streams.pipeline import control_snapshot
from streams.pipeline.control_content import NOTHING_SAID, AuditRate, Bound, Budget, Content, Shadow, Threshold
from streams.pipeline.control_fields import Past
from streams.pipeline.control_limits import AdjustThreshold, SetReviewBudget
from streams.pipeline.control_log import ControlLog, Taken
from streams.pipeline.control_messages import (
    ResumeAutomation,
    Rollback,
    SetModel,
    SetShadow,
    SetThreshold,
    Snapshot,
    StopAutomation,
    encode_control,
    parse_control,
)
from streams.pipeline.control_signing import Trust, new_keys, sign
from streams.pipeline.control_snapshot import encode_content
from streams.pipeline.scope import EVERYTHING, Scope, Scoped
from tests.streams.pipeline.test_controls import BOUND
from tests.streams.pipeline.test_controls_model import ANA, EVE, POLICY, VALUES

Record = tuple[int, bytes, bytes | None]
BO = new_keys()
TRUST = Trust("control", {"ana": ANA[1], "bo": BO[1]})
FIRST = 1_700_000_001_000
MUCH = 1_000_000


class Topic:
    """The control topic, and one who has read all of it, with keys and without."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.all = {True: ControlLog(TRUST), False: ControlLog()}
        self.taken: dict[bool, dict[int, Taken]] = {True: {}, False: {}}

    @property
    def stamp(self) -> int:
        return FIRST + 1000 * len(self.records)

    def write(self, value: bytes, key: tuple[bytes, bytes] | None = None, signature: bytes | None = None) -> None:
        record = self.stamp, value, signature or (key and sign(key[0], "control", value))
        self.records.append(record)
        for trusting, log in self.all.items():
            one = log.take(len(self.records) - 1, *record)
            self.taken[trusting][one.offset] = one

    def write_message(self, message: Any, key: tuple[bytes, bytes] | None = ANA) -> None:
        """Signed in time, if it is signed at all."""
        at = datetime.fromtimestamp(self.stamp / 1000, UTC)
        self.write(encode_control(replace(message, issued_at=at, expires_at=datetime(2100, 1, 1, tzinfo=UTC))), key)

    def snapshot(self, *, trusting: bool) -> Snapshot:
        return self.all[trusting].snapshot(len(self.records), self.taken[trusting], MUCH)

    def compact(self, *, trusting: bool, key: tuple[bytes, bytes] = ANA) -> Taken:
        self.write_message(self.snapshot(trusting=trusting), key)
        return self.taken[trusting][len(self.records) - 1]

    def read(self, start: int, *, trusting: bool) -> tuple[ControlLog, list[Any]]:
        """A reader who begins at an offset, and what it made of each record from there on."""
        log = ControlLog(TRUST if trusting else None, start)
        made = []
        for offset in range(start, len(self.records)):
            one = log.take(offset, *self.records[offset])
            code = one.refusal and one.refusal.code
            made.append((one.is_applied, code, one.signed_by, log.is_whole, log.version, log.content))
        return log, made

    def snapshots(self, *, trusting: bool) -> Iterator[int]:
        for one in self.taken[trusting].values():
            if isinstance(one.message, Snapshot) and one.refusal is None:
                yield one.offset


def forged(snapshot: Snapshot, how: str) -> Snapshot:
    """A snapshot that is not what its log says."""
    match how:
        case "elsewhere":
            return replace(snapshot, position=snapshot.position + 1)
        case "content":
            rates = msgspec.json.decode(snapshot.content)["audit_rates"]
            other = [*rates, [["nobody's", "*", "*"], {"rate": 0.5}]]
            stated = {**msgspec.json.decode(snapshot.content), "audit_rates": other}
            return replace(snapshot, content=msgspec.Raw(msgspec.json.encode(stated)))
        case "count":
            return replace(snapshot, counted=snapshot.counted + 1)
        case "issued":
            return replace(snapshot, issued={"f" * 16: 1.0})
        case "base":
            return replace(snapshot, base=snapshot.base + 1)
        case "expecting":
            return replace(snapshot, version=1_000)
    raise AssertionError(how)


HOW = ["elsewhere", "content", "count", "issued", "base", "expecting"]
KEY = st.sampled_from([None, ANA, BO, EVE])
STEPS = st.one_of(
    st.tuples(st.just("any"), VALUES, KEY),
    st.tuples(st.just("stop"), POLICY, KEY),
    st.tuples(st.just("resume"), POLICY, KEY),
    st.tuples(st.just("threshold"), POLICY, KEY),
    st.tuples(st.just("rollback"), st.integers(0, 12), KEY),
    st.tuples(st.just("copy"), st.integers(0, 30), KEY),
    st.tuples(st.just("forge"), st.sampled_from(HOW), KEY),
    st.tuples(st.just("compact"), st.booleans(), KEY),
    st.tuples(st.just("compact"), st.booleans(), KEY),
)


def carry_out(topic: Topic, step: Any) -> None:
    what, how, key = step
    match what:
        case "any":
            topic.write(how, key)
        case "stop":
            topic.write_message(StopAutomation(policy=how), key)
        case "resume":
            topic.write_message(ResumeAutomation(policy=how), key)
        case "threshold":
            topic.write_message(SetThreshold(policy=how, threshold=0.5), key)
        case "rollback":
            topic.write_message(Rollback(to_version=how), key)
        case "copy" if topic.records:
            _, value, signature = topic.records[how % len(topic.records)]
            topic.write(value, signature=signature)
        case "forge":
            topic.write_message(forged(topic.snapshot(trusting=True), how), key)
        case "compact":
            assert topic.compact(trusting=how, key=key if key in (ANA, BO) else ANA).refusal is None


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=25), st.integers(1, 4))
def test_beginning_at_a_snapshot_is_having_read_everything(steps: list[Any], kept: int) -> None:
    """Any log, compacted anywhere, begun at any snapshot: the same in force at the same version, the same refused, the same to go back to."""
    topic = Topic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control_snapshot, "KEPT", kept)
        for step in steps:
            carry_out(topic, step)
    for trusting in (True, False):
        whole, told = topic.read(0, trusting=trusting)
        for start in topic.snapshots(trusting=trusting):
            log, made = topic.read(start, trusting=trusting)
            assert told[start:] == made
            assert (whole.versions, whole.content.hash, whole.is_whole) == (
                log.versions,
                log.content.hash,
                log.is_whole,
            )
            assert whole._counted == log._counted  # what decides on messages that are yet to come
            assert not trusting or whole._last_issued == log._last_issued


@pytest.mark.parametrize("how", HOW)
def test_a_snapshot_that_is_not_what_its_log_says_is_refused(how: str) -> None:
    """And changes nothing; nor does one that somebody else has signed, or nobody, or that is copied."""
    topic = Topic()
    topic.write_message(StopAutomation(policy="hate"))
    topic.write_message(SetThreshold(policy="spam", threshold=0.5))
    before = topic.all[True].version, topic.all[True].content, topic.all[True].versions
    honest = topic.snapshot(trusting=True)
    topic.write_message(forged(honest, how))
    topic.write_message(replace(topic.snapshot(trusting=True), position=len(topic.records)), EVE)
    topic.write_message(topic.snapshot(trusting=True), None)
    refusals = [topic.taken[True][offset].refusal for offset in (2, 3, 4)]
    codes = [refusal.code for refusal in refusals if refusal]
    assert {"elsewhere": "stale", "expecting": "invalid"}.get(how, "differs") == codes[0]
    assert ["bad_signature", "unsigned"] == codes[1:]
    assert before == (topic.all[True].version, topic.all[True].content, topic.all[True].versions)
    assert topic.compact(trusting=True).refusal is None
    _, value, signature = topic.records[-1]
    topic.write(value, signature=signature)
    assert "replayed" == topic.taken[True][len(topic.records) - 1].refusal.code  # type: ignore[union-attr]


def test_what_comes_between_makes_it_void() -> None:
    """A stop that was quicker than the snapshot is not forgotten by those who would begin there."""
    topic = Topic()
    topic.write_message(SetThreshold(policy="*", threshold=0.5))
    late = topic.snapshot(trusting=True)
    topic.write_message(StopAutomation(policy="*"))
    topic.write_message(late)
    assert "stale" == topic.taken[True][2].refusal.code  # type: ignore[union-attr]
    log, _ = topic.read(2, trusting=True)
    assert not log.is_whole


def test_a_log_without_its_beginning_is_not_whole() -> None:
    """Neither where no snapshot stands first, nor where one comes later, which nothing holds against what is gone."""
    topic = Topic()
    topic.write_message(StopAutomation(policy="*"))
    topic.write_message(SetThreshold(policy="*", threshold=0.5))
    topic.compact(trusting=True)
    for start, whole in ((0, True), (1, False), (2, True)):
        log, made = topic.read(start, trusting=True)
        assert whole == log.is_whole
        assert whole == (made[-1][1] is None)


@pytest.mark.parametrize("key", [ANA, BO])
def test_what_was_signed_before_a_snapshot_does_not_count_again_after_it(key: tuple[bytes, bytes]) -> None:
    """Its copy is refused by those who have never seen the original, whoever signed the snapshot."""
    topic = Topic()
    topic.write_message(SetThreshold(policy="*", threshold=0.9), key)
    topic.write_message(StopAutomation(policy="*"))
    topic.compact(trusting=True)
    _, value, signature = topic.records[0]
    topic.write(value, signature=signature)
    _, made = topic.read(2, trusting=True)
    assert "replayed" == made[-1][1]


def test_a_snapshot_that_came_out_of_order_is_nothing_to_begin_with() -> None:
    """Those who have read what its key signed before refuse it too."""
    topic = Topic()
    topic.write_message(StopAutomation(policy="*"))
    old = datetime(2023, 11, 14, tzinfo=UTC)
    snapshot = replace(topic.snapshot(trusting=True), issued_at=old, expires_at=datetime(2100, 1, 1, tzinfo=UTC))
    topic.write(encode_control(snapshot), ANA)
    assert "replayed" == topic.taken[True][1].refusal.code  # type: ignore[union-attr]
    log, made = topic.read(1, trusting=True)
    assert ("replayed", False) == (made[0][1], log.is_whole)


def test_names_of_keys_do_not_matter() -> None:
    """Whoever calls the same key something else takes the same snapshot."""
    topic = Topic()
    topic.write_message(StopAutomation(policy="*"))
    topic.compact(trusting=True)
    log = ControlLog(Trust("control", {"ana at work": ANA[1], "bo": BO[1]}))
    assert [None, None] == [log.take(offset, *record).refusal for offset, record in enumerate(topic.records)]


def test_only_what_it_holds_can_be_rolled_back_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """By those who began before it too."""
    monkeypatch.setattr(control_snapshot, "KEPT", 3)
    topic = Topic()
    for value in (0.1, 0.2, 0.3, 0.4):
        topic.write_message(SetThreshold(policy="*", threshold=value))
    topic.compact(trusting=True)
    assert [2, 3, 4] == [version for version, _ in topic.all[True].versions]
    topic.write_message(Rollback(to_version=1))
    topic.write_message(Rollback(to_version=2))
    for start in (0, 4):
        log, made = topic.read(start, trusting=True)
        assert ["unknown_version", None] == [code for _, code, *_ in made[-2:]]
        assert 0.2 == log.content.thresholds[EVERYTHING].value


def test_it_holds_as_many_versions_as_fit() -> None:
    """Fewer where room is short; none fits nowhere."""
    topic = Topic()
    for number in range(50):
        topic.write_message(SetThreshold(policy="hate", threshold=number / 100))
    whole = topic.snapshot(trusting=True)
    size = len(encode_control(whole))
    some = topic.all[True].snapshot(50, topic.taken[True], size - 1)
    assert whole.base < some.base <= 50
    assert len(encode_control(some)) < size
    with pytest.raises(ControlError, match="does not fit in a record of 100 bytes"):
        topic.all[True].snapshot(50, topic.taken[True], 100)


def test_it_says_who_set_what_is_in_force() -> None:
    """The messages that did stand in it, however long ago."""
    topic = Topic()
    topic.write_message(StopAutomation(policy="hate", issued_by="ana", reason="wrong removals"))
    for _ in range(control_snapshot.KEPT + 5):
        topic.write_message(SetThreshold(policy="spam", threshold=0.5, issued_by="bo"))
    snapshot = topic.snapshot(trusting=True)
    first = snapshot.messages[0]
    stop = parse_control(bytes(first.message))
    assert (0, FIRST, "ana", "ana", "wrong removals") == (
        first.offset,
        first.timestamp,
        first.signed_by,
        stop.issued_by,
        stop.reason,
    )
    assert snapshot.base > first.offset + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"content": encode_content(Content(audit_rates=Scoped()))},
        {"content": msgspec.Raw(b'{"stops": [], "shadow": "a"}')},
        {"content": msgspec.Raw(b'{"stops": [["a"]]}')},
        {"base": 9},
        {"messages": [Past(5, msgspec.Raw(b'{"type":"stop_automation","policy":"*"}'))]},
        {"messages": [Past(0, msgspec.Raw(b'{"type":"prepare_model","sha256":"' + b"a" * 64 + b'"}'))]},
        {"messages": [Past(0, msgspec.Raw(b'{"type":"rollback","to_version":7}'))]},
        {"messages": [Past(0, msgspec.Raw(b'{"type":"set_everything"}'))]},
        {"base": 1, "messages": [Past(0, msgspec.Raw(b'{"type":"set_everything"}'))]},
        {"messages": [Past(0, msgspec.Raw(b'{"type":"stop_automation","policy":"*"}'), 10**18)]},
    ],
)
def test_a_snapshot_that_makes_no_sense_is_nothing_to_begin_with(wrong: dict[str, Any]) -> None:
    """A reader who knows no better stays closed."""
    given_ = {
        "position": 1,
        "base": 0,
        "content": encode_content(NOTHING_SAID),
        "counted": 0,
        "issued": {},
        "messages": [],
    }
    log = ControlLog(start=1)
    assert log.take(1, None, encode_control(Snapshot(**{**given_, **wrong}))).refusal is not None
    assert not log.is_whole
    log = ControlLog(start=1)
    assert log.take(1, None, encode_control(Snapshot(**given_))).refusal is None  # type: ignore[arg-type]
    assert log.is_whole


def test_a_snapshot_that_is_nested_too_deep_ends_nobody() -> None:
    """One that can just be read as a message, but not what it says is in force."""
    for depth in range(1, sys.getrecursionlimit() + 50):
        rates, deep = b'[[["*","*","*"],{"rate":0}]]', b"[" * depth + b"]" * depth
        content = b'{"audit_rates":%b,"shadow":{"model":null,"keep_thresholds":false,"changes":[%b]}}' % (rates, deep)
        value = (
            b'{"type":"snapshot","position":0,"base":0,"counted":0,"issued":{},"messages":[],"content":%b}' % content
        )
        assert ControlLog().take(0, None, value).refusal is not None


def test_what_a_later_version_says_is_not_read_as_less() -> None:
    """No part of what is in force takes a field that it does not know: a worker that is too old stays closed instead."""
    inner = (Content, Threshold)
    parts = {
        Snapshot,
        Content,
        *(part for one in inner for kind in get_type_hints(one).values() for part in get_args(kind)),
    }
    structs = [part for part in parts if isinstance(part, type) and issubclass(part, msgspec.Struct)]
    assert {Snapshot, Content, Threshold, AuditRate, Shadow, Budget, Bound} <= set(structs)
    assert [] == [part for part in structs if not part.__struct_config__.forbid_unknown_fields]


def test_budgets_bounds_and_shadows_are_in_it() -> None:
    """Whoever begins there moves what a budget moves, and knows what a bound was certified on."""
    topic = Topic()
    topic.write_message(SetModel(sha256="a" * 64))
    topic.write_message(SetReviewBudget(policy="hate", share=0.3, lowest=0.1, highest=0.6))
    topic.write_message(AdjustThreshold(policy="hate", threshold=0.2, expected_version=topic.all[True].version))
    topic.write_message(replace(BOUND, policy="spam", tenant="acme", model="a" * 64))
    topic.write_message(SetShadow(changes=(SetThreshold(policy="*", threshold=0.5),)))
    assert topic.all[True].version == 5
    topic.compact(trusting=True)
    topic.write_message(AdjustThreshold(policy="hate", threshold=0.3, expected_version=5))
    begun_there, _ = topic.read(5, trusting=True)
    assert begun_there.content.hash == topic.all[True].content.hash
    assert 0.3 == begun_there.content.thresholds[Scope("hate")].value

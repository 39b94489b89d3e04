"""Signed control messages: only those of trusted keys count, and each once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.pipeline.control_log import ControlLog, Taken
from streams.pipeline.control_messages import SetThreshold, StopAutomation, encode_control
from streams.pipeline.control_signing import Trust, new_keys, read_key, sign, write_key
from streams.pipeline.reasons import Refusal
from streams.pipeline.scope import EVERYTHING

TOPIC = "moderation.control"
ANA, BEN, EVE = new_keys(), new_keys(), new_keys()
TRUST = Trust(TOPIC, {"ana": ANA[1], "ben": BEN[1]})
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def value(second: float = 0, threshold: float = 0.3, **more: Any) -> bytes:
    """A message issued then, that expires in an hour."""
    issued = NOW + timedelta(seconds=second)
    given: dict[str, Any] = {"issued_at": issued, "expires_at": NOW + timedelta(hours=1), **more}
    return encode_control(SetThreshold(policy="hate", threshold=threshold, **given))


def take(log: ControlLog, message: bytes, signature: bytes | None, second: float = 0) -> Taken:
    return log.take(log.position, int((NOW.timestamp() + second) * 1000), message, signature)


def code(taken: Taken) -> str | None:
    return taken.refusal and taken.refusal.code


def test_a_message_of_a_trusted_key_counts() -> None:
    """And the name of the key is told. Without trust, signatures are not looked at."""
    taken = take(ControlLog(TRUST), value(), sign(BEN[0], TOPIC, value()))
    assert (None, True, "ben") == (taken.refusal, taken.is_applied, taken.signed_by)
    assert take(ControlLog(), value(), b"nonsense").is_applied


@pytest.mark.parametrize(
    ("signature", "refusal"),
    [
        (None, Refusal.UNSIGNED),
        (b"", Refusal.BAD_SIGNATURE),
        (b"nonsense", Refusal.BAD_SIGNATURE),
        (sign(EVE[0], TOPIC, value()), Refusal.BAD_SIGNATURE),
        (sign(ANA[0], "eu.moderation.control", value()), Refusal.BAD_SIGNATURE),
        (sign(ANA[0], TOPIC, value(threshold=0.4)), Refusal.BAD_SIGNATURE),
        (
            sign(ANA[0], TOPIC, value()).split(b":")[0] + b":" + sign(EVE[0], TOPIC, value()).split(b":")[1],
            Refusal.BAD_SIGNATURE,
        ),
        (sign(ANA[0], TOPIC, value()) + b"\n", Refusal.BAD_SIGNATURE),
        (sign(ANA[0], TOPIC, value())[:-4], Refusal.BAD_SIGNATURE),
    ],
)
def test_anything_else_is_refused(signature: bytes | None, refusal: str) -> None:
    """Unsigned, by a stranger, for another pipeline, over another message, under another's id, cut: nothing changes."""
    log = ControlLog(TRUST)
    assert (refusal, None) == (code(take(log, value(), signature)), log._last_issued.get("ana"))
    assert (0, 1) == (log.version, log.position)


def test_a_copy_is_refused() -> None:
    """Of what was applied, and of what was refused when it came and would fit now; another key's time is its own."""
    log = ControlLog(TRUST)
    early = value(1, expected_version=1)
    assert Refusal.STALE == code(take(log, early, sign(ANA[0], TOPIC, early)))
    assert take(log, value(0), sign(BEN[0], TOPIC, value(0))).is_applied
    assert Refusal.REPLAYED == code(take(log, value(0), sign(BEN[0], TOPIC, value(0))))
    assert Refusal.REPLAYED == code(take(log, early, sign(ANA[0], TOPIC, early)))
    assert take(log, value(2), sign(ANA[0], TOPIC, value(2))).is_applied


def test_a_message_that_was_held_back_expires() -> None:
    """So `expires_at` must be given, and `issued_at`; one from the future would shut its key out, and is refused alone."""
    log = ControlLog(TRUST)
    assert Refusal.EXPIRED == code(take(log, value(), sign(ANA[0], TOPIC, value()), second=3600))
    for lacking in ({"expires_at": None}, {"issued_at": None}):
        message = value(1, **lacking)
        assert Refusal.UNSIGNED == code(take(log, message, sign(ANA[0], TOPIC, message)))
    future = value(301)
    assert Refusal.REPLAYED == code(take(log, future, sign(ANA[0], TOPIC, future)))
    assert take(log, value(1), sign(ANA[0], TOPIC, value(1))).is_applied


def test_what_stands_before_the_first_signed_offset_counts_as_it_is() -> None:
    """So that keys can be brought in while a pipeline runs, and an old stop still holds."""
    log = ControlLog(Trust(TOPIC, TRUST.keys, signed_from=1))
    assert take(log, encode_control(StopAutomation(policy="*")), None).is_applied
    assert Refusal.UNSIGNED == code(take(log, value(), None))
    assert [EVERYTHING] == list(log.content.stops)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([ANA, BEN, EVE, None]), st.integers(0, 5)), max_size=12), st.integers(0, 12))
def test_who_trusts_the_same_keys_arrives_at_the_same(log: list[tuple[Any, int]], split: int) -> None:
    """Whenever it starts; and nothing but what a trusted key signed, later than its last, is in force."""
    records = [(value(second), key and sign(key[0], TOPIC, value(second))) for key, second in log]
    whole, follower = ControlLog(TRUST), ControlLog(Trust(TOPIC, {"a": ANA[1], "b": BEN[1]}))
    for message, signature in records:
        take(whole, message, signature)
    for part in (records[:split], records[split:]):
        for message, signature in part:
            take(follower, message, signature)
    assert (whole.version, whole.content.hash) == (follower.version, follower.content.hash)
    last: dict[bytes, int] = {}
    version = 0
    for offset, (key, second) in enumerate(log):
        if key in (ANA, BEN) and second > last.get(key[1], -1):
            last[key[1]], version = second, offset + 1
    assert version == whole.version


def test_the_hash_of_trust_is_that_of_its_keys() -> None:
    """By which workers that trust others are told apart, whatever they call them."""
    assert TRUST.hash == Trust("eu." + TOPIC, {"x": BEN[1], "y": ANA[1]}).hash
    assert 3 == len({TRUST.hash, Trust(TOPIC, {"ana": ANA[1]}).hash, Trust(TOPIC, TRUST.keys, 1).hash})


def test_keys_in_text() -> None:
    """As they stand in files; what is no key is refused."""
    assert ANA[0] == read_key(write_key(ANA[0]))
    for text in ("", "nonsense", write_key(ANA[0])[:-4]):
        with pytest.raises(ValueError):
            read_key(text)

"""The brokers' clock: known from stamps, and only as well as the time allows in which they were given."""

import logging
from types import SimpleNamespace

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME

from streams.kafka.clock import BrokerClock

SENT = 1_700_000_000.0
"""When a record was sent, by this worker's clock (s)."""


@pytest.fixture(autouse=True)
def _time_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.clock.time", SimpleNamespace(time=lambda: SENT))


def told(clock: BrokerClock, *, ahead: float, took: float, stamped_after: float) -> int:
    """A record is acknowledged by a broker that this clock is `ahead` of; the time is now, by the broker's clock."""
    stamp = int((SENT + stamped_after - ahead) * 1000)
    clock.stamped(TIMESTAMP_LOG_APPEND_TIME, stamp, SENT, SENT + took)
    return clock.now()


@pytest.mark.parametrize("ahead", [300.0, -300.0])
def test_the_difference_is_learnt_from_one_stamp(ahead: float) -> None:
    """To within the time that the record took."""
    now = told(BrokerClock(), ahead=ahead, took=0.01, stamped_after=0.005)
    assert abs(now / 1000 - (SENT - ahead)) <= 0.01


@pytest.mark.parametrize("stamped_after", [0.0, 58.0])
@pytest.mark.parametrize("ahead", [0.0, 40.0])
def test_a_broker_that_was_away_does_not_move_the_time(ahead: float, stamped_after: float) -> None:
    """Its stamp is as old as the outage or as new as its end; half an outage ahead, requests would time out unanswered."""
    clock = BrokerClock()
    before = told(clock, ahead=ahead, took=0.01, stamped_after=0.005)
    assert abs(told(clock, ahead=ahead, took=58.0, stamped_after=stamped_after) - before) <= 10


def test_a_difference_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """With its direction, and not when a slow answer would explain it."""
    caplog.set_level(logging.WARNING)
    clock = BrokerClock()
    told(clock, ahead=0.0, took=30.0, stamped_after=30.0)
    assert not caplog.messages
    for _ in range(2):
        told(clock, ahead=-12.0, took=0.01, stamped_after=0.005)
    assert ["this machine's clock is 12.0 s behind the broker's: the broker's counts here, set this one right"] == (
        caplog.messages
    )


def test_a_stamp_that_is_no_brokers_tells_nothing() -> None:
    """A producer's, which is this clock's own; or the embedded broker's, which is none."""
    clock = BrokerClock()
    clock.stamped(TIMESTAMP_CREATE_TIME, int((SENT - 300) * 1000), SENT, SENT)
    clock.stamped(TIMESTAMP_LOG_APPEND_TIME, 1000, SENT, SENT)
    assert clock.skew is None

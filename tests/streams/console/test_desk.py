"""What may be changed from the browser: as `secondlook control` does it, and only what was seen."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.console.desk import RESUME, STOP, THRESHOLD, UNDO, Desk, Token, Wanted
from streams.errors import BrokerError, ControlError, SettingsError, TokenError
from streams.kafka.control_history import read_history
from streams.kafka.control_keys import write_private_key
from streams.kafka.publishing import publish_control
from streams.kafka.reading import read_values
from streams.kafka.topics import load_topics
from streams.pipeline.control_messages import SetThreshold
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker

TOKEN = "correct horse battery staple, and a little more"
ROLES = ("control", "control_status")


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker([]) as broker:
        yield broker


@pytest.fixture
def settings(broker: EmbeddedBroker, request: pytest.FixtureRequest) -> Settings:
    """Topics of the test's own."""
    prefix = f"{abs(hash(request.node.name))}."
    topics = load_topics(prefix)
    for role in ROLES:
        broker.create_topic(topics[role].name, topics[role].partitions)
    return load_settings({"broker": broker.bootstrap, "topic_prefix": prefix}, environ={})


def written(settings: Settings) -> list[Any]:
    name = load_topics(settings.topic_prefix)["control"].name
    return [orjson.loads(value) for value in read_values(settings, name, [0])]


def test_a_threshold_is_shown_then_set(settings: Settings) -> None:
    """Nothing is written until it is issued; who and why stand in the message, with the version that was seen."""
    desk = Desk(settings, None)
    wanted = Wanted(THRESHOLD, policy="hate", threshold="0.25")
    proposal = desk.propose(wanted)
    assert [] == written(settings)
    assert (0, [("threshold of hate", "none", "0.25 (set)")], []) == (
        proposal.version,
        proposal.changes,
        proposal.notes,
    )
    assert 1 == desk.issue(wanted, proposal.version, " ana ", "it costs less ").version
    (message,) = written(settings)
    assert ("ana (console)", "it costs less", 0) == tuple(
        message.get(name) for name in ("issued_by", "reason", "expected_version")
    )
    assert (0.25, False) == (message["threshold"], "tenant" in message)


def test_what_it_takes_away_is_said_first(settings: Settings) -> None:
    """As the command does."""
    publish_control(settings, SetThreshold(policy="hate", threshold=0.1))
    (note,) = Desk(settings, None).propose(Wanted(THRESHOLD, threshold="0.3")).notes
    assert "takes away the thresholds that hate has" in note


def test_a_change_in_between_refuses_it(settings: Settings) -> None:
    """Whoever was quicker; nothing is written. A page that names no version is refused too."""
    desk, wanted = Desk(settings, None), Wanted(THRESHOLD, threshold="0.25")
    seen = desk.propose(wanted).version
    publish_control(settings, SetThreshold(policy="*", threshold=0.1))
    for version in (seen, None):
        with pytest.raises(ControlError, match="Nothing was written"):
            desk.issue(wanted, version, "ana", "")
    assert 1 == len(written(settings))


def test_a_stop_is_never_refused_for_that(settings: Settings) -> None:
    """It only ever sends more to humans; what is stopped is resumed by its name, and undone by nothing else."""
    desk = Desk(settings, None)
    publish_control(settings, SetThreshold(policy="*", threshold=0.1))
    stopped = desk.issue(Wanted(STOP, policy="hate"), 77, "ana", "wrong removals")
    assert stopped.is_applied
    with pytest.raises(ControlError, match="only secondlook control resume --policy hate takes back"):
        desk.propose(Wanted(UNDO))
    with pytest.raises(ControlError, match="automation of policy spam"):
        desk.propose(Wanted(RESUME, policy="spam"))
    resume = Wanted(RESUME, policy="hate")
    assert desk.issue(resume, desk.propose(resume).version, "ana", "mended").is_applied


def test_a_stop_needs_no_other_reading(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither that workers may be heard, nor that the log can be read before; anything else does."""

    def refused(*_: object, **__: object) -> None:
        raise BrokerError("this user lacks the right")

    monkeypatch.setattr("streams.console.desk.Fleet", refused)
    monkeypatch.setattr("streams.console.desk.read_history", refused)
    desk = Desk(settings, None)
    with pytest.raises(BrokerError):
        desk.issue(Wanted(THRESHOLD, threshold="0.1"), 0, "ana", "")
    assert desk.issue(Wanted(STOP), None, "ana", "").is_applied


def test_the_last_change_is_undone(settings: Settings) -> None:
    """And it is shown whose it is, and what would be in force then."""
    desk = Desk(settings, None)
    for threshold, who in ((0.1, "ana"), (0.2, "ben")):
        publish_control(settings, SetThreshold(policy="*", threshold=threshold, issued_by=who, reason="a test"))
    proposal = desk.propose(Wanted(UNDO))
    assert ["this takes back version 2: set_threshold threshold=0.2 policy=*, by ben: a test"] == proposal.notes
    assert [("threshold of *", "0.2 (set)", "0.1 (set)")] == proposal.changes
    desk.issue(Wanted(UNDO), proposal.version, "ana", "a slip")
    (value,) = (one.value for one in read_history(settings).log.content.thresholds.values())
    assert 0.1 == value


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted("set_model"),
        Wanted(""),
        *(Wanted(THRESHOLD, threshold=text) for text in ("", "nan", "inf", "1.1", "-0.1", "a half")),
        Wanted(STOP, policy="p" * 256),
        Wanted(STOP, outcome="maybe"),
        Wanted(UNDO),
    ],
)
def test_what_makes_no_message_is_refused(settings: Settings, wanted: Wanted) -> None:
    """In one line, and nothing is written."""
    desk = Desk(settings, None)
    with pytest.raises(ControlError):
        desk.propose(wanted)
    with pytest.raises(ControlError):
        desk.issue(wanted, 0, "ana", "")
    assert [] == written(settings)


@pytest.mark.parametrize("name", ["", "  ", "n" * 101])
def test_nobody_changes_anything_without_a_name(settings: Settings, name: str) -> None:
    """It stands in the log."""
    with pytest.raises(ControlError, match="say who you are"):
        Desk(settings, None).issue(Wanted(STOP), 0, name, "")
    assert [] == written(settings)


def test_what_nobody_confirmed_may_stand_there(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that was sent and not answered is not said to be unwritten."""
    monkeypatch.setattr("streams.kafka.publishing._TIMEOUT", 0.0)
    with pytest.raises(BrokerError, match="may have been written to"):
        Desk(settings, None).issue(Wanted(STOP), None, "ana", "")


def test_where_messages_must_be_signed_they_are(settings: Settings, tmp_path: Path) -> None:
    """Without a key that counts the console does not start."""
    (tmp_path / "keys").write_text(write_private_key(tmp_path / "console.key") + " the console\n")
    write_private_key(tmp_path / "other.key")
    flags = {"broker": settings.broker, "topic_prefix": settings.topic_prefix, "control_keys": str(tmp_path / "keys")}
    signed = load_settings(flags, environ={})
    for key, why in ((None, "needs --sign-with"), (tmp_path / "other.key", "not among the control_keys")):
        with pytest.raises(SettingsError, match=why):
            Desk(signed, key)
    taken = Desk(signed, tmp_path / "console.key").issue(Wanted(STOP), None, "ana", "")
    assert (True, "the console") == (taken.is_applied, taken.signed_by)


def test_the_token_lets_in_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong one is told in the log, without itself."""
    token = Token(TOKEN)
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "\ud800"):
        with caplog.at_level(logging.WARNING), pytest.raises(TokenError):
            token.check(wrong, "there")
    token.check(TOKEN, "there")
    assert 4 == caplog.text.count("a wrong token")
    assert TOKEN[:8] not in caplog.text


def test_many_wrong_tokens_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nor do they keep the right one out; after a minute they are told again."""
    now = [0.0]
    token = Token(TOKEN, lambda: now[0])

    def guess(count: int) -> int:
        caplog.clear()
        for _ in range(count):
            with caplog.at_level(logging.WARNING), pytest.raises(TokenError):
                token.check("wrong", "there")
        return len(caplog.records)

    assert (5, 0) == (guess(1000), guess(10))
    token.check(TOKEN, "there")
    now[0] = 61.0
    assert 1 == guess(1)


@pytest.mark.parametrize("token", ["", "short", TOKEN[:31], "x" * 40, TOKEN + "\x00"])
def test_a_token_that_is_none(token: str) -> None:
    """It could be guessed, or typed by nobody."""
    with pytest.raises(SettingsError, match="32 printable characters"):
        Token(token)

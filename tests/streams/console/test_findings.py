"""One word for how it stands: what it is under each fault."""

from typing import Any

import pytest

from streams.console.read_model import ReadModel
from streams.kafka.control_status import ShadowStatus
from streams.pipeline.quality.judging import Alert
from tests.streams.console.making import COSTS, NOW, decision, in_force, letter, watched, word


def said(fleet: ReadModel, at: float = NOW) -> list[str]:
    return [one.word for one in fleet.state(at).findings]


def reasons(reason: str, count: int = 100) -> ReadModel:
    fleet = watched(decided=0)
    for number in range(count):
        one = decision(f"{number}", p=None, reasons=[reason])
        fleet.decided(one, int(NOW * 1000), NOW, live=True)
    return fleet


def stop(policy: str) -> dict[str, Any]:
    since = {"since": 4, "issued_by": "ann", "reason": "wrong removals", "at": None}
    return {"stops": {policy: {"policy": policy, "tenant": "*", "outcome": "*", **since}}}


def test_all_is_well() -> None:
    """What comes is decided: nothing else is said."""
    assert ["flowing"] == said(watched())


def test_nothing_comes() -> None:
    """That is no fault."""
    fleet = watched(decided=0)
    for second in range(61):
        fleet.progress({("requests", 0): (5, 5), ("responses", 0): (5, 5)}, NOW + second)
        fleet.looked("progress", None, NOW + second)
    assert ["quiet"] == said(fleet, NOW + 61)


def test_a_moment_after_the_start_nothing_is_said() -> None:
    """Rates need a while."""
    assert ["looking"] == said(watched(2, decided=0))


def test_the_broker_is_away() -> None:
    """What else is shown is as it was; that is the first thing said."""
    found = watched().state(NOW + 20).findings
    assert ("blind", "bad") == (found[0].word, found[0].level)
    assert "for 20 s" in found[0].why


def test_while_it_is_blind_figures_are_as_they_were() -> None:
    """Nothing would seem to come, else."""
    fleet = watched(unread=5)
    before, after = fleet.state(NOW + 6), fleet.state(NOW + 300)
    assert "blind" == after.word.word
    assert before.rates == after.rates
    assert before.lag == after.lag
    assert before.routes == after.routes


def test_no_broker_ever_answered() -> None:
    """The client's own words are why; that no worker is live is not known, and not said."""
    fleet = ReadModel("nowhere:9092", COSTS)
    fleet.looked("topics", "no Kafka broker answered at nowhere:9092", None)
    state = fleet.state(NOW)
    assert ["blind"] == [one.word for one in state.findings]
    assert "nowhere:9092" in state.word.why


def test_a_right_that_was_taken_is_no_broker_that_is_away() -> None:
    """Nothing is read any more; why that is so is said, and not that no broker answers."""
    fleet = watched()
    for _ in range(2):
        fleet.looked("decisions", "cannot read moderation.auto-action: this user lacks the right to Read it", None)
    why = fleet.state(NOW + 30).word.why
    assert "lacks the right" in why
    assert "no broker has answered" not in why


def test_what_was_never_read_is_not_zero() -> None:
    """Whoever may read decisions alone knows nothing of workers, requests, or what is unread; nor is there an end to much being set aside."""
    fleet = ReadModel("broker:9092", COSTS)
    for second in range(61):
        fleet.looked("records", None, NOW - 60 + second)
        fleet.set_aside(letter(), NOW - 60 + second, live=True)
    for _ in range(2):
        fleet.looked("progress", "this user lacks the right to Describe the group", None)
    state = fleet.state(NOW)
    assert ["blind in part"] == [one.word for one in state.findings]
    assert (None, None, None) == (state.rates.requests, state.rates.responses, state.lag.records)
    assert not state.contact.hears
    fleet.heard({}, {}, {})
    assert "down" in said(fleet)
    for _ in range(2):
        fleet.looked("workers", "this user lacks the right to Read moderation.control-status", None)
    assert "down" not in said(fleet)


def test_decisions_that_may_not_be_read_are_not_none() -> None:
    """What else flows is shown."""
    fleet = watched()
    for _ in range(2):
        fleet.looked("decisions", "this user lacks the right to Read moderation.dead-letter", None)
    rates = fleet.state(NOW).rates
    assert (None, None, None) == (rates.decisions, rates.escalated, rates.dead_letters)
    assert rates.requests is not None


def test_something_may_not_be_read() -> None:
    """The rest is shown, and what is missing said."""
    fleet = watched()
    fleet.looked("controls", "cannot read moderation.control: this user lacks the right to Read it", None)
    assert ["flowing"] == said(fleet), "it is tried again first"
    fleet.looked("controls", "cannot read moderation.control: this user lacks the right to Read it", None)
    assert ["blind in part"] == said(fleet)


def test_workers_that_fell_silent() -> None:
    """The last one is worse than one of several."""
    fleet = watched()
    fleet.heard({"one": word()}, {}, {"two": "12:00"})
    assert ["short of workers"] == said(fleet)
    fleet.heard({}, {}, {"one": "12:00"})
    found = fleet.state(NOW).word
    assert ("down", True) == (found.word, "one was last heard 12:00" in found.why)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([word(honoured=False, problem="No model at models/ab")], "closed"),
        ([word("one"), word("two", honoured=False, problem="No model at models/ab")], "closed in part"),
        ([word(restoring=True)], "taking over"),
        ([word(shadow=ShadowStatus(problem="no model"))], "shadow left out"),
        ([word(alerts=[Alert("risk", "hate", about="more than 0.05 is wrong")])], "risk breached"),
        ([word(alerts=[Alert("drift", "hate", about="PSI 0.4")])], "drift"),
    ],
)
def test_what_workers_say(words: list[Any], expected: str) -> None:
    """Each in its own word."""
    fleet = watched()
    fleet.heard({one.worker: one for one in words}, {}, {})
    assert [expected] == said(fleet)


@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        ({"split": True}, "split"),
        ({"whole": False}, "closed"),
        (stop("*"), "stopped"),
        (stop("hate"), "stopped in part"),
    ],
)
def test_what_the_control_log_says(controls: dict[str, Any], expected: str) -> None:
    """Each in its own word."""
    fleet = watched()
    fleet.in_force(in_force(**controls))
    assert [expected] == said(fleet)


def test_commits_stand_still() -> None:
    """While records are unread: the partitions are named."""
    fleet = watched()
    for second in range(0, 61, 2):
        fleet.progress({("requests", 0): (5, 50), ("responses", 0): (50, 50)}, NOW + second)
        fleet.looked("progress", None, NOW + second)
    found = fleet.state(NOW + 60).findings
    assert ["stalled"] == [one.word for one in found]
    assert "requests 0" in found[0].why


def test_more_comes_than_is_read() -> None:
    """It falls behind at every look, or is only behind."""
    for working, expected in ((1, "falling behind"), (30, "behind")):
        fleet = watched()
        for second in range(0, 61, 2):
            places = {("requests", 0): (working * second, 5_000 + 10 * second), ("responses", 0): (50, 50)}
            fleet.progress(places, NOW + 2 + second)
            fleet.looked("progress", None, NOW + 2 + second)
        assert [expected] == said(fleet, NOW + 62)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("no_response", "unanswered"),
        ("predictors_missing", "log-probs missing"),
        ("controls_not_honoured", "closed"),
        ("no_threshold", "closed"),
    ],
)
def test_what_most_decisions_say(reason: str, expected: str) -> None:
    """Of a few nothing is said."""
    assert [expected] == said(reasons(reason))
    assert expected not in said(reasons(reason, 10))


def test_requests_and_answers_that_do_not_meet() -> None:
    """Neither half is missing, so it is the key or the partitioner."""
    fleet = reasons("no_response")
    fleet.set_aside(letter("orphan_response"), NOW, live=True)
    assert ["unanswered"] == said(fleet), "one may always come"
    for _ in range(60):
        fleet.set_aside(letter("orphan_response"), NOW, live=True)
    assert "partitioner" in fleet.state(NOW).word.do


def test_a_flood_of_what_breaks_the_contract() -> None:
    """More than a twentieth of what comes."""
    fleet = watched()
    for _ in range(600):
        fleet.set_aside(letter(), NOW - 1, live=True)
    assert ["much set aside"] == said(fleet)


def test_the_worst_stands_first() -> None:
    """Whatever was looked for first."""
    fleet = watched()
    fleet.heard({"one": word(honoured=False, problem="no model")}, {}, {"two": "12:00"})
    assert ["closed", "short of workers"] == said(fleet)


def test_no_word_is_said_twice_of_a_closed_fleet() -> None:
    """By the workers' words and by what they decided it is one finding."""
    fleet = reasons("controls_not_honoured")
    fleet.heard({"one": word(honoured=False, problem="no model")}, {}, {})
    assert ["closed"] == said(fleet)


def test_alerts_of_one_kind_are_one_finding() -> None:
    """Of drift there may be as many as there are predictors."""
    fleet = watched()
    alerts = [Alert("drift", "*", subject=name, about=f"PSI of {name}") for name in ("one", "two", "three")]
    fleet.heard({"one": word(alerts=[*alerts, Alert("missing", "hate", about="lacks it")])}, {}, {})
    found = fleet.state(NOW).findings
    assert ["drift", "missing"] == [one.word for one in found]
    assert "all policies: PSI of one; and 2 more" == found[0].why

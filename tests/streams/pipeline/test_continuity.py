"""Where a partition goes on: every way in which offsets, changelog and logs can disagree has one stated outcome."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import OwnerError
from streams.pipeline.continuity import Cause, Found, Input, Note, Plan, plan, read_note, write_note
from streams.pipeline.pending import Claim, PartitionStore
from streams.pipeline.records import REQUESTS, RESPONSES

NOTE = Note("changelog-id", 50)
LOG = Input(committed=100, note=NOTE, low=10, high=200, topic_id="in-id")
CLAIM = Claim("mine", "in-id", "in-id")


def found(
    log: Input = LOG,
    *,
    claim: Claim | None = CLAIM,
    state: int | None = 100,
    end: int = 60,
    foreign: int = 0,
    **more: Any,
) -> Found:
    store = PartitionStore(3, dedup_window=1000)
    store.claim, store.requests_position, store.responses_position = claim, state, state
    store.foreign = foreign
    return Found(store, {REQUESTS: log, RESPONSES: log}, end, **{"changelog_id": "changelog-id", **more})


def replaced(claim: Claim, group: str) -> Claim:
    return msgspec.structs.replace(claim, replaces=group)


def planned(what: Found, **options: object) -> Plan:
    return plan(what, **{"group": "mine", "new_group_from": None, **options})  # type: ignore[arg-type]


def position(result: Plan) -> int:
    assert result.positions[REQUESTS, 3] == result.positions[RESPONSES, 3]
    return result.positions[REQUESTS, 3]


def test_when_all_agree_it_goes_on_where_it_was() -> None:
    """The usual restart: nothing to say, nothing to claim."""
    result = planned(found())
    assert (100, None, [], []) == (position(result), result.claim, result.losses, result.news)


def test_a_new_pipeline_begins_with_what_is_there_and_claims_its_changelog() -> None:
    """So that a second group can be told from the first."""
    fresh = found(Input(None, None, 10, 200, "in-id"), claim=None, state=None, end=0)
    result = planned(fresh)
    assert (10, CLAIM, []) == (position(result), result.claim, result.losses)
    assert 200 == position(planned(fresh, new_group_from="latest"))


def test_another_group_is_refused_and_told_what_to_do() -> None:
    """A typo in the group's name would decide all history a second time."""
    with pytest.raises(OwnerError, match=r"group 'theirs' works on these topics.*--new-group-from state"):
        planned(found(replace(LOG, committed=None, note=None), claim=Claim("theirs")))


@pytest.mark.parametrize(("choice", "expected"), [("state", 100), ("earliest", 10), ("latest", 200)])
def test_another_group_takes_over_where_it_is_told(choice: str, expected: int) -> None:
    """The claim says whose place it takes."""
    result = planned(found(replace(LOG, committed=None, note=None), claim=Claim("theirs")), new_group_from=choice)
    assert (expected, "theirs") == (position(result), result.claim.replaces if result.claim else None)


def test_a_group_that_was_replaced_is_refused_too() -> None:
    """Its own offsets do not help it: the state is another's now."""
    with pytest.raises(OwnerError):
        planned(found(claim=Claim("theirs", replaces="mine")))


def test_expired_offsets_are_no_loss() -> None:
    """The changelog knows the positions, and a log line says that it was asked."""
    result = planned(found(replace(LOG, committed=None, note=None)))
    assert (100, []) == (position(result), result.losses)
    assert "expired" in result.news[0]


def test_offsets_that_another_tool_set_are_obeyed() -> None:
    """Resetting a group's offsets is how operators ask for a part once more."""
    result = planned(found(replace(LOG, committed=40, note=None)))
    assert (40, []) == (position(result), result.losses)
    assert "another tool" in result.news[0]


def test_at_least_once_the_changelog_is_ahead_of_the_offsets() -> None:
    """A crash before the offsets were committed repeats nothing that the changelog has."""
    assert 120 == position(planned(found(state=120)))


def test_a_changelog_that_is_gone_is_a_loss() -> None:
    """Requests that waited in it are unknown."""
    emptied = planned(found(claim=None, state=None, end=0))
    shorter = planned(found(end=49))
    anew = planned(found(changelog_id="another"))
    for result in (emptied, shorter, anew):
        assert [Cause.CHANGELOG_LOST] == [loss.cause for loss in result.losses]
        assert 100 == position(result)


def test_records_that_retention_took_unread_are_a_loss() -> None:
    """They are counted, and reading goes on behind them."""
    result = planned(found(replace(LOG, low=130)))
    assert [(Cause.RETENTION, 30)] * 2 == [(loss.cause, loss.count) for loss in result.losses]
    assert 130 == position(result)


def test_a_log_that_was_cut_is_a_loss() -> None:
    """Under the same id it goes on at its end: what comes there is new."""
    result = planned(found(replace(LOG, high=90)))
    assert [Cause.LOG_TRUNCATED] * 2 == [loss.cause for loss in result.losses]
    assert 90 == position(result)


def test_a_loss_that_is_accepted_is_written_down_with_the_new_position() -> None:
    """Or a restart before the partition's next batch would meet it, and count it, again."""
    for log in (replace(LOG, low=130), replace(LOG, high=90)):
        assert replaced(CLAIM, "mine") == planned(found(log)).claim


def test_an_older_versions_changelog_is_not_passed_by() -> None:
    """What waits in it is unknown; a foreign record beside no offsets, or beside our claim, is nothing to stop for."""
    unread = found(replace(LOG, note=None), claim=None, state=None, foreign=7)
    assert [Cause.CHANGELOG_LOST] == [loss.cause for loss in planned(unread).losses]
    assert "7 records that this version does not read" in planned(unread).losses[0].text
    fresh = Input(None, None, 10, 200, "in-id")
    assert [] == planned(found(fresh, claim=None, state=None, foreign=1)).losses
    assert [] == planned(found(foreign=1)).losses


def test_decisions_without_changelog_and_offsets_are_the_trace_of_a_loss() -> None:
    """All history would be decided again, unless that is what was asked for."""
    traceless = found(Input(None, None, 10, 200, "in-id"), claim=None, state=None, end=0, decided_before=True)
    assert [Cause.CHANGELOG_LOST] == [loss.cause for loss in planned(traceless).losses]
    assert [] == planned(traceless, new_group_from="earliest").losses


def test_a_topic_made_anew_is_a_loss_and_begins_at_its_beginning() -> None:
    """Also when it has grown past the old position; the new topic's id is claimed."""
    result = planned(found(replace(LOG, low=0, topic_id="new-id")))
    assert [Cause.TOPIC_RECREATED] * 2 == [loss.cause for loss in result.losses]
    assert (0, "new-id") == (position(result), result.claim.requests_topic if result.claim else None)


def test_without_topic_ids_a_shorter_log_is_read_from_its_beginning() -> None:
    """It may be a new topic: better decided twice than never."""
    result = planned(found(replace(LOG, high=90, topic_id=""), claim=Claim("mine")))
    assert 10 == position(result)


@given(
    committed=st.none() | st.integers(0, 30),
    noted=st.booleans(),
    state=st.none() | st.integers(0, 30),
    low=st.integers(0, 30),
    length=st.integers(0, 30),
    end=st.integers(0, 100),
    claimed=st.booleans(),
)
def test_a_position_is_always_one_that_the_log_has(
    committed: int | None, noted: bool, state: int | None, low: int, length: int, end: int, claimed: bool
) -> None:
    """Whatever was found; and a position other than what was known is never taken in silence."""
    log = Input(committed, NOTE if noted and committed is not None else None, low, low + length, "in-id")
    result = planned(found(log, claim=CLAIM if claimed else None, state=state if claimed else None, end=end))
    assert low <= position(result) <= low + length
    known = max(committed or 0, state or 0) if claimed else committed
    if known is not None and position(result) < known:
        assert result.losses or result.news


@pytest.mark.parametrize("metadata", [None, "", "{", "{}", '{"changelog": 1, "end": "x"}', "\x00"])
def test_a_note_that_is_not_ours_is_none(metadata: str | None) -> None:
    """Other programs commit with their own metadata, or none."""
    assert None is read_note(metadata)
    assert NOTE == read_note(write_note(NOTE))

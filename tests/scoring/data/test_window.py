"""Answers of a span of time: what came before trains, what came after judges."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from featurizers import SCHEMA
from scoring import RECORDING, DataError
from scoring.data import ALWAYS, Window, join_decisions, load

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "since", "until"),
    [
        ("2026-11-26T11:59:59.999Z", False, True),
        ("2026-11-26T12:00:00.000Z", True, False),
        ("2026-11-26T13:00:00.000+02:00", False, True),
        ("2026-11-26T12:00:00", False, False),
        ("yesterday", False, False),
        (None, False, False),
    ],
)
def test_a_window_holds_what_was_decided_in_it(at: str | None, since: bool, until: bool) -> None:
    """Its beginning belongs to it, its end does not; a time without a zone is none. Without limits it holds all."""
    assert (since, until, True) == (Window(since=NOON).holds(at), Window(until=NOON).holds(at), ALWAYS.holds(at))


def vector(name: str, hour: int, **more: Any) -> dict[str, Any]:
    at = f"2026-11-26T{hour:02}:00:00.000Z"
    about = {"request_id": name, "policy": "hate", "schema": SCHEMA.id, "llm": "m"}
    return {**about, "values": [0.0] * len(SCHEMA.names), "decided_at": at, **more}


def test_the_join_takes_what_lies_in_the_window(tmp_path: Path) -> None:
    """Of labels and of the traffic alike; so do files of labelled vectors."""
    vectors = [json.dumps(vector("a", 11)).encode(), json.dumps(vector("b", 12)).encode()]
    human = [json.dumps({"request_id": name, "policy": "hate", "outcome": 1}).encode() for name in "ab"]
    joined = join_decisions(vectors, human, window=Window(since=NOON))
    assert (["b"], 1) == (
        [one.request_id for one in joined.data.origins],
        joined.left_out["vectors of another time, or of none"],
    )
    assert joined.traffic is not None
    assert 1 == joined.traffic.answers.total()
    path = tmp_path / "labelled.jsonl"
    path.write_text("\n".join(json.dumps(vector(name, hour, label=1)) for name, hour in (("a", 11), ("b", 12))))
    assert ["a"] == [one.request_id for one in load([path], Window(until=NOON)).origins]


def test_answers_without_times_lie_in_no_window() -> None:
    """A recording says no times: asked for some it is an error that says so."""
    with pytest.raises(DataError, match="None of 840 rows was decided in that time; 0 say when"):
        load([RECORDING], Window(since=NOON))

"""Drift of predictors and scores against what training saw."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from featurizers import SCHEMA
from scoring.reference import BINS, Reference, reference_of, score_bins
from streams.pipeline.quality import drift as module
from streams.pipeline.quality.drift import LEAST, WINDOW, Drift, DriftState, Stream, Vector

WIDTH = len(SCHEMA.names)
STREAM = Stream("hate", "llm")


def answers(count: int, seed: int, *, shift: float = 0.0, without: float = 0.0) -> np.ndarray:
    """Of which the first predictor may be shifted, and the second may lack more often than a tenth."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (count, WIDTH)).astype(np.float32)
    values[:, 0] += shift
    values[rng.random(count) < 0.1 + without, 1] = np.nan
    return values


@pytest.fixture(scope="module")
def reference() -> Reference:
    scores = np.random.default_rng(9).beta(1, 4, 3000)
    return reference_of(answers(3000, 1), ["hate"] * 3000, scores)


def vectors(values: np.ndarray, **more: Any) -> list[Vector]:
    rows = [[None if math.isnan(one) else one for one in row] for row in values.tolist()]
    return [Vector(**{"schema": SCHEMA.id, "values": row, "policy": "hate", "llm": "llm", **more}) for row in rows]


def watching(reference: Reference, *batches: np.ndarray) -> Drift:
    """Each hundred answers in a period of their own."""
    drift, period = Drift(), 0
    drift.use("a", reference)
    for values in batches:
        for start in range(0, len(values), 100):
            drift.answered(vectors(values[start : start + 100]), period)
            period += 1
    return drift


def test_nothing_has_drifted_where_nothing_has_changed(reference: Reference) -> None:
    """Of twenty streams of the smallest sample none is called shifted."""
    for seed in range(20):
        found = watching(reference, answers(LEAST, 100 + seed)).predictors(STREAM)
        assert WIDTH == len(found)
        assert not [one for one in found if one.shifted or one.lacking]


def test_a_predictor_that_shifts_is_named(reference: Reference) -> None:
    """It alone, and first."""
    found = watching(reference, answers(LEAST, 2, shift=1.0)).predictors(STREAM)
    assert [SCHEMA.names[0]] == [one.name for one in found if one.shifted] == [found[0].name]
    assert not [one for one in found if one.lacking]


def test_a_predictor_that_goes_missing_is_named(reference: Reference) -> None:
    """With its shares, then and now."""
    found = watching(reference, answers(LEAST, 2, without=0.3)).predictors(STREAM)
    (lacking,) = [one for one in found if one.lacking]
    assert (SCHEMA.names[1], False) == (lacking.name, lacking.shifted)
    assert (0.4, 0.1) == pytest.approx((lacking.missing, lacking.was_missing), abs=0.06)


def test_one_that_is_gone_altogether_is_missing_and_not_shifted(reference: Reference) -> None:
    """There is nothing left whose spread could be told."""
    found = watching(reference, answers(LEAST, 2, without=1.0)).predictors(STREAM)
    assert [(1.0, False)] == [(one.missing, one.shifted) for one in found if one.lacking]


def test_what_was_long_ago_is_forgotten(reference: Reference) -> None:
    """After two windows without it, a shift is over."""
    shifted, well = answers(WINDOW, 2, shift=1.0), answers(2 * WINDOW + 100, 3)
    assert watching(reference, shifted, well[:100]).predictors(STREAM)[0].shifted
    assert not watching(reference, shifted, well).predictors(STREAM)[0].shifted


def test_a_burst_within_a_period_does_not_stand_for_it(reference: Reference) -> None:
    """However many answers it has: whole periods are judged, so what a few seconds bring is weighed by the rest of theirs."""
    drift = Drift()
    drift.use("a", reference)
    for period, shift, count in ((0, 0.0, 2 * WINDOW), (1, 0.0, 5 * WINDOW), (1, 3.0, WINDOW), (1, 0.0, 100)):
        drift.answered(vectors(answers(count, 10 + period, shift=shift)), period)
    assert not [one for one in drift.predictors(STREAM) if one.shifted]
    drift.answered(vectors(answers(4 * WINDOW, 20, shift=3.0)), 2)
    assert [SCHEMA.names[0]] == [one.name for one in drift.predictors(STREAM) if one.shifted]


def test_a_stream_that_is_over_makes_room(reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new LLM is looked at, however many there were before it."""
    monkeypatch.setattr(module, "MOST_WINDOWS", 2)
    drift = Drift()
    drift.use("a", reference)
    for llm in ("first", "second", "first", "third"):
        drift.answered(vectors(answers(10, 1), policy="rare", llm=llm), 0)
    assert [Stream("*", "first"), Stream("*", "third")] == drift.streams()


def test_too_little_is_not_judged(reference: Reference) -> None:
    """Nor is what is of another feature list, or of another width."""
    drift = watching(reference, answers(LEAST - 1, 2))
    drift.answered(vectors(answers(500, 2), schema="lpp/0") + vectors(answers(500, 2)[:, 1:]), 9)
    assert [] == drift.predictors(STREAM)


def test_scores_are_held_against_those_of_training(reference: Reference) -> None:
    """Where there are enough of them."""
    drift, rng = watching(reference), np.random.default_rng(4)

    def spread(a: float, b: float, count: int) -> tuple[float, bool] | None:
        return drift.scores(STREAM, np.bincount(score_bins(rng.beta(a, b, count)), minlength=BINS).astype(float))

    well, ill = spread(1, 4, 1000), spread(2, 3, 1000)
    assert well is not None
    assert ill is not None
    assert (False, True) == (well[1], ill[1])
    assert well[0] < 0.1
    assert spread(2, 3, LEAST - 1) is None


def test_a_policy_that_training_knew_too_little_is_looked_at_with_all(reference: Reference) -> None:
    """It may differ from the others as it always did."""
    drift = watching(reference)
    drift.answered(vectors(answers(LEAST, 2, shift=1.0), policy="rare"), 0)
    assert [Stream("*", "llm")] == drift.streams()
    assert Stream("*", "llm") == drift.nearest("rare", "llm")
    assert STREAM == drift.nearest("hate", "llm")
    assert drift.predictors(Stream("*", "llm"))[0].shifted


def test_an_old_card_gives_no_figures() -> None:
    """Nothing is counted, and nothing is made up."""
    drift = Drift()
    drift.use("a", None)
    drift.answered(vectors(answers(1000, 1)), 0)
    assert [] == drift.streams()


def test_it_is_stored_and_goes_on(reference: Reference) -> None:
    """The same figures as without a stop; with another model it begins anew."""
    straight = watching(reference, answers(700, 5), answers(700, 6, shift=1.0))
    before = watching(reference, answers(700, 5))
    after = Drift()
    after.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(before.state()), type=DriftState))
    after.use("a", reference)
    for start in range(0, 700, 100):
        after.answered(vectors(answers(700, 6, shift=1.0)[start : start + 100]), 7 + start // 100)
    assert straight.predictors(STREAM) == after.predictors(STREAM)
    after.use("b", reference)
    assert [] == after.streams()


def test_numbers_that_no_float_holds_do_no_harm(reference: Reference) -> None:
    """They lie in the outermost bin."""
    drift = Drift()
    drift.use("a", reference)
    drift.answered([Vector(SCHEMA.id, [1e300] * WIDTH, "hate", "llm")] * LEAST, 0)
    assert all(one.shifted for one in drift.predictors(STREAM))

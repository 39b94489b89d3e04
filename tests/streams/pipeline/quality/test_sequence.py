"""The confidence sequence of what is automated: simulated again and again, and looked at after every audit."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from streams.pipeline.quality.sequence import BETS, Audits, Kind, coded, decoded, evidence_above, log_share

DRAWS = 300
MISSED = 0.1


def kinds(draws: np.random.Generator, audits: int, mean: float, rates: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """Audits of a stream of two halves: the second has the second rate and other errors, with the same mean over all decisions.

    Those that are audited are drawn by their rates, so the half with the higher rate is seen more often. Kinds [draws, audits], wrong [same].
    """
    rates_of = np.array(rates)
    seen = draws.random((DRAWS, audits)) < rates_of[1] / rates_of.sum()
    error = np.where(seen, 1.6 * mean, 0.4 * mean)
    weight = np.where(seen, rates_of.min() / rates_of[1], rates_of.min() / rates_of[0])
    chance = np.where(seen, rates_of[1], rates_of[0])
    return chance, weight, draws.random((DRAWS, audits)) < error


def ever_missed(weight: np.ndarray, wrong: np.ndarray, mean: float) -> float:
    """How many draws have an interval, after any audit, that does not hold the mean."""
    limit, missed = math.log(2 / MISSED), np.zeros(len(wrong), dtype=bool)
    for turned, at in ((wrong, mean), (~wrong, 1 - mean)):
        gains = weight * np.where(turned, 1 / at - 1, -1.0)
        wealth = [np.cumsum(np.log1p(bet * gains), axis=1) for bet in BETS]
        mixed = np.logaddexp.reduce(wealth) - math.log(len(wealth))
        missed |= (mixed >= limit).any(axis=1)
    return float(missed.mean())


@pytest.mark.parametrize("mean", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("rates", [(0.05, 0.05), (0.01, 0.1), (0.1, 0.02)])
def test_looking_after_every_audit_breaks_no_more_than_stated(mean: float, rates: tuple[float, float]) -> None:
    """At audit rates of 1 to 10 %, equal or not, where the errors differ with the rate."""
    _, weight, wrong = kinds(np.random.default_rng(1), 2000, mean, rates)
    assert ever_missed(weight, wrong, mean) <= MISSED


def test_clopper_pearson_breaks_when_it_is_looked_at_again_and_again() -> None:
    """What is exact at one look is not at two thousand: that is why there is a sequence."""
    mean, rng = 0.1, np.random.default_rng(2)
    wrong = np.cumsum(rng.random((DRAWS, 2000)) < mean, axis=1)
    count = np.arange(1, 2001)
    low = stats.beta.ppf(MISSED / 2, wrong, count - wrong + 1)
    high = stats.beta.ppf(1 - MISSED / 2, wrong + 1, count - wrong)
    broken = ((np.nan_to_num(low) > mean) | (np.nan_to_num(high, nan=1.0) < mean)).any(axis=1).mean()
    assert broken > 3 * MISSED


def test_audits_taken_without_their_weights_miss() -> None:
    """The half that is audited more often has more errors: as if it were all, the mean is missed nearly always."""
    _, _, wrong = kinds(np.random.default_rng(3), 2000, 0.1, (0.01, 0.1))
    assert ever_missed(np.ones_like(wrong, dtype=float), wrong, 0.1) > 0.9


def counted(chance: np.ndarray, weight: np.ndarray, wrong: np.ndarray) -> Audits:
    counts: dict[Kind, tuple[int, int]] = {}
    for one, other, was_wrong in zip(chance.tolist(), weight.tolist(), wrong.tolist(), strict=True):
        kind = Kind(coded(one), coded(other))
        before = counts.get(kind, (0, 0))
        counts[kind] = (before[0] + (not was_wrong), before[1] + was_wrong)
    return Audits.of(counts)


def test_the_interval_of_counts_is_that_of_the_stream() -> None:
    """Counts by kind are all that is needed: the estimate lies near the truth, the interval around it, and narrows."""
    chance, weight, wrong = kinds(np.random.default_rng(4), 4000, 0.2, (0.01, 0.1))
    found = [counted(chance[0, :n], weight[0, :n], wrong[0, :n]) for n in (100, 1000, 4000)]
    widths = []
    for one in found:
        low, high = one.interval(MISSED)
        assert one.rate is not None
        assert low < one.rate < high
        widths.append(high - low)
    assert found[-1].rate == pytest.approx(0.2, abs=0.05)
    assert sorted(widths, reverse=True) == widths
    assert widths[-1] < 0.12


def test_without_audits_nothing_is_known() -> None:
    """The interval is all there is, and there is no rate."""
    none = Audits.of({})
    assert (0.0, 1.0) == pytest.approx(none.interval(MISSED))
    assert none.rate is None
    assert math.exp(evidence_above([(0, none)], 0.1)) < 1


@given(st.integers(0, 300), st.integers(0, 300), st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_an_interval_holds_its_estimate(right: int, wrong: int, chance: float, weight: float) -> None:
    """Whatever the counts."""
    audits = Audits.of({Kind(coded(chance), coded(weight)): (right, wrong)})
    low, high = audits.interval(MISSED)
    assert 0 <= low <= (audits.rate if audits.rate is not None else 0.5) <= high <= 1


@given(st.floats(1e-6, 1))
def test_codes_give_back_what_they_stand_for(chance: float) -> None:
    """To within 0.6 %."""
    assert decoded(coded(chance)) == pytest.approx(chance, rel=0.006)


def alarms(rng: np.random.Generator, before: float, after: float, bound: float, periods: int, change: int) -> list[int]:
    """The period, if any, in which each of 100 streams of 20 audits a period first has the evidence of 90 %."""
    first = []
    for _ in range(100):
        blocks: list[tuple[int, Audits]] = []
        for number in range(periods):
            wrong = int(rng.binomial(20, before if number < change else after))
            blocks.append((number, Audits.of({Kind(0, 0): (20 - wrong, wrong)})))
            if evidence_above(blocks, bound) >= math.log(10):
                first.append(number)
                break
    return first


def test_evidence_is_seldom_false() -> None:
    """With as many errors as the bound allows, it is ever reached in a tenth of the streams at most."""
    assert len(alarms(np.random.default_rng(5), 0.1, 0.1, 0.1, 60, 60)) <= 0.1 * 100


def test_evidence_finds_a_change() -> None:
    """Half of the bound for forty periods, then three times the bound: all are found, within ten periods."""
    found = alarms(np.random.default_rng(6), 0.05, 0.3, 0.1, 60, 40)
    assert 100 == len(found)
    assert 40 <= min(found)
    assert np.quantile(found, 0.9) < 50


def test_the_shares_of_the_stake_add_up_to_less_than_one() -> None:
    """Over the first million periods, with what the rest can have at most."""
    shares = math.fsum(math.exp(log_share(number)) for number in range(100_000))
    assert shares + 1 / math.log(100_000) / 2.11 < 1

"""The benchmark's own arithmetic, and that its shared job decides as the stream does."""

import sys
from pathlib import Path

import pytest

from featurizers import PRESETS
from scoring import cost_threshold, load_model
from streams.pipeline.controls import EVERY_POLICY, Controls
from streams.pipeline.matching import Matcher
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from streams.pipeline.stages import Pipeline, Polled, Ticket

_ROOT = Path(__file__).parents[1]
_MODEL = _ROOT / "models"


@pytest.fixture
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts' folder on the path, as when one of them is run."""
    monkeypatch.syspath_prepend(str(_ROOT / "benchmarks"))
    for name in ("job", "track", "contenders", "run"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("_benchmarks")
def test_a_ratio_compares_laps_of_the_same_round() -> None:
    """A slow round of both leaves the ratio as it is; the figure is the median over the rounds."""
    from run import ratios_of

    ratios = ratios_of({"floor": [100.0, 50.0, 200.0], "exactly_once": [80.0, 40.0, 100.0]})

    assert {"exactly_once/floor": {"median": 0.8, "min": 0.5, "max": 0.8}} == ratios


@pytest.mark.usefixtures("_benchmarks")
def test_repeats_count_every_decision_beyond_the_first() -> None:
    """A request that was decided three times counts twice."""
    from contenders import repeats

    assert 2 == repeats({b"a": 3, b"b": 1})


@pytest.mark.skipif(not (_MODEL / "current").is_file(), reason="needs a trained model: make model")
@pytest.mark.usefixtures("_benchmarks")
def test_one_by_one_in_batches_and_matched_the_decisions_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor's and the peers' decisions are byte for byte those of the stream's own stages."""
    from job import Answer, Job, Setup
    from track import answers

    monkeypatch.setattr("streams.pipeline.stages._now", lambda: 1_800_000_000_000)
    job = Job(Setup("unused", "", "unused", str(_MODEL)))
    records = list(answers(50))
    whole = [Answer(key, response, request) for key, request, response in records]

    threshold = cost_threshold("false-discovery", review=0.64, mistake=1.0)
    controls = Controls(load_model(_MODEL), {EVERY_POLICY: threshold})
    matcher = Matcher(response_timeout=60_000, dedup_window=60_000)
    matcher.stores = {0: matcher.restore(0, {})}
    pipeline = Pipeline(matcher, PRESETS["lpp"], lambda: controls, job.names)
    read = [Record(REQUESTS, 0, at, 1, key, request, None) for at, (key, request, _) in enumerate(records)]
    read += [Record(RESPONSES, 0, at, 1, key, response, None) for at, (key, _, response) in enumerate(records)]
    polled = Polled(Ticket(1, 1, {}, None, 0.0), read, {})
    stream = pipeline.route(pipeline.score(pipeline.featurize(pipeline.intake(polled)))).outputs

    assert sorted(stream) == sorted(job.decide(whole))
    assert sorted(stream) == sorted(output for answer in whole for output in job.decide([answer]))

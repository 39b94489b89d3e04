"""The benchmark's own arithmetic, and that its shared job decides as the stream does."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest.mock import Mock

import pytest
from msgspec.structs import astuple

from featurizers import PRESETS
from scoring import cost_threshold, load_model
from streams.pipeline.controls import Controls
from streams.pipeline.ledger import holdings
from streams.pipeline.matching import Arrivals
from streams.pipeline.records import REQUESTS, RESPONSES, Output, Record
from streams.pipeline.scope import EVERYTHING
from streams.pipeline.stages import Pipeline, Polled, Ticket
from tests.rig import Desk

_ROOT = Path(__file__).parents[1]


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


@pytest.mark.usefixtures("_benchmarks")
def test_one_by_one_in_batches_and_matched_the_decisions_are_the_same(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The floor's and the peers' decisions are byte for byte those of the stream's own stages."""
    from job import Answer, Job, Setup
    from track import answers

    monkeypatch.setattr("job.now", lambda: 1_800_000_000_000)
    job = Job(Setup("unused", "", "unused", str(models)))
    records = list(answers(50))
    whole = [Answer(key, response, request) for key, request, response in records]

    threshold = cost_threshold("false-discovery", review=0.64, mistake=1.0)
    controls = Controls(load_model(models), {EVERYTHING: threshold})
    desk = Desk()
    pipeline = Pipeline(desk.matcher, PRESETS["lpp"], lambda: controls, job.names, lambda: 1_800_000_000_000)
    read = [Record(REQUESTS, 0, at, 1, key, request, None) for at, (key, request, _) in enumerate(records)]
    read += [Record(RESPONSES, 0, at, 1, key, response, None) for at, (key, _, response) in enumerate(records)]
    polled = Polled(Ticket(1, desk.assignment, {}, 0.0), Arrivals(read, {}, {}))
    stream = pipeline.route(pipeline.score(pipeline.featurize(pipeline.intake(polled)))).outputs

    def written(outputs: Iterable[Output]) -> list[tuple[object, ...]]:
        return sorted(astuple(output) for output in outputs)

    assert written(stream) == written(job.decide(whole))
    assert written(stream) == written(output for answer in whole for output in job.decide([answer]))


@pytest.mark.usefixtures("_benchmarks")
def test_rounds_interleave_their_points_and_a_curve_keeps_their_medians() -> None:
    """Every point is measured once a round; the figures of a point are those that all its laps have."""
    from figures import curve, interleave

    order: list[int] = []

    def measure(point: int) -> dict[str, float]:
        order.append(point)
        return {"throughput": float(point * len(order))} | ({"first_only": 1.0} if len(order) == 1 else {})

    laps = interleave((1, 10), measure, rounds=3, what="points")

    assert [1, 10, 1, 10, 1, 10] == order
    assert [
        {"at": 1, "throughput": {"median": 3.0, "min": 1.0, "max": 5.0}},
        {"at": 10, "throughput": {"median": 40.0, "min": 20.0, "max": 60.0}},
    ] == curve(laps)


@pytest.mark.usefixtures("_benchmarks")
def test_a_lap_is_timed_from_its_warm_up_to_its_last_decision() -> None:
    """Start-up and the rest after the last decision do not count; a lap without time in between has no rate."""
    from contenders import _rate

    assert 400.0 == _rate([(0.0, 0), (5.0, 100), (6.0, 300), (7.0, 700), (9.0, 700)], 200)
    assert _rate([(0.0, 0), (5.0, 700)], 70) is None


@pytest.mark.usefixtures("_benchmarks")
def test_latency_counts_from_the_schedule_and_misses_no_decision() -> None:
    """Percentiles in ms of due to seen; a decision that never came ends the lap."""
    import numpy as np
    from contenders import RunFailedError
    from latency import lap_figures

    due = np.arange(101) / 10
    seen = due + np.arange(101) / 1000

    figures = lap_figures(due, seen, 0.002)

    assert [50.0, 95.0, 99.0, 50.0, 2.0] == pytest.approx(list(figures.values()))
    with pytest.raises(RunFailedError, match="1 of 101 decisions"):
        lap_figures(due, np.where(due == 0, np.nan, seen), 0.0)


@pytest.mark.usefixtures("_benchmarks")
def test_the_breakdown_is_of_the_batches_between_two_readings() -> None:
    """What a worker did before the lap does not count; what no stage took is time between stages."""
    from latency import breakdown, stage_samples
    from prometheus_client import generate_latest

    from streams.worker.metrics import Metrics

    metrics = Metrics()

    def read(*seconds: float) -> dict[tuple[str, str], float]:
        metrics.stage_seconds.labels("intake").observe(seconds[0])
        metrics.stage_seconds.labels("deliver").observe(seconds[1])
        metrics._batch_seconds.observe(seconds[2])
        return dict(stage_samples(generate_latest(metrics.registry).decode()))

    before = read(9.0, 9.0, 9.0)
    read(0.010, 0.020, 0.050)
    after = read(0.020, 0.040, 0.070)

    expected = {"stage_intake": 15.0, "stage_deliver": 30.0, "between_stages": 15.0, "batch": 60.0, "batches": 2.0}
    assert expected == pytest.approx(breakdown(before, after))


@pytest.mark.usefixtures("_benchmarks")
def test_a_steady_crowd_keeps_its_number(models: Path) -> None:
    """Whatever the order of the answers, each goes to a request that waits, and a new request takes its place."""
    from in_process import Crowd, Stages, fill, steady

    for at_random in (False, True):
        stages, crowd = Stages(models), Crowd()
        fill(stages, crowd, 40)
        decided = [
            case
            for batch in steady(crowd, list(range(40)), 100, at_random=at_random)
            for case in stages.intake(batch).matched.cases
        ]

        assert 100 == len(decided) == len({case.request_id for case in decided})
        assert 40 == holdings(stages.assignment.stores).requests


@pytest.mark.usefixtures("_benchmarks")
@pytest.mark.parametrize(
    ("decided", "dead"),
    [
        ({b"a": 1}, {b"x": 1}),
        ({b"a": 1, b"b": 2}, {b"x": 1}),
        ({b"a": 1, b"b": 1}, {b"x": 2}),
        ({b"a": 1, b"b": 1}, {}),
    ],
)
def test_books_that_miss_or_repeat_something_do_not_pass(decided: dict[bytes, int], dead: dict[bytes, int]) -> None:
    """A missing decision, one made twice, a record set aside twice, and one that was not."""
    from course import Books

    from streams.errors import StreamError

    Books(Counter({b"a": 1, b"b": 1}), Counter(), Counter({b"x": 1})).check(decided=2, dead=1)
    with pytest.raises(StreamError):
        Books(Counter(decided), Counter(), Counter(dead)).check(decided=2, dead=1)


@pytest.mark.usefixtures("_benchmarks")
def test_an_uneven_backlog_has_half_of_what_is_left_in_each_partition() -> None:
    """The last partition takes the rest; an even one deals in turn."""
    from backlog import Backlog, _partition

    uneven = Counter(_partition(number, Backlog("create", 4, "uneven", "requests")) for number in range(64))
    even = Counter(_partition(number, Backlog("create", 4, "even", "requests")) for number in range(64))

    assert {0: 32, 1: 16, 2: 8, 3: 8} == uneven
    assert {0: 16, 1: 16, 2: 16, 3: 16} == even


@pytest.mark.usefixtures("_benchmarks")
def test_the_memory_trial_counts_each_time_reading_was_held_back_and_went_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held back for longer counts once, a page that did not come counts for nothing."""
    from memory import Watch
    from prometheus_client.samples import Sample

    pages = [
        []
        if paused is None
        else [Sample("secondlook_paused", {}, paused), Sample("secondlook_pending_bytes", {}, most)]
        for paused, most in ((0, 1), (4, 7), (3, 5), (None, 0), (2, 6), (0, 2), (1, 3))
    ]
    monkeypatch.setattr("memory.page", lambda _port: pages.pop(0))

    watch = Watch()
    while pages:
        watch.settled(0)

    assert (2, 1, 7) == (watch.pauses, watch.resumes, watch.most_bytes)


@pytest.mark.usefixtures("_benchmarks")
def test_weighted_labels_keep_their_word_and_unweighted_ones_do_not() -> None:
    """In as many draws as a test has time for: the benchmark makes 1,000."""
    from selected_labels import MISSED, run

    weighted, unweighted = run(0.1, 30, drift=True)
    assert max(weighted.interval_missed, weighted.bound_broken) <= MISSED
    assert 1.0 == unweighted.interval_missed
    assert unweighted.bound_broken > 0.5
    assert weighted.certified > 0  # refusing everything would keep any word


@pytest.mark.usefixtures("_benchmarks")
def test_a_rolling_deploy_is_held_against_what_was_before() -> None:
    """What is due shortly before the first worker goes is decided during the roll; more than a second is late."""
    import numpy as np
    from rolling import Moments, figures

    due = np.arange(40.0)
    took = np.where((due >= 19) & (due < 21) | (due < 2), 3.0, 0.01)

    found = figures(due, due + took, Moments(2.0, 20.0, 30.0, (2.5, 3.5)))

    assert (0.01, 0.01) == (found["before_p50"], found["before_max"])
    assert (0.01, 3.0, 0.125) == (found["during_p50"], found["during_max"], found["late_share"])
    assert (2.5, 3.5) == (found["gone_0"], found["gone_1"])


@pytest.mark.usefixtures("_benchmarks")
def test_the_load_ends_when_a_rolling_deploy_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, not with the last second of the clock."""
    import rolling

    from streams.errors import StreamError

    told = []

    def sends(_lap: int, _due: object, stopping: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5
        while not stopping() and time.monotonic() < deadline:
            time.sleep(0.01)
        told.append(stopping())

    def fails(under_load: Callable[[], None]) -> None:
        under_load()
        raise StreamError("a worker ended with 1")

    monkeypatch.setattr(rolling, "Sender", Mock(return_value=Mock(run=sends)))
    monkeypatch.setattr(rolling, "Reader", Mock())
    monkeypatch.setattr(rolling, "Roll", Mock(return_value=Mock(run=fails)))
    with pytest.raises(StreamError):
        rolling.measure(Mock(), rolling.ways(5)[0], 10, [])
    assert [True] == told

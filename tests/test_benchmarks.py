"""The benchmark's own arithmetic, and that its shared job decides as the stream does."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from featurizers import PRESETS
from scoring import ModelError, cost_threshold, load_model
from streams.pipeline.control_log import ControlLog
from streams.pipeline.controls import Baseline, Controls, honour
from streams.pipeline.ledger import holdings
from streams.pipeline.matching import Arrivals, Case
from streams.pipeline.reasons import Reason
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from streams.pipeline.routing import Verdict, encode_decision
from streams.pipeline.scope import EVERYTHING
from streams.pipeline.stages import Pipeline, Polled, Ticket
from tests.rig import Desk, request
from tests.streams.pipeline.test_controls import Model

_ROOT = Path(__file__).parents[1]


@pytest.fixture
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts' folder on the path, as when one of them is run."""
    monkeypatch.syspath_prepend(str(_ROOT / "benchmarks"))
    for name in (
        "job",
        "track",
        "contenders",
        "run",
        "figures",
        "in_process",
        "on_kafka",
        "scaling",
        "pacing",
        "latency",
        "course",
        "restart",
        "memory",
        "backlog",
        "control_check",
        "control_models",
        "control_traffic",
        "control_figures",
        "controls",
    ):
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

    assert sorted(stream) == sorted(job.decide(whole))
    assert sorted(stream) == sorted(output for answer in whole for output in job.decide([answer]))


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


_POLICIES = frozenset({"hate", "violence"})


def _decided_under_every_kind(count: int, lacking: str | None = None) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Decisions of the stream's own fold, honouring and routing among `count` messages of every kind; with what the checker takes.

    `lacking` is a model that the worker does not have.
    """
    from control_check import Answer, Decided, Facts, Fold
    from control_check import Model as Known
    from control_models import Models
    from control_traffic import Script

    names = Models(*(letter * 64 for letter in "abcdef"))
    calibrated = {names.own: True, names.other: True, names.uncalibrated: False}
    has = {sha256: Model(sha256, calibrated=one, policies=_POLICIES) for sha256, one in calibrated.items()}
    facts = Facts({sha256: Known(one, _POLICIES) for sha256, one in calibrated.items()}, names.own, 0.4)
    has.pop(lacking or "", None)

    def find(sha256: str) -> Any:
        if sha256 not in has:
            raise ModelError(sha256)
        return has[sha256]

    log, fold, chance = ControlLog(), Fold(), Random(1)
    for offset, value in zip(range(count), Script(names, fold, chance).messages(), strict=False):
        refused = log.take(offset, 1_800_000_000_000, value).refusal is not None
        fold.take(offset, 1_800_000_000_000, value)
        assert (refused, log.version) == (offset in fold.refused, fold.version), value
        controls = honour(log.content, log.version, Baseline(Model(names.own, policies=_POLICIES), 0.4), find)  # type: ignore[arg-type]
        scores = {sha256: round(chance.random(), 7) for sha256 in calibrated}
        answer = Answer(chance.choice(("hate", "violence", "spam")), chance.choice((-1, 0, 1, 1, 1, 2, 3)), scores)
        verdict = Verdict()
        verdict.outcome = answer.outcome
        if answer.outcome in (0, 1) and controls.model is not None:
            verdict.error_probability = scores[controls.model.sha256]
        if answer.outcome < 0:
            verdict.reason = Reason.OUTCOME_MISSING
        case = Case(f"0001-{offset:08d}", answer.policy, request(), None, verdict.reason)
        output, _, _ = encode_decision(case, verdict, controls, decided_at="2026-11-26T05:00:00.000Z")
        yield msgspec.json.decode(output.value or b"", type=Decided), answer, fold.states, facts


@pytest.mark.usefixtures("_benchmarks")
def test_the_checker_of_controls_agrees_with_the_stream_on_every_kind_of_message() -> None:
    """Two folds and two routings, written apart, arrive at the same versions, refusals and decisions."""
    from control_check import wrongs

    reasons: Counter[str] = Counter()
    for decided, answer, states, facts in _decided_under_every_kind(1500):
        assert not wrongs(decided, answer, states, facts)
        reasons[decided.reasons[0]] += 1

    rare = {
        "controls_not_honoured",
        "automation_stopped",
        "no_threshold",
        "audit",
        "above_threshold",
        "below_threshold",
    }
    assert rare <= reasons.keys()


@pytest.mark.usefixtures("_benchmarks")
def test_the_checker_of_controls_finds_each_wrong_stamp() -> None:
    """Another version, model, threshold, route, reason, action or P(error) than what was in force."""
    from control_check import Scorer, wrongs

    found: Counter[str] = Counter()
    for decided, answer, states, facts in _decided_under_every_kind(300):
        if decided.reasons != ["below_threshold"]:
            continue
        for name, wrong in {
            "control_version": max(states) + 1,
            "model": Scorer("f" * 64),
            "threshold": (decided.threshold or 0) + 0.01,
            "route": "human-review",
            "reasons": ["audit"],
            "action": "review",
            "error_probability": (decided.error_probability or 0) + 0.01,
        }.items():
            said = wrongs(msgspec.structs.replace(decided, **{name: wrong}), answer, states, facts)
            assert any(line.startswith(name) for line in said), (name, said)
            found[name] += 1
    assert 7 == len(found)


@pytest.mark.usefixtures("_benchmarks")
def test_the_checker_of_controls_finds_what_was_decided_under_another_version() -> None:
    """A worker that stamps the version in force and decides under the one before is found as soon as the two differ."""
    from control_check import wrongs

    caught = 0
    for decided, answer, states, facts in _decided_under_every_kind(300):
        late = {**states, decided.control_version: list(states.values())[-2 if len(states) > 1 else -1]}
        caught += bool(wrongs(decided, answer, late, facts))
    assert caught


@pytest.mark.usefixtures("_benchmarks")
def test_the_checker_of_controls_knows_that_a_worker_lacks_a_model() -> None:
    """What it decides is right for one without that model, and wrong for one with it."""
    from control_check import wrongs

    lacking = "b" * 64
    closed = 0
    for decided, answer, states, facts in _decided_under_every_kind(300, lacking):
        assert not wrongs(decided, answer, states, facts.without(lacking))
        closed += bool(wrongs(decided, answer, states, facts))
    assert closed


@pytest.mark.usefixtures("_benchmarks")
def test_the_times_of_a_swap_are_those_of_the_last_worker_and_the_last_decision() -> None:
    """From the broker's stamp of the message; a stop counts until the last automated decision could be read."""
    from control_check import Decided, Fold, Scorer
    from control_figures import after_stops, counts, in_force, under_the_old
    from control_traffic import Log, Said, Seen

    log = Log(Fold(), {0: 1000, 1: 2000})
    for offset, kind in enumerate(("stop_automation", "resume_automation")):
        log.fold.take(offset, 0, b'{"type":"%s","policy":"*"}' % kind.encode())
    said = [
        Said("a", "applied", "", version, version, "", honoured=True, stored_at=at)
        for version, at in ((0, 900), (1, 1010), (2, 2005))
    ] + [
        Said("b", "applied", "", version, version, "", honoured=True, stored_at=at)
        for version, at in ((0, 900), (2, 2300))
    ]

    def seen(version: int, decided_at: str, at: float, route: str = "auto-action") -> Seen:
        decided = Decided(
            "0001-0", "hate", route, "", None, None, [], Scorer(None), version, f"1970-01-01T00:00:0{decided_at}Z"
        )
        return Seen(decided, 0, at)

    decisions = [
        seen(0, "1.040", 1200),
        seen(0, "0.900", 1250),
        seen(1, "1.500", 1600, "human-review"),
        seen(2, "2.100", 2200),
    ]

    assert [1300.0, 300.0] == in_force(log, said)
    assert [40.0] == under_the_old(decisions, log)
    assert ([40.0], [250.0]) == after_stops(decisions, log, [0])
    assert 1 == counts([*decisions, seen(1, "2.200", 2300)], 1)["versions_that_went_back"]

"""The benchmark beside compiled peers: what is compared, which laps count, and that nothing is left out silently."""

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from featurizers import PRESETS, decode, featurize
from scoring import RECORDING, load_model, read_recording
from scoring.data import from_items
from scoring.store import write_model
from scoring.training import train

_ROOT = Path(__file__).parents[1]
_MODULES = ("job", "track", "contenders", "figures", "parameters", "agreement", "quiet", "compiled", "run_peers")
_DECISION = {
    "request_id": "a",
    "route": "auto-action",
    "error_probability": 0.25,
    "reasons": ["below_threshold"],
    "drivers": [{"predictor": "outcome_margin", "push": -0.5}],
    "llm": {"outcome": 1, "confidence": None},
    "control_version": 0,
    "decided_at": "2026-01-01T00:00:00.000Z",
}
_OUTPUTS: dict[tuple[str, bytes], Any] = {
    ("auto_action", b"a"): _DECISION,
    ("vectors", b"a"): {"values": [None, 13.0, -0.25790966]},
}


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts' folder on the path, as when one of them is run."""
    monkeypatch.syspath_prepend(str(_ROOT / "benchmarks"))
    for name in _MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in _MODULES:
        sys.modules.pop(name, None)


def _changed(path: tuple[Any, ...], value: Any, place: tuple[str, bytes] = ("auto_action", b"a")) -> dict[Any, Any]:
    outputs = copy.deepcopy(_OUTPUTS)
    holder = outputs[place]
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return outputs


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("route",), "human-review"),
        (("error_probability",), 0.2501),
        (("error_probability",), None),
        (("reasons", 0), "audit"),
        (("reasons",), []),
        (("drivers", 0, "predictor"), "outcome_entropy"),
        (("drivers", 0, "push"), 0.5),
        (("llm", "outcome"), 0),
        (("llm", "outcome"), True),
        (("llm", "confidence"), 0.0),
        (("control_version",), "0"),
        (("more",), None),
    ],
)
def test_a_decision_that_differs_in_any_field_is_refused_by_the_fields_name(path: tuple[Any, ...], value: Any) -> None:
    """Whichever it is, down to what stands in a list; a field too much is one as well."""
    from agreement import DifferentError, check

    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    with pytest.raises(DifferentError) as problem:
        check(_OUTPUTS, _changed(path, value))

    assert f"auto_action of a: {name} is " in str(problem.value)


def test_a_vector_that_differs_is_refused_and_a_missing_predictor_is_no_number() -> None:
    """A step too far, and a number where there is none."""
    from agreement import DifferentError, check

    for column, value in ((2, -0.257914), (0, 0.0), (1, None)):
        with pytest.raises(DifferentError, match=rf"vectors of a: .values\[{column}\]"):
            check(_OUTPUTS, _changed(("values", column), value, ("vectors", b"a")))


def test_rounding_and_each_ones_own_clock_are_no_difference() -> None:
    """A float32's last steps, an integer for a whole float, and the moment of the decision."""
    from agreement import check

    other = _changed(("error_probability",), 0.2500001)
    other["auto_action", b"a"] |= {"decided_at": "2026-01-01T00:00:09.000Z", "control_version": 0.0}
    other["vectors", b"a"]["values"] = [None, 13, -0.2579098]

    assert 2 == check(_OUTPUTS, other)


def test_a_decision_without_its_moment_is_a_difference() -> None:
    """What is not compared must still be there."""
    from agreement import DifferentError, check

    other = copy.deepcopy(_OUTPUTS)
    del other["auto_action", b"a"]["decided_at"]

    with pytest.raises(DifferentError, match="decided_at"):
        check(_OUTPUTS, other)


def test_a_record_that_lacks_or_is_too_much_or_comes_twice_is_refused() -> None:
    """A decision on the other topic is both."""
    from agreement import DifferentError, check, outputs_of

    for one, other, said in ((_OUTPUTS, {}, "lacks: 2"), ({}, _OUTPUTS, "has too much: 2")):
        with pytest.raises(DifferentError, match=said):
            check(one, other)
    message = SimpleNamespace(topic=lambda: "t.auto", key=lambda: b"a", value=lambda: b"{}")
    track: Any = SimpleNamespace(
        names={"auto_action": "t.auto", "human_review": "t.human", "vectors": "t.vectors"},
        committed=lambda _: iter([message, message]),
    )
    with pytest.raises(DifferentError, match="twice"):
        outputs_of(track)


def test_the_load_of_a_lap_is_what_neither_broker_harness_nor_contender_took() -> None:
    """Two cores for ten seconds: 20, of which 12 busy, 1 stolen, and 9 of the busy ones ours."""
    from quiet import Clock, Limits

    load = Clock(0.0, 100.0, 5.0, 20.0).until(Clock(10.0, 112.0, 6.0, 23.0), 6.0, 2)

    assert (0.15, 0.05) == (load.others, load.steal)
    assert load.is_quiet(Limits(0.15, 0.05))
    assert not load.is_quiet(Limits(0.14, 0.05))
    assert not load.is_quiet(Limits(0.15, 0.04))


def test_what_the_machine_does_is_read_from_the_kernels_own_line() -> None:
    """Waiting for a disk is no work; steal stands apart; guests are counted as users already."""
    from quiet import processor_times

    assert (1.5, 0.25) == processor_times("cpu  40 30 20 5000 600 35 25 25 7 7")


def test_the_rates_of_a_course_are_those_of_its_slices_and_warm_is_where_the_last_half_is_reached() -> None:
    """A slow start of four slices, then even: warm from the fifth on."""
    from quiet import flat_from, slice_rates

    course, at = [(0.0, 0.0)], 0.0
    for part in range(1, 21):
        at += 2.0 if part <= 4 else 1.0
        course.append((at, 50.0 * part))
    rates = slice_rates(course, 1000)

    assert [25.0] * 4 + [50.0] * 16 == rates
    assert 4 == flat_from(rates)


def test_what_gets_faster_to_its_end_is_never_warm() -> None:
    """Then there were too few answers."""
    from quiet import flat_from

    assert flat_from([float(rate) for rate in range(1, 21)]) is None


class _Bench:
    """Laps as told: the throughput and the others' share of each, in turn."""

    def __init__(self, laps: list[tuple[float, float]]) -> None:
        self._laps = iter(laps)

    def lap(self, _contender: object, _warm: int) -> Any:
        from contenders import Lap
        from quiet import Load
        from run_peers import Timed

        throughput, others = next(self._laps)
        return Timed(Lap(throughput, 1000, 0, 100.0, 1.0, 0.1, ()), Load(others, 0.0), 0.2)


def _entries(*names: str) -> Any:
    from contenders import CONTENDERS
    from run_peers import Entry

    return {name: Entry(CONTENDERS["exactly_once"], 50, []) for name in names}


def test_loud_laps_are_thrown_away_and_others_run_in_their_place() -> None:
    """Round 1 is loud for one of them: there is a third one, and the ratio is of rounds in which both were quiet."""
    from quiet import Limits
    from run_peers import figures_of, time_all

    entries = _entries("exactly_once", "native_limit")
    bench: Any = _Bench([(100.0, 0.0), (999.0, 0.5), (110.0, 0.0), (200.0, 0.0), (120.0, 0.0), (480.0, 0.0)])
    time_all(bench, entries, {}, 2, Limits())
    figures = figures_of(entries, {}, Limits(), 1000)

    assert (2, 1) == (figures["native_limit"]["quiet"], figures["native_limit"]["thrown_away"])
    assert {"median": 340.0, "min": 200.0, "max": 480.0} == figures["native_limit"]["throughput"]
    assert {"median": 0.4, "min": 0.25, "max": 0.55} == figures["native_limit"]["exactly_once_is"]
    assert {"median": 110.0, "min": 100.0, "max": 120.0} == figures["exactly_once"]["throughput"]


def test_the_broker_is_warm_when_it_needs_no_less_than_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laps go on as long as each takes a tenth less of it, and end at some time."""
    from contenders import Lap
    from quiet import Load
    from run_peers import Bench, Timed

    def laps_needed(*spent: float) -> int:
        left = list(spent)
        bench = Bench(None, None, Path(), 1000)  # type: ignore[arg-type] # no lap is run
        lap = Lap(1.0, 1000, 0, 1.0, 1.0, 1.0, ())
        monkeypatch.setattr(bench, "lap", lambda *_: Timed(lap, Load(0.0, 0.0), left.pop(0)))
        bench.warm_broker()
        return len(spent) - len(left)

    assert 4 == laps_needed(8.0, 4.0, 2.0, 1.9, 1.0)
    assert 8 == laps_needed(*[0.5**lap for lap in range(20)])


def test_a_machine_that_is_never_quiet_ends_the_rounds_and_gives_no_figure() -> None:
    """After twice the rounds asked for."""
    from quiet import Limits
    from run_peers import figures_of, time_all

    entries = _entries("exactly_once")
    bench: Any = _Bench([(100.0, 0.9)] * 4)
    time_all(bench, entries, {}, 2, Limits())
    figures = figures_of(entries, {}, Limits(), 1000)["exactly_once"]

    assert (0, 4) == (figures["quiet"], figures["thrown_away"])
    assert "throughput" not in figures


def test_a_peer_that_decided_otherwise_is_not_timed(capsys: pytest.CaptureFixture[str]) -> None:
    """It has an entry that says why, and no laps."""
    from agreement import DifferentError
    from quiet import Limits
    from run_peers import entries_of, figures_of, report

    entry = _entries("exactly_once")["exactly_once"]

    def try_out(_ways: object, reference: Any) -> Any:
        if reference is not None:
            raise DifferentError("auto_action of a: .route is 'x', and not 'y'")
        return entry, {}

    # An empty reference is one, too.
    why: dict[str, str] = {}
    entries = entries_of(SimpleNamespace(try_out=try_out), ["native_limit", "exactly_once"], why)  # type: ignore[arg-type]
    report(figures_of(entries, why, Limits(), 1000), 5, Limits())

    assert ["exactly_once"] == list(entries)
    assert "NOT TIMED: auto_action of a: .route" in why["native_limit"]
    assert "native_limit               left out: NOT TIMED" in capsys.readouterr().out


def test_peers_whose_tools_are_not_there_are_left_out_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each says which tool lacks."""
    from run_peers import build

    monkeypatch.setenv("PATH", str(tmp_path))

    assert {
        "kafka_streams_documented": "javac and mvn not in the path",
        "native_limit": "cargo and cc and make not in the path",
    } == build(["exactly_once", "kafka_streams_documented", "native_limit"])


def test_a_build_that_fails_says_what_the_tool_said(tmp_path: Path) -> None:
    """Its last lines."""
    from compiled import NotBuiltError, Peer

    with pytest.raises(NotBuiltError, match="no such crate"):
        Peer(("sh",), tmp_path, ("sh", "-c", "echo no such crate; exit 3")).build()


def test_a_model_that_is_not_linear_is_refused(models: Path, tmp_path: Path) -> None:
    """What the peers cannot score by hand they do not score."""
    from parameters import UnknownModelError, write_parameters

    with pytest.raises(UnknownModelError, match="`make bench-peers` trains one"):
        write_parameters(models, tmp_path / "model.txt")


def test_the_parameters_that_peers_get_give_the_models_own_scores(tmp_path: Path) -> None:
    """P(error) and every push, for a known policy and another, from the file alone."""
    from parameters import write_parameters

    trained = train(from_items(read_recording(RECORDING)), families=("interactions",), replicates=10)
    models = tmp_path / "models"
    write_model(models, trained.onnx, trained.card)
    write_parameters(models, tmp_path / "model.txt")
    lines = {
        name: rest.split("\t")
        for name, rest in (line.split("\t", 1) for line in (tmp_path / "model.txt").read_text().splitlines())
    }
    given = {
        name: np.array(lines[name], float)
        for name in ("medians", "center", "scale", "low", "high", "weights", "pushes", "intercept", "slope", "offset")
    }
    at = {name: np.array(lines[name], int) for name in ("factor", "others", "term_of")}
    items = read_recording(RECORDING)[:40]
    policies = ["never seen" if row % 4 == 0 else item.policy for row, item in enumerate(items)]
    values = featurize([decode(bytes(item.response)) for item in items], PRESETS["lpp"]).values
    own = [
        [float(name == policy) if policy in lines["policies"] else np.nan for name in lines["policies"]]
        for policy in policies
    ]
    inputs = np.concatenate([values.astype(float), own], axis=1)
    inputs = np.where(np.isnan(inputs), given["medians"], inputs)
    inputs = np.concatenate([inputs, inputs[:, at["factor"]] * inputs[:, at["others"]]], axis=1)
    cut = np.clip((inputs - given["center"]) / given["scale"], given["low"], given["high"])
    probability = 1 / (1 + np.exp(-(given["slope"] * (cut @ given["weights"] + given["intercept"]) + given["offset"])))
    pushes = np.zeros((len(items), len(lines["terms"])))
    np.add.at(pushes, (slice(None), at["term_of"]), cut * given["pushes"])
    scores = load_model(models).score(values, policies)

    np.testing.assert_allclose(probability, scores.error_probability, atol=1e-6)
    np.testing.assert_allclose(pushes, scores.contributions, atol=1e-5)

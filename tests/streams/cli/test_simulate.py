"""`secondlook control simulate`, over files and topics, without workers."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from featurizers import SCHEMA
from scoring import RECORDING, load_model
from scoring.data import load
from scoring.store import add_model
from scoring.training.cold_start import single_estimator_model
from streams.cli.main import main
from streams.kafka import recent
from streams.kafka.model_topic import push_model
from streams.kafka.publishing import publish_control
from streams.kafka.reading import read_values
from streams.kafka.topics import load_topics
from streams.pipeline.control_messages import (
    SetAuditRate,
    SetCosts,
    SetModel,
    SetThreshold,
    StopAutomation,
    parse_control,
)
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker

pytestmark = pytest.mark.usefixtures("_no_worker_to_hear")
TOPICS = load_topics()
ROLES = ("control", "control_status", "models", "vectors", "human_decisions", "auto_action", "human_review")
DATA = load([RECORDING])


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker([TOPICS[role] for role in ROLES]) as broker:
        yield broker


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    return load_settings({"broker": broker.bootstrap}, environ={})


RATE = 0.4


def records() -> dict[str, list[bytes]]:
    """The recording's vectors, how each was decided, and what humans decided on those that came to them: escalated, or audits."""
    found: dict[str, list[bytes]] = {"vectors": [], "human_decisions": [], "auto_action": [], "human_review": []}
    for row, (origin, values, label) in enumerate(zip(DATA.origins, DATA.values, DATA.labels, strict=True)):
        about = {"request_id": origin.request_id, "policy": origin.policy}
        known = [None if np.isnan(value) else float(value) for value in values]
        found["vectors"].append(json.dumps({**about, "schema": SCHEMA.id, "values": known}).encode())
        reason = ("below_threshold", "audit", "above_threshold")[row % 3]
        role, route = ("auto_action", "auto-action") if row % 3 == 0 else ("human_review", "human-review")
        decision = {**about, "route": route, "reasons": [reason], "control_version": 1}
        found[role].append(json.dumps(decision).encode())
        if row % 3:
            found["human_decisions"].append(json.dumps({**about, "outcome": int(label)}).encode())
    return found


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Options that read them from files."""
    found = records()
    named = {
        "vectors": found["vectors"],
        "decisions": found["human_decisions"],
        "routed": found["auto_action"] + found["human_review"],
    }
    options = []
    for name, values in named.items():
        file = tmp_path / f"{name}.jsonl"
        file.write_bytes(b"\n".join(values))
        options += [f"--{name}", str(file)]
    return options


def run(broker: EmbeddedBroker, models: Path, *arguments: str) -> Result:
    given = ["--model", str(models), "--broker", broker.bootstrap]
    return CliRunner().invoke(main, ["control", "simulate", *given, *arguments])


def test_nothing_to_simulate_on_is_said(broker: EmbeddedBroker, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the time from which there is none."""
    monkeypatch.setattr(recent, "offsets_at", lambda _client, _topic, every, _stamp: dict.fromkeys(every, -1))
    result = run(broker, models, "--threshold", "0.2", "--since", "2030-01-01T00:00:00Z")
    line = "lpp.vectors holds no answer from 2030-01-01T00:00:00+00:00 on (--since)"
    assert (4, True) == (result.exit_code, line in result.output), result.output


def simulated(broker: EmbeddedBroker, models: Path, *arguments: str) -> dict[str, Any]:
    result = run(broker, models, "--json", *arguments)
    assert 0 == result.exit_code, result.output
    document: dict[str, Any] = orjson.loads(result.stdout)
    return document


def test_a_threshold_over_files_and_over_topics_is_the_same(
    broker: EmbeddedBroker, models: Path, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What 0.2 would do, by policy, beside what 0.5 does now; the last so many count."""
    # The embedded broker does not know where a topic was at a time.
    monkeypatch.setattr(recent, "offsets_at", lambda _client, _topic, every, _stamp: dict.fromkeys(every, 0))
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    publish_control(load_settings({"broker": broker.bootstrap}, environ={}), SetAuditRate(policy="*", rate=RATE))
    for role, values in records().items():
        for value in values:
            producer.produce(TOPICS[role].name, value, orjson.loads(value)["request_id"].encode())
    assert 0 == producer.flush(20)
    publish_control(load_settings({"broker": broker.bootstrap}, environ={}), SetThreshold(policy="*", threshold=0.5))
    found = simulated(broker, models, "--threshold", "0.2", *files)
    assert found == simulated(broker, models, "--threshold", "0.2")
    scores = load_model(models).score(DATA.values, DATA.policies)
    usable = DATA.decided & scores.supported
    every = found["rows"][0]
    for side, threshold in (("now", 0.5), ("then", 0.2)):
        automated = usable & (scores.error_probability < threshold)
        measured = every[side]["measured_error"]
        assert automated.sum() == measured["of"] > every[side]["automated"]  # the rest would be audits
        audited, escalated = (automated & (np.arange(len(DATA)) % 3 == kind) for kind in (1, 2))
        assert (audited.sum(), (audited | escalated).sum()) == (measured["audits"], measured["judged"])
        # What was escalated speaks for itself; the audits for themselves and for what was automated.
        expected = escalated.sum() * DATA.errors[escalated].mean()
        expected += (automated.sum() - escalated.sum()) * DATA.errors[audited].mean()
        assert measured["rate"] == pytest.approx(expected / automated.sum())
        assert measured["low"] < measured["rate"] < measured["high"]
        drawn = np.array([zlib.crc32(origin.request_id.encode()) < RATE * 2**32 for origin in DATA.origins])
        assert every[side]["expected_error"] == pytest.approx(
            scores.error_probability[automated & ~drawn].mean(), abs=1e-5
        )
    assert sorted(set(DATA.policies)) == [row["policy"] for row in found["rows"][1:]]
    assert 100 == simulated(broker, models, "--threshold", "0.2", "--last", "100")["rows"][0]["answers"]
    shown = " ".join(run(broker, models, "--threshold", "0.2").output.split())
    assert "model's own word" in shown
    assert f"of 840 answers {every['to_humans']} more would go to humans, 0 more would be automated" in shown


def test_a_model_of_the_topic_with_costs(
    broker: EmbeddedBroker, models: Path, settings: Settings, tmp_path: Path, files: list[str]
) -> None:
    """It is fetched but not written; a model without thresholds sends everything to humans; one that cannot be honoured is said."""
    onnx, card = single_estimator_model("entropy")
    raw = add_model(tmp_path / "else", onnx, card).name
    push_model(settings, onnx)
    found = simulated(broker, models, "--sha256", raw[:8], "--threshold", "0.9", "--policy", "hate", *files)
    assert [("set_model", raw), ("set_threshold", None)] == [
        (one["type"], one.get("sha256")) for one in found["messages"]
    ]
    assert any("then: model" in note and "not calibrated" in note for note in found["notes"])
    rows = {row["policy"]: row["then"] for row in found["rows"]}
    assert rows["hate"]["automated"] > 0
    assert {0} == {row["automated"] for policy, row in rows.items() if policy not in ("*", "hate")}
    assert rows["hate"]["expected_error"] is None
    assert not (models / raw).exists()
    result = run(broker, models, "--sha256", raw, "--review", "1", "--mistake", "3", *files)
    assert (4, True) == (result.exit_code, "it could not be honoured: " in result.output)
    result = run(broker, models, "--sha256", "f" * 64, *files)
    assert (4, True) == (result.exit_code, "it could not be honoured: No model at" in result.output)


def test_what_was_simulated_is_what_is_issued(
    broker: EmbeddedBroker, models: Path, settings: Settings, files: list[str]
) -> None:
    """The very messages, each for the version that it was simulated on; with costs, and with a model before its threshold."""
    sha256 = load_model(models).sha256
    given = ["--apply", "--wait", "0", "--reason", "tried", *files]
    assert 0 == run(broker, models, "--review", "1", "--mistake", "4", *given).exit_code
    result = run(broker, models, "--sha256", sha256, "--threshold", "0.3", *given)
    assert 0 == result.exit_code, result.output
    costs, model, threshold = (parse_control(one) for one in read_values(settings, TOPICS["control"].name, [0]))
    assert isinstance(costs, SetCosts)
    assert isinstance(model, SetModel)
    assert isinstance(threshold, SetThreshold)
    assert (0, "tried", 4.0) == (costs.expected_version, costs.reason, costs.mistake)
    assert (1, 2, 0.3) == (model.expected_version, threshold.expected_version, threshold.threshold)
    stale = run(broker, models, "--threshold", "0.4", "--expected-version", "2", *given)
    assert (4, True) == (stale.exit_code, "version 3 is in force, not 2" in stale.output)


def test_a_scope_is_simulated_and_issued(
    broker: EmbeddedBroker, models: Path, settings: Settings, tmp_path: Path
) -> None:
    """Only the tenant's answers change, each outcome by its own cost; what is issued is about the tenant alone."""
    vectors = [orjson.loads(one) for one in records()["vectors"]]
    for number, one in enumerate(vectors):
        one["tenant"] = ("acme", "other", None, "")[number % 4]
    file = tmp_path / "vectors.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(one) for one in vectors))
    costs = ["--review", "1", "--missed-violation", "100", "--wrong-removal", "1", "--tenant", "acme"]
    given = [*costs, "--vectors", str(file), "--apply", "--yes", "--wait", "0"]
    publish_control(settings, SetThreshold(policy="*", threshold=0.3))
    result = run(broker, models, "--json", *given)
    assert 0 == result.exit_code, result.output
    document = orjson.loads(result.stdout[: result.stdout.rindex("}") + 1])
    assert {"review": 1, "missed_violation": 100, "wrong_removal": 1, "accounting": "false-discovery"} == document[
        "costs"
    ]
    rows = {tuple(row[name] for name in ("policy", "tenant", "outcome")): row for row in document["rows"]}
    allowed, removed = (rows["*", "acme", outcome] for outcome in ("allow", "remove"))
    assert (0, 0) == (allowed["to_automation"], removed["to_humans"])
    assert allowed["to_humans"] > 0 < removed["to_automation"]
    of_acme, every = rows["*", "acme", "*"], rows["*", "*", "*"]
    unread = sum(one["tenant"] == "" for one in vectors)  # tenants are told apart now: those may be any
    assert every["to_automation"] == of_acme["to_automation"]
    assert of_acme["to_humans"] < every["to_humans"] <= of_acme["to_humans"] + unread
    issued = parse_control(list(read_values(settings, TOPICS["control"].name, [0]))[-1])
    assert isinstance(issued, SetCosts)
    assert ("*", "acme", 100.0, 1.0) == (issued.policy, issued.tenant, issued.missed_violation, issued.wrong_removal)


def test_a_stop_is_looked_behind(broker: EmbeddedBroker, models: Path, settings: Settings, files: list[str]) -> None:
    """What comes after it is what one wants to know while automation is stopped; that it is stopped is said."""
    before = simulated(broker, models, "--threshold", "0.2", *files)
    publish_control(settings, StopAutomation(policy="*"))
    after = simulated(broker, models, "--threshold", "0.2", *files)
    assert before["rows"] == after["rows"]
    assert any("automation is stopped for *" in note for note in after["notes"])


def test_the_plot_is_svg(broker: EmbeddedBroker, models: Path, tmp_path: Path, files: list[str]) -> None:
    """A file of its own: escalation and expected error over the thresholds, and the one that is tried."""
    file = tmp_path / "plot.svg"
    result = run(broker, models, "--threshold", "0.2", "--plot", str(file), *files)
    assert 0 == result.exit_code, result.output
    root = ET.fromstring(file.read_text())
    assert "var(" not in file.read_text()
    space = "{http://www.w3.org/2000/svg}"
    lines = [one.get("points", "").split() for one in root.iter(f"{space}polyline")]
    assert ([101, 2], 3) == ([len(lines[0]), len(lines[2])], len(lines))
    texts = [one.text for one in root.iter(f"{space}text")]
    assert "the threshold tried, 0.2" in texts


def test_without_audits_there_is_no_measured_error(broker: EmbeddedBroker, models: Path, files: list[str]) -> None:
    """It is said instead: neither what was escalated nor what nobody asked for speaks for what is automated."""
    for given, problem in ((files, "no audits judged"), (files[:4], "no audits")):
        if given is files:
            publish_control(
                load_settings({"broker": broker.bootstrap}, environ={}), SetAuditRate(policy="*", rate=RATE)
            )
            decisions = Path(files[3])
            decided = [line for line in decisions.read_bytes().splitlines() if _kind(line) == 2]
            decisions.write_bytes(b"\n".join(decided))
        found = simulated(broker, models, "--threshold", "0.2", *given)
        measured = found["rows"][0]["then"]["measured_error"]
        assert (None, problem) == (measured["rate"], measured["problem"])
        assert any(note.startswith("then: no measured error, ") for note in found["notes"])


def _kind(decision: bytes) -> int:
    ids = [origin.request_id for origin in DATA.origins]
    return ids.index(orjson.loads(decision)["request_id"]) % 3


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ([], 2, "say what to try"),
        (["--review", "1"], 2, "give --mistake, or --missed-violation and --wrong-removal"),
        (["--threshold", "0.2", "--review", "1", "--mistake", "2"], 2, "not both"),
        (["--mistake", "1"], 2, "--review goes with --mistake"),
        (["--review", "1", "--missed-violation", "2"], 2, "give --mistake, or --missed-violation and --wrong-removal"),
        (["--threshold", "0.2", "--tenant", "acme"], 4, "no answer of tenant 'acme' is among them"),
        (["--threshold", "0.2", "--keep-thresholds"], 2, "--keep-thresholds goes with --sha256"),
        (["--threshold", "0.2", "--since", "2026-01-31T09:00:00Z"], 2, "lines of a file have no time"),
        (
            ["--threshold", "0.2", "--policy", "hte"],
            4,
            "no answer of policy 'hte' is among them. They are of: harassment",
        ),
        (["--threshold", "2"], 4, "'2' is no threshold"),
    ],
)
def test_a_mistake_is_said(
    broker: EmbeddedBroker, models: Path, files: list[str], arguments: list[str], code: int, line: str
) -> None:
    """With what may be given instead."""
    result = run(broker, models, *arguments, *files)
    assert (code, True) == (result.exit_code, line in result.output), result.output

"""From decision to label: what humans say of a pipeline's own output comes back with the chance that it came to them with."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from featurizers import PRESETS
from scoring import RECORDING, ErrorModel, load_model, read_recording
from scoring.data import Joined, join_decisions
from scoring.evaluation import evaluate
from streams.kafka.topics import load_topics
from streams.pipeline.control_content import AuditRate
from streams.pipeline.controls import Controls
from streams.pipeline.matching import Arrivals
from streams.pipeline.records import REQUESTS, RESPONSES, Output, Record
from streams.pipeline.scope import EVERYTHING
from streams.pipeline.stages import Pipeline, Polled, Ticket
from tests.rig import ROOMY, Desk

RATE = 0.15
ITEMS = read_recording(RECORDING)
NAMES = {key: topic.name for key, topic in load_topics().items()}


@pytest.fixture(scope="module")
def model(models: Path) -> ErrorModel:
    return load_model(models)


@pytest.fixture(scope="module")
def outputs(model: ErrorModel) -> list[Output]:
    """All that the pipeline writes for the recording, under a threshold and an audit rate."""
    records = []
    for i, item in enumerate(ITEMS):
        key, about = item.request_id.encode(), {"request_id": item.request_id}
        answer = {**about, "provider": "openai-chat", "body": orjson.Fragment(bytes(item.response))}
        records.append(Record(REQUESTS, 0, i, 0, key, orjson.dumps({**about, "policy": item.policy}), None))
        records.append(Record(RESPONSES, 0, i, 0, key, orjson.dumps(answer), None))
    desk = Desk(limits=ROOMY)
    controls = Controls(model, {EVERYTHING: 0.39}, {EVERYTHING: AuditRate(RATE)})
    pipeline = Pipeline(desk.matcher, PRESETS["lpp"], lambda: controls, NAMES, lambda: 1_800_000_000_000)
    arrivals = Arrivals(records, {}, {(REQUESTS, 0): 2**60, (RESPONSES, 0): 2**60})
    polled = Polled(Ticket(0, desk.assignment, {}, 0.0), arrivals)
    return pipeline.route(pipeline.score(pipeline.featurize(pipeline.intake(polled)))).outputs


def joined(outputs: list[Output]) -> Joined:
    """Every review decided as the recording labels it, and the automated complained about: none of the complaints counts."""
    label = {item.request_id: item.label for item in ITEMS}
    human: list[dict[str, Any]] = []
    for output in outputs:
        if output.topic in ("human_review", "auto_action"):
            decision = orjson.loads(output.value or b"")
            said = {name: decision[name] for name in ("request_id", "policy", "llm")}
            channel = "review" if output.topic == "human_review" else "appeal"
            human.append({**said, "outcome": label[decision["request_id"]], "channel": channel})
    vectors = (output.value or b"" for output in outputs if output.topic == "vectors")
    return join_decisions(vectors, map(orjson.dumps, human))


def test_labels_come_back_with_their_chances_and_speak_of_all(outputs: list[Output], model: ErrorModel) -> None:
    """Reviews with 1, audits with the rate, appeals not at all; and the weighted error rate is that of all answers."""
    found = joined(outputs)
    assert {("escalated", 1.0), ("audited", RATE)} == {(one.stratum, one.chance) for one in found.data.origins}
    assert found.traffic is not None
    automated = sum(output.topic == "auto_action" for output in outputs)
    assert (automated, automated, RATE) == (
        found.traffic.answers["automated"],
        found.traffic.chosen,
        found.traffic.least,
    )
    rate = evaluate(model, found.data, traffic=found.traffic, replicates=20)["labels"]["error_rate"]
    assert rate["low"] <= 151 / 361 <= rate["high"]
    assert rate["value"] == pytest.approx(151 / 361, abs=0.06)

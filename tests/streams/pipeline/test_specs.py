"""Outcome specs in the stream: chosen answer by answer, stamped on what is written."""

import json
from typing import Any

import numpy as np
import orjson

from featurizers import PRESETS, SpecBook
from featurizers.spec_files import Match
from scoring import Scores
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.controls import Controls
from streams.pipeline.matching import Arrivals
from streams.pipeline.scope import EVERYTHING
from streams.pipeline.stages import Outbox, Pipeline, Polled, Ticket
from tests.rig import NOW, Desk, request, response

BOOK = SpecBook(
    ((Match(header={"guard": "llama"}), PRESETS["llama-guard"]), (Match(provider="openai-chat"), PRESETS["lpp"]))
)


class Sure:
    """A model that trusts every answer."""

    name, sha256, policies, terms = "stub", "0" * 64, frozenset({"hate"}), ("outcome",)

    def score(self, values: Any, _policies: Any, _languages: Any) -> Scores:
        zeros = np.zeros(len(values), np.float32)
        return Scores(zeros, np.zeros((len(values), 0), np.float32), np.ones(len(values), np.bool_))


def run(*answers: tuple[Any, Any]) -> Outbox:
    """The outbox of some answers, each a body and its headers."""
    model: Any = Sure()
    controls = Controls(model=model, thresholds={EVERYTHING: 0.5})
    desk = Desk()
    pipeline = Pipeline(desk.matcher, BOOK, lambda: controls, topic_names(load_topics()), lambda: NOW)
    records = []
    for number, (body, headers) in enumerate(answers):
        name = f"r{number}"
        value = orjson.dumps({"request_id": name, "body": body})
        records += [request(name, offset=number), response(name, offset=number, value=value, headers=headers)]
    polled = Polled(Ticket(1, desk.assignment, {}, 0.0), Arrivals(records, {}, {}))
    return pipeline.route(pipeline.score(pipeline.featurize(pipeline.intake(polled))))


def chat(text: str, logprobs: Any = None) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "logprobs": logprobs}]}


def test_each_answer_by_its_spec() -> None:
    """The first spec that matches reads an answer; its name and the LLM's category travel with it."""
    outbox = run((chat("unsafe\nS1"), [("guard", b"llama")]), (chat('{"outcome": 2}'), None), ("plain text", None))
    written = [(output.topic, json.loads(output.value or b"")) for output in outbox.outputs]
    vectors = [value["spec"] for topic, value in written if topic == "vectors"]
    assert ["llama-guard", "lpp", "none"] == vectors
    decided = {value["request_id"]: value for topic, value in written if topic != "vectors"}
    assert vectors == [decided[name]["spec"] for name in ("r0", "r1", "r2")]
    assert ["S1", None, None] == [decided[name]["llm"]["category"] for name in ("r0", "r1", "r2")]
    assert ["outcome_missing"] == decided["r2"]["reasons"]


def test_shapes_that_are_not_known_are_counted() -> None:
    """Log-probabilities that no shape fits are counted by provider, not passed over in silence."""
    outbox = run((chat("0", {"steps": [{"p": 0.5}]}), None), (chat("0", {"content": None}), None), (chat("0"), None))
    assert {"openai-chat": 1} == dict(outbox.unread)

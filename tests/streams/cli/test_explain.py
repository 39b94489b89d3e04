"""`secondlook explain FILE|REQUEST_ID`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from scoring import RECORDING, read_recording
from streams.cli.main import main
from streams.kafka.topics import load_topics
from streams.trials.brokers import EmbeddedBroker

ITEM = read_recording(RECORDING)[0]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["explain", *map(str, arguments)])


def said(*arguments: str | Path) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert 0 == result.exit_code, result.output
    document: dict[str, Any] = json.loads(result.output)
    return document


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """The topics hold one request with its answer, the threshold 0, and a shadow with the threshold 1."""
    topics = load_topics()
    with EmbeddedBroker(topics.values()) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        key = ITEM.request_id.encode()
        producer.produce(topics["requests"].name, json.dumps(ITEM.request).encode(), key)
        producer.produce(topics["responses"].name, bytes(ITEM.response), key)
        control = {"type": "set_threshold", "policy": "*", "threshold": 0.0, "version": 7}
        producer.produce(topics["control"].name, json.dumps(control).encode())
        producer.produce(topics["control"].name, b"no control message")
        change = {"type": "set_threshold", "policy": "*", "threshold": 1.0}
        producer.produce(topics["control"].name, json.dumps({"type": "set_shadow", "changes": [change]}).encode())
        assert 0 == producer.flush(20)
        yield broker


def test_a_saved_response(models: Path, tmp_path: Path) -> None:
    """It is decided as a worker would decide it under the threshold that the costs give."""
    path = tmp_path / "response.json"
    path.write_bytes(bytes(ITEM.response))
    document = said(path, "--model", models, "--policy", ITEM.request["policy"])
    decision = document["decision"]
    assert document["answer"]["outcome"] == decision["llm"]["outcome"]
    assert ITEM.request["policy"] == decision["policy"]
    assert (decision["error_probability"] >= decision["threshold"]) == (decision["route"] == "human-review")
    assert len(decision["drivers"]) == 3
    shown = run(path, "--model", models).output
    assert "P(error): 0." in shown
    assert f"{decision['route']}: {decision['action']}" in shown
    assert "missing, as the answer has no rationale:" in shown


def test_why_there_is_no_outcome(models: Path, tmp_path: Path) -> None:
    """An answer without an outcome, and one that cannot be read, say their reason."""
    quoting, error = tmp_path / "quoting.json", tmp_path / "error.json"
    quoting.write_text(json.dumps({"choices": [{"message": {"content": '{"why": "\'outcome\': 0"}'}}]}))
    error.write_text('{"error": {"message": "overloaded"}}')
    document = said(quoting, "--model", models)
    assert "outcome_missing" == document["answer"]["problem"]
    assert "the answer has no outcome" == document["answer"]["missing"]["q_violation"]
    assert ["outcome_missing"] == document["decision"]["reasons"]
    assert "q_violation" in document["lacking"]
    document = said(error, "--model", models)
    assert (None, ["unreadable_answer"]) == (document["answer"], document["decision"]["reasons"])
    shown = run(error, "--model", models).output
    assert "it is the provider's report of an error, not an answer" in " ".join(shown.split())


def test_which_predictors_a_score_lacks(models: Path, tmp_path: Path) -> None:
    """An answer without log-probabilities is not scored, and the predictors that the model cannot do without are named."""
    path = tmp_path / "bare.json"
    path.write_text(json.dumps({"choices": [{"message": {"content": '{"outcome": 1, "confidence": 80}'}}]}))
    document = said(path, "--model", models)
    assert ["predictors_missing"] == document["decision"]["reasons"]
    assert "q_violation" in document["lacking"]
    assert "so not scored: " in run(path, "--model", models).output


def test_a_request_in_the_topics(broker: EmbeddedBroker, models: Path) -> None:
    """It is found by its id, and decided under the controls in force; beside it stands what the shadow makes of it."""
    document = said(ITEM.request_id, "--model", models, "--broker", broker.bootstrap)
    decision = document["decision"]
    assert ["requests", "responses"] == [event["role"] for event in document["history"]["events"]]
    assert (ITEM.request_id, ITEM.request["policy"]) == (decision["request_id"], decision["policy"])
    assert (0.0, 3, ["above_threshold"]) == (decision["threshold"], decision["control_version"], decision["reasons"])
    shown = run(ITEM.request_id, "--model", models, "--broker", broker.bootstrap).output
    assert "with the shadow: auto-action, as below_threshold" in shown
    assert "the LLM's answer came" in shown


def test_what_became_of_an_item_needs_no_model(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Only what would be decided now does; that is said."""
    arguments = (ITEM.request_id, "--model", tmp_path, "--broker", broker.bootstrap)
    document = said(*arguments)
    assert (None, 2) == (document["decision"], len(document["history"]["events"]))
    assert f"No model at {tmp_path}" in document["problem"]
    assert "what would be decided now is not told: No model" in run(*arguments).output


def test_content_only_when_asked_for(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """The answer's own words are shown with `--content` alone."""
    arguments = (ITEM.request_id, "--model", tmp_path, "--broker", broker.bootstrap)
    assert '"choices"' not in run(*arguments).output
    assert '"choices"' in run(*arguments, "--content").output


@pytest.mark.parametrize("name", ["nofile.json", "./nofile", "../nofile", "~/nofile", "saved/nofile", "{}/nofile"])
def test_a_file_that_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks like a path is not looked for in the topics: neither a model nor a broker is asked."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    path = name.format(tmp_path)
    result = run(path, "--model", "none", "--broker", "127.0.0.1:1")
    assert (1, f"Error: {path} cannot be read: there is no such file\n") == (result.exit_code, result.output)


@pytest.mark.parametrize("request_id", ["posts/1", "https://forum.example/posts/1", "x" * 1000, "a/" + "x" * 1000])
def test_an_id_with_slashes_is_no_path(request_id: str, broker: EmbeddedBroker, models: Path) -> None:
    """Where it begins at no folder that is here, it is looked for in the topics."""
    result = run(request_id, "--model", models, "--broker", broker.bootstrap)
    assert f"no topic holds a record of {request_id!r}, and there is no such file" in result.output


def test_a_request_that_is_not_there(broker: EmbeddedBroker, models: Path) -> None:
    """What is neither a file nor in the topics is an error of one line."""
    result = run("nowhere", "--model", models, "--broker", broker.bootstrap)
    assert 1 == result.exit_code
    assert "holds a record of 'nowhere'" in result.output
    assert 1 == result.output.count("\n")

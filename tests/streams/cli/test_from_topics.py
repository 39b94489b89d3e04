"""`secondlook train` and `evaluate` with `--from-topics`: what the topics hold is what exported files would hold."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from featurizers import SCHEMA
from scoring import RECORDING, load_model
from scoring.data import load
from streams.cli.main import main
from streams.kafka.topics import load_topics
from streams.trials.brokers import EmbeddedBroker

ROLES = ("vectors", "human_decisions")
# Topics of several pipelines on one broker, each with another content.
FULL, OTHER_SCHEMA, EMPTY, ABSENT = "full.", "other.", "empty.", "absent."


def labelled() -> dict[str, list[bytes]]:
    """The recording as the two topics would hold it, with one decision that labels nothing."""
    data = load([RECORDING])
    vectors, decisions = [], []
    for origin, row, label in zip(data.origins, data.values, data.labels, strict=True):
        about = {"request_id": origin.request_id, "policy": origin.policy}
        values = [None if np.isnan(value) else float(value) for value in row]
        vectors.append({**about, "schema": SCHEMA.id, "values": values, "llm": origin.llm})
        decisions.append({**about, "outcome": int(label)})
    decisions.append({"request_id": "unseen", "policy": "hate", "outcome": 3})
    return {"vectors": lines(vectors), "human_decisions": lines(decisions)}


def lines(records: Iterable[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


@pytest.fixture(scope="module")
def content() -> dict[str, list[bytes]]:
    return labelled()


@pytest.fixture(scope="module")
def broker(content: dict[str, list[bytes]]) -> Iterator[EmbeddedBroker]:
    topics = [load_topics(prefix)[role] for prefix in (FULL, OTHER_SCHEMA, EMPTY) for role in ROLES]
    with EmbeddedBroker(topics) as broker:
        send(broker, FULL, content)
        old = {"request_id": "a", "policy": "hate", "schema": "lpp/0", "values": [0.5]}
        decided = {"request_id": "a", "policy": "hate", "outcome": 1}
        send(broker, OTHER_SCHEMA, {"vectors": lines([old]), "human_decisions": lines([decided])})
        yield broker


def send(broker: EmbeddedBroker, prefix: str, content: dict[str, list[bytes]]) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for role, values in content.items():
        for value in values:
            producer.produce(load_topics(prefix)[role].name, value, json.loads(value)["request_id"].encode())
    assert 0 == producer.flush(20)


def run(command: str, broker: EmbeddedBroker, prefix: str, *arguments: str) -> Result:
    from_topics = ["--from-topics", "--broker", broker.bootstrap, "--topic-prefix", prefix, "-X", "client.id=test"]
    return CliRunner().invoke(main, [command, *from_topics, *arguments])


@pytest.mark.usefixtures("_few_draws")
def test_topics_train_a_model_and_say_what_was_read(
    broker: EmbeddedBroker, content: dict[str, list[bytes]], tmp_path: Path
) -> None:
    """All partitions are read; what cannot be used is counted by reason, on stderr."""
    result = run("train", broker, FULL, "--only", "ridge", "--out", str(tmp_path))
    assert 0 == result.exit_code, result.output
    assert load_model(tmp_path).card["calibrated"]
    assert [
        f"read: {len(content['human_decisions'])} records of full.moderation.human-decisions",
        f"read: {len(content['vectors'])} records of full.lpp.vectors",
        "left out: decisions without a label: 1",
    ] == result.stderr.splitlines()


@pytest.mark.usefixtures("_few_draws")
def test_topics_are_judged_on_as_their_exports_are(
    broker: EmbeddedBroker, content: dict[str, list[bytes]], models: Path, tmp_path: Path
) -> None:
    """The figures are those of the same records in files."""
    files = {role: tmp_path / f"{role}.jsonl" for role in ROLES}
    for role, file in files.items():
        file.write_bytes(b"\n".join(content[role]))
    rest = ["--model", str(models), "--json"]
    exported = ["--vectors", str(files["vectors"]), "--decisions", str(files["human_decisions"])]
    assert 0 == run("evaluate", broker, FULL, *rest, str(tmp_path / "topics.json")).exit_code
    assert 0 == CliRunner().invoke(main, ["evaluate", *exported, *rest, str(tmp_path / "files.json")]).exit_code
    expected = json.loads((tmp_path / "files.json").read_text())
    assert len(content["vectors"]) == expected["data"]["rows"]
    assert expected == json.loads((tmp_path / "topics.json").read_text())


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        (OTHER_SCHEMA, f"No vector of schema {SCHEMA.id} has a human decision (vectors of schema lpp/0: 1)."),
        (EMPTY, f"No vector of schema {SCHEMA.id} has a human decision (both are empty)."),
        (ABSENT, "absent.lpp.vectors, absent.moderation.human-decisions. Mend it: secondlook topics create --broker"),
    ],
)
def test_topics_without_a_usable_vector_are_an_error(
    broker: EmbeddedBroker, prefix: str, says: str, tmp_path: Path
) -> None:
    """One line on stderr says what the topics lack, and no model is written."""
    result = run("train", broker, prefix, "--out", str(tmp_path / "models"))
    assert (1, False) == (result.exit_code, (tmp_path / "models").exists())
    assert says in result.stderr


@pytest.mark.parametrize("more", [["--data"], ["--vectors"], ["--vectors", "--decisions"]])
def test_topics_and_files_at_once_are_a_usage_error(broker: EmbeddedBroker, more: list[str], tmp_path: Path) -> None:
    """Exactly one source, so that nobody wonders which of them was read."""
    files = [argument for option in more for argument in (option, str(RECORDING))]
    result = run("train", broker, FULL, "--out", str(tmp_path), *files)
    assert 2 == result.exit_code
    assert "one of: --data FILE" in result.stderr

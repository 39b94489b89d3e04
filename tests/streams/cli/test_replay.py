"""`secondlook replay` and `sample`, as far as they go without a worker; tests/test_tutorial.py has them with one."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition

from featurizers import PRESETS, explain
from scoring import is_held_out, load_model
from scoring.data import load
from streams.cli.main import main
from streams.kafka.topics import load_topics
from streams.trials.brokers import EmbeddedBroker


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Recorded answers in the words of a preset."""
    file = tmp_path / "answers.jsonl"
    result = CliRunner().invoke(main, ["sample", "--spec", "allow-block", "--out", str(file)])
    assert 0 == result.exit_code, result.output
    assert "cannot be said in these words" in result.output  # outcomes 2 and 3
    return file


def test_a_sample_takes_no_files_place(sample: Path) -> None:
    """Labels of one's own took work."""
    before = sample.read_bytes()
    result = CliRunner().invoke(main, ["sample", "--spec", "allow-block", "--out", str(sample)])
    assert (1, before) == (result.exit_code, sample.read_bytes())
    assert f"{sample} is there already: remove it, or name another file" in result.output


def test_confidences_on_another_scale_are_told(tmp_path: Path) -> None:
    """They would be missing without a word."""
    spec = tmp_path / "ours.toml"
    spec.write_text('field = "verdict"\n[labels]\n0 = ["ok"]\n1 = ["flag"]\n[confidence]\nfield = "sure"\nscale = 1\n')
    result = CliRunner().invoke(main, ["sample", "--spec", str(spec), "--out", str(tmp_path / "answers.jsonl")])
    assert 0 == result.exit_code, result.output
    assert "the recorded confidences are of 0 to 100, and the spec's scale is 1" in result.stderr


def test_the_items_that_are_asked_for_are_sent_under_their_ids(broker: EmbeddedBroker, sample: Path) -> None:
    """Request and response alike; without a worker it ends, and says what to look at."""
    held_out = [
        item for item in map(json.loads, sample.read_text().splitlines()) if is_held_out(item["request"]["request_id"])
    ]
    asked = ["--held-out", "--first", "3", "--limit", "5", "--patience", "0.5", "--outcome-spec", "allow-block"]
    result = CliRunner().invoke(main, ["replay", str(sample), *asked, "--broker", broker.bootstrap])
    assert 1 == result.exit_code
    assert "decided       0 of 5" in result.output
    assert "5 of 5 got no decision: does a worker run" in result.output
    sent = {role: read(broker, role) for role in ("requests", "responses")}
    wanted = {item["request"]["request_id"]: item for item in held_out[3:8]}
    assert {name: item["request"] for name, item in wanted.items()} == sent["requests"]
    assert {name: item["response"] for name, item in wanted.items()} == sent["responses"]


def test_what_training_reads_of_an_answer_workers_read_as_well(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """One that was saved with its provider, too: without log-probabilities it takes the provider's name to read it."""
    file = tmp_path / "answers.jsonl"
    response = {"provider": "none", "body": '{"outcome": 1, "confidence": 80}'}
    item = {"request": {"request_id": "enveloped", "policy": "hate"}, "response": response, "label": 0}
    file.write_text(json.dumps(item))
    CliRunner().invoke(main, ["replay", str(file), "--patience", "0.5", "--broker", broker.bootstrap])
    sent = json.dumps(read(broker, "responses")["enveloped"]).encode()
    assert (1,) == tuple(load([file]).outcomes)
    assert 1 == explain(sent, PRESETS["lpp"]).outcome


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        (["--first", "1"], "no item is left of 1"),
        (["--held-out"], "no item is left of 1, 0 of them held out"),
        (["--first", "-1"], "-1 is not in the range x>=0"),
    ],
)
def test_it_is_said_when_no_item_is_left(asked: list[str], left: str, tmp_path: Path) -> None:
    """With how many there were, before a broker is looked for."""
    file = tmp_path / "answers.jsonl"
    file.write_text('{"request": {"request_id": "a", "policy": "hate"}, "response": {}, "label": 0}')
    assert not is_held_out("a")
    result = CliRunner().invoke(main, ["replay", str(file), *asked])
    assert 0 != result.exit_code
    assert left in result.output


def test_labels_in_words_of_another_spec_are_told(broker: EmbeddedBroker, sample: Path) -> None:
    """Before anything is sent."""
    result = CliRunner().invoke(main, ["replay", str(sample), "--broker", broker.bootstrap])
    assert 1 == result.exit_code
    assert "is none of 0 or 1, or in the words of spec lpp" in result.output


def read(broker: EmbeddedBroker, role: str) -> dict[str, object]:
    topic = load_topics()[role]
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "test", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic.name, number, 0) for number in range(topic.partitions)])
    found, ends = {}, 0
    while ends < topic.partitions:
        for message in consumer.consume(100, timeout=1):
            if message.error() is not None:
                ends += 1
            else:
                found[(message.key() or b"").decode()] = json.loads(message.value() or b"")
    consumer.close()
    return found


@pytest.mark.usefixtures("_few_draws")
def test_an_own_vocabulary_trains_by_its_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the flag, the environment or the file of settings; without it the error says what is missing, and reading topics it is refused."""
    spec, file = tmp_path / "ours.toml", tmp_path / "ours.jsonl"
    spec.write_text(
        'field = "verdict"\n[labels]\n0 = ["allow"]\n1 = ["remove", "limit"]\n[confidence]\nfield = "sure"\n'
    )
    train = ["train", "--data", str(file), "--only", "ridge", "--out"]
    assert 0 == CliRunner().invoke(main, ["sample", "--spec", str(spec), "--out", str(file)]).exit_code
    unread = CliRunner().invoke(main, [*train, str(tmp_path / "a")])
    assert (1, False) == (unread.exit_code, (tmp_path / "a").exists())
    assert "none of 0 or 1, or in the words of spec lpp" in unread.output
    by_flag = CliRunner().invoke(main, [*train, str(tmp_path / "b"), "--outcome-spec", str(spec)])
    assert 0 == by_flag.exit_code, by_flag.output
    monkeypatch.setenv("SECONDLOOK_OUTCOME_SPEC", str(spec))
    assert 0 == CliRunner().invoke(main, [*train, str(tmp_path / "c")]).exit_code
    assert load_model(tmp_path / "b").sha256 == load_model(tmp_path / "c").sha256
    monkeypatch.delenv("SECONDLOOK_OUTCOME_SPEC")
    (tmp_path / "secondlook.toml").write_text(f"outcome_spec = {str(spec)!r}\n")
    by_file = CliRunner().invoke(main, [*train, str(tmp_path / "e"), "--config", str(tmp_path / "secondlook.toml")])
    assert 0 == by_file.exit_code, by_file.output
    topics = CliRunner().invoke(
        main, ["train", "--from-topics", "--outcome-spec", str(spec), "--out", str(tmp_path / "d")]
    )
    assert 2 == topics.exit_code
    assert "workers made these by their spec: leave out --outcome-spec" in topics.output

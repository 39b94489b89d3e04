"""`secondlook models` on the embedded broker, and the fetching that workers do with it."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from scoring import ModelError, load_model
from scoring.store import add_model, write_model
from scoring.training.cold_start import single_estimator_model
from streams.cli.main import main
from streams.kafka import model_fetcher, model_topic, reading
from streams.kafka.model_fetcher import ModelFetcher, fetch_model
from streams.kafka.model_topic import push_model
from streams.kafka.publishing import publish_control
from streams.kafka.topics import load_topics
from streams.pipeline.control_messages import SetModel
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker

TOPICS = load_topics()


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker([TOPICS["control"], TOPICS["models"]]) as broker:
        yield broker


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    return load_settings({"broker": broker.bootstrap}, environ={})


@pytest.fixture
def ours(models: Path, tmp_path: Path) -> Path:
    """A model directory of the test's own, with the trained model as current and one that is not calibrated."""
    directory = Path(shutil.copytree(models, tmp_path / "ours"))
    add_model(directory, *single_estimator_model("entropy"))
    return directory


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """One that is empty yet."""
    (tmp_path / "theirs").mkdir()
    return tmp_path / "theirs"


def run(broker: EmbeddedBroker, directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", *arguments, "--model", str(directory), "--broker", broker.bootstrap])


def test_a_model_goes_from_one_directory_to_another(broker: EmbeddedBroker, ours: Path, theirs: Path) -> None:
    """Byte for byte, in more than one chunk; pushed again it says that it is there; `current` is nobody's business."""
    sha256 = (ours / "current").read_text().strip()
    size = (ours / sha256 / "model.onnx").stat().st_size
    pushed = run(broker, ours, "push", "--max-record-bytes", "100000")
    assert (0, True) == (
        pushed.exit_code,
        f"{sha256}: {size / 1000:,.0f} kB written to secondlook.models" in pushed.output,
    )
    assert size > 2 * 100_000
    assert "has it already" in run(broker, ours, "push", sha256[:6]).output
    pulled = run(broker, theirs, "pull", sha256[:6])
    assert 0 == pulled.exit_code, pulled.output
    assert (ours / sha256 / "model.onnx").read_bytes() == (theirs / sha256 / "model.onnx").read_bytes()
    assert (ours / sha256 / "card.json").read_bytes() == (theirs / sha256 / "card.json").read_bytes()
    assert [sha256] == [path.name for path in theirs.iterdir()]


def test_the_list_says_what_is_where(broker: EmbeddedBroker, settings: Settings, ours: Path) -> None:
    """Name, calibrated, policies, size, place, and which one is in force; a damaged one is not passed off as a model."""
    current = (ours / "current").read_text().strip()
    size = (ours / current / "model.onnx").stat().st_size
    (other,) = {path.parent.name for path in ours.glob("*/model.onnx")} - {current}
    assert "no control message names a model" in run(broker, ours, "list").output
    assert 0 == run(broker, ours, "push").exit_code
    publish_control(settings, SetModel(sha256=other))
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(TOPICS["models"].name, b"half of it", b"b" * 64 + b"/0")
    producer.flush(5)
    shutil.rmtree(ours / current)
    (ours / ("c" * 64)).mkdir()
    (ours / ("c" * 64) / "model.onnx").write_bytes((ours / other / "model.onnx").read_bytes())
    found = {one["sha256"]: one for one in orjson.loads(run(broker, ours, "list", "--json").stdout)}
    assert {
        current: (["topic"], False, True, None),
        other: (["local"], True, False, None),
        "b" * 64: ([], False, None, "incomplete: push it again"),
        "c" * 64: (["local"], False, None, f"damaged: its sha256 is {other}"),
    } == {name: (one["where"], one["in_force"], one["calibrated"], one["problem"]) for name, one in found.items()}
    assert ["harassment", "hate", "self-harm", "sexual", "violence"] == found[current]["policies"]
    assert (size, "entropy") == (found[current]["size"], found[other]["name"])
    table = run(broker, ours, "list").output
    assert other[:12] in table
    assert 0 == run(broker, ours, "push", other).exit_code
    shutil.rmtree(ours / other)
    assert 0 == run(broker, ours, "pull").exit_code
    assert load_model(ours / other).sha256 == other


def test_without_a_broker_the_directory_is_listed(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in force is then not known, which is said."""
    monkeypatch.setattr(reading, "_CALL_TIMEOUT", 0.5)
    arguments = ["models", "list", "--model", str(ours), "--broker", "127.0.0.1:1"]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert (0, 2) == (result.exit_code, len(found := orjson.loads(result.stdout)))
    assert {None} == {one["in_force"] for one in found}
    assert f"only {ours} is listed, and what is in force is not known: no Kafka broker answered" in result.stderr
    assert "no control message names a model" not in CliRunner().invoke(main, arguments).output


def test_a_mistake_is_one_line(
    broker: EmbeddedBroker, ours: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what was wrong and what there is."""
    sha256 = (ours / "current").read_text().strip()
    monkeypatch.setattr(model_topic, "LARGEST", 1000)
    for directory, arguments, line in (
        (ours, ["push", "ffffff"], f"'ffffff' names none of the models of {ours}"),
        (ours, ["push", sha256[:3]], "give 6 to 64 digits"),
        (ours, ["push"], " MiB; by secondlook.models go at most"),
        (theirs, ["push"], f"No model at {theirs}"),
        (theirs, ["pull"], "no control message names a model"),
        (theirs, ["pull", sha256], "names none of the models of secondlook.models"),
    ):
        result = run(broker, directory, *arguments)
        assert (1, 1, True) == (result.exit_code, len(result.output.splitlines()), line in result.output), result.output


def fetched(fetcher: ModelFetcher, sha256: str) -> str:
    """What the fetcher says once it has looked."""
    fetcher.want(sha256)
    fetcher._threads[sha256].join(20)
    return fetcher._looks[sha256].problem if sha256 in fetcher._looks else ""


def test_the_topic_is_read_again_only_when_it_has_grown(
    settings: Settings, ours: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that waits for a model for a day does not read all others every two seconds."""
    reads: list[float] = []

    def read(*arguments: object) -> object:
        reads.append(time.monotonic())
        return model_topic.read_models(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model_fetcher, "read_models", read)
    sha256 = (ours / "current").read_text().strip()
    fetcher = ModelFetcher(settings, theirs)
    assert not fetcher.is_looking(sha256)
    for _ in range(3):
        assert "has no whole model" in fetched(fetcher, sha256)
    assert 1 == len(reads)
    assert not fetcher.is_looking(sha256)
    push_model(settings, (ours / sha256 / "model.onnx").read_bytes())
    assert fetched(fetcher, sha256) == ""
    assert sha256 == load_model(theirs / sha256).sha256


def test_no_model_waits_for_another_one(settings: Settings, theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shadow's that takes long to come must not hold up the one that is to be in force."""
    may_end = threading.Event()

    def slow(_settings: object, sha256: str, _directory: Path) -> None:
        assert "a" * 64 != sha256 or may_end.wait(20)

    monkeypatch.setattr(model_fetcher, "fetch_model", slow)
    fetcher = ModelFetcher(settings, theirs)
    fetcher.want("a" * 64)
    assert fetched(fetcher, "b" * 64) == ""
    assert fetcher.is_looking("a" * 64)
    may_end.set()
    assert fetched(fetcher, "a" * 64) == ""


def test_what_cannot_be_used_or_written_is_said(settings: Settings, ours: Path, theirs: Path) -> None:
    """Bytes that are no model of ours are not written, however right their hash; nor is anything where a file is in the way."""
    import hashlib

    rubbish = b"no model" * 100
    push_model(settings, rubbish)
    with pytest.raises(ModelError, match="Not an ONNX model"):
        fetch_model(settings, hashlib.sha256(rubbish).hexdigest(), theirs)
    assert list(theirs.iterdir()) == []
    sha256 = (ours / "current").read_text().strip()
    push_model(settings, (ours / sha256 / "model.onnx").read_bytes())
    (theirs / "file").touch()
    assert "cannot be written to" in fetched(ModelFetcher(settings, theirs / "file"), sha256)


def test_a_damaged_model_is_fetched_anew(settings: Settings, ours: Path, tmp_path: Path) -> None:
    """What the directory holds under its name are other bytes: the topic's replace them."""
    from streams.worker.models import ModelShelf

    sha256 = (ours / "current").read_text().strip()
    own = load_model(write_model(tmp_path / "own", *single_estimator_model("entropy")))
    onnx = (ours / sha256 / "model.onnx").read_bytes()
    push_model(settings, onnx)
    (ours / sha256 / "model.onnx").write_bytes(onnx[:-1])
    fetcher = ModelFetcher(settings, ours)
    shelf = ModelShelf(ours, own, fetcher)
    with pytest.raises(ModelError, match="is damaged; it is being looked for"):
        shelf.find(sha256)
    fetcher._threads[sha256].join(20)
    assert sha256 == shelf.find(sha256).sha256

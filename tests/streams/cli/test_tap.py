"""`secondlook tap` and `secondlook top`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from rich.console import Console

from streams.cli import top as top_module
from streams.cli.main import main
from streams.cli.top import lag_in_words, picture
from streams.console.lag import UNKNOWN
from streams.console.read_model import ReadModel
from streams.kafka import following
from streams.kafka.topics import load_topics
from streams.trials.brokers import EmbeddedBroker
from tests.streams.console.making import COSTS, HOSTILE, NOW, letter, record, watched, word

TOPICS = load_topics()


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """Decisions of two policies, one dead letter, and what is no decision."""
    with EmbeddedBroker(TOPICS.values()) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})

        def write(role: str, value: bytes, **more: Any) -> None:
            producer.produce(TOPICS[role].name, value, b"key", partition=0, **more)
            assert 0 == producer.flush(10)

        write("auto_action", json.dumps(record("first")).encode())
        write("auto_action", b"no decision")
        write("auto_action", json.dumps(record(HOSTILE, policy="spam")).encode())
        write("human_review", json.dumps(record("third", p=0.9, request={"content": "the post"})).encode())
        write("human_review", json.dumps(record("fourth", p=None)).encode())
        write("dead_letter", b"the post", headers=[("secondlook.error.code", b"late_response")])
        yield broker


@pytest.fixture
def _from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded broker cannot be asked where its topics were at a time: `--since` is as all that it has."""
    monkeypatch.setattr(following, "offsets_at", lambda _consumer, _topic, numbers, _since: dict.fromkeys(numbers, 0))


def tap(broker: EmbeddedBroker, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["tap", "--broker", broker.bootstrap, "--since", "1h", "--until-now", *arguments], catch_exceptions=False
    )


def ids(result: Result) -> list[str]:
    assert 0 == result.exit_code, result.output
    return sorted(json.loads(line).get("request_id", "letter") for line in result.stdout.splitlines())


@pytest.mark.usefixtures("_from_the_beginning")
def test_decisions_as_they_came(broker: EmbeddedBroker) -> None:
    """A line each; what is no decision is passed by, and nothing in it drives the terminal."""
    shown = tap(broker).output
    assert 4 == shown.count("\n")
    assert "first" in shown
    assert "above_threshold" in shown
    assert not {"\x1b", "\u202e", "\x00"} & set(shown)
    assert "the post" not in shown


@pytest.mark.usefixtures("_from_the_beginning")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], sorted(["first", HOSTILE, "third", "fourth"])),
        (["--policy", "spam"], [HOSTILE]),
        (["--route", "human-review"], ["fourth", "third"]),
        (["--reason", "predictors_missing"], ["fourth"]),
        (["--llm", "another"], []),
        (["--id", "thi"], ["third"]),
        (["--dead-letters"], sorted(["first", HOSTILE, "third", "fourth", "letter"])),
    ],
)
def test_filters(arguments: list[str], expected: list[str], broker: EmbeddedBroker) -> None:
    """All that are given hold."""
    assert expected == ids(tap(broker, "--json", *arguments))


@pytest.mark.usefixtures("_from_the_beginning")
def test_content_only_when_asked_for(broker: EmbeddedBroker) -> None:
    """In JSON alone."""
    assert "the post" not in tap(broker, "--json", "--dead-letters").output
    assert "the post" in tap(broker, "--json", "--content").output
    assert 2 == tap(broker, "--content").exit_code


@pytest.mark.usefixtures("_from_the_beginning")
def test_it_ends_after_so_many(broker: EmbeddedBroker) -> None:
    """The first that came."""
    assert 1 == len(ids(tap(broker, "--json", "--limit", "1")))


def test_it_begins_so_many_before_the_end(broker: EmbeddedBroker) -> None:
    """Of each partition, without asking for a time, which not every broker knows."""
    arguments = ["tap", "--broker", broker.bootstrap, "--until-now", "--json", "--last"]
    assert sorted(["first", HOSTILE, "third", "fourth"]) == ids(CliRunner().invoke(main, [*arguments, "100"]))
    assert "say where to begin" in tap(broker, "--last", "1").output


def test_filters_say_nothing_of_dead_letters(broker: EmbeddedBroker) -> None:
    """So both together are refused."""
    assert "has no decision" in tap(broker, "--dead-letters", "--policy", "spam").output


def shown(fleet: ReadModel) -> str:
    console = Console(width=140, file=None)
    with console.capture() as captured:
        console.print(picture(fleet.state(NOW)))
    return captured.get()


def test_what_is_unread_at_a_worker_is_unknown_without_progress() -> None:
    """Who may not know how far the group has come is told no zero."""
    fleet = ReadModel("broker:9092", COSTS)
    fleet.heard({"one": word("one", pending=None)}, {"one": 1.0}, {})
    fleet.looked("workers", None, NOW)
    (line,) = [one for one in shown(fleet).splitlines() if "at work" in one]
    assert ["unknown", "unknown"] == [one for one in line.split() if one in ("0", "unknown")]


def test_a_picture_of_a_fleet() -> None:
    """The word, why, figures, routes and workers."""
    fleet = watched()
    fleet.set_aside(letter(), NOW, live=True)
    text = shown(fleet)
    for part in (" FLOWING ", "decisions/s", "every policy", "below_threshold 100.0%", "at work", "not_a_record 1"):
        assert part in text


def test_unknown_is_said() -> None:
    """Where a figure is not known, it is not zero."""
    text = shown(ReadModel("broker:9092", COSTS))
    assert text.count("unknown") >= 7
    assert "unknown" == lag_in_words(UNKNOWN)


def test_nothing_drives_the_terminal() -> None:
    """Whatever a worker or a record calls itself."""
    fleet = watched()
    fleet.heard({HOSTILE: word(HOSTILE, problem=HOSTILE, honoured=False)}, {}, {HOSTILE: HOSTILE})
    assert not {"\x1b", "\u202e", "\x00"} & set(shown(fleet))


def test_lag_in_words() -> None:
    """How much, for how long, and whether it ends."""
    text = lag_in_words(watched(unread=50).state(NOW).lag)
    assert "200 for " in text
    assert "never all at this pace" in text


@pytest.mark.parametrize("as_json", [False, True])
def test_one_picture_in_a_pipe(broker: EmbeddedBroker, as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code says how it stands: without a live worker it is bad."""
    monkeypatch.setattr(top_module, "_WATCH", 6.0)
    arguments = ["top", "--broker", broker.bootstrap, "--once", *(["--json"] if as_json else [])]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert 3 == result.exit_code
    if as_json:
        assert "down" == json.loads(result.stdout)["findings"][0]["word"]
    else:
        assert " DOWN " in result.stdout


def test_costs_that_no_threshold_pays_for() -> None:
    """They are refused before anything is read."""
    arguments = ["top", "--once", "--cost-review", "2", "--cost-accounting", "review-charged"]
    result = CliRunner().invoke(main, arguments)
    assert 1 == result.exit_code
    assert "no threshold makes it pay" in result.output

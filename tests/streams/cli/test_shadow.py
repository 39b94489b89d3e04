"""`secondlook control` and the shadow, without workers: what is written and shown, and how the shadow's agreement is counted."""

from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from streams.cli.control_shadow import Decision, agreement
from streams.cli.main import main
from streams.kafka.reading import read_values
from streams.kafka.topics import load_topics
from streams.pipeline.control_messages import (
    ClearShadow,
    ControlMessage,
    SetCosts,
    SetShadow,
    SetThreshold,
    parse_control,
)
from streams.settings import load_settings
from streams.trials.brokers import EmbeddedBroker

pytestmark = pytest.mark.usefixtures("_no_worker_to_hear")
TOPICS = load_topics()
ROLES = ("control", "control_status", "models", "auto_action", "human_review")
MODEL = "a" * 64
LOWER = SetThreshold(policy="hate", threshold=0.2)


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker([TOPICS[role] for role in ROLES]) as broker:
        yield broker


def control(broker: EmbeddedBroker, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["control", *arguments, "--broker", broker.bootstrap])


def done(broker: EmbeddedBroker, *arguments: str) -> str:
    result = control(broker, *arguments)
    assert 0 == result.exit_code, result.output
    return result.output


def last_message(broker: EmbeddedBroker) -> ControlMessage:
    settings = load_settings({"broker": broker.bootstrap}, environ={})
    return parse_control(list(read_values(settings, TOPICS["control"].name, [0]))[-1])


def decision(number: int, live: str, shadow: str | None, reason: str = "below_threshold", **more: Any) -> bytes:
    """A decision as far as it is read here; at the second `number`."""
    stamp = {} if shadow is None else {"shadow": {"route": shadow, "reasons": [reason], "model": MODEL}}
    about = {"policy": "hate", "control_version": 1, "decided_at": f"2026-11-01T00:00:{number:02}.000Z"}
    return orjson.dumps({"route": live, **about, **stamp, "request": {}, **more})


AUTO, HUMAN = "auto-action", "human-review"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "0.2", "--policy", "hate"], SetShadow(changes=(LOWER,))),
        (["--sha256", MODEL], SetShadow(sha256=MODEL)),
        (
            ["--sha256", MODEL, "--keep-thresholds", "--threshold", "0.2", "--policy", "hate"],
            SetShadow(sha256=MODEL, keep_thresholds=True, changes=(LOWER,)),
        ),
        (
            ["--review", "1", "--mistake", "3"],
            SetShadow(changes=(SetCosts(policy="*", accounting="false-discovery", review=1, mistake=3),)),
        ),
    ],
)
def test_the_command_writes_what_its_options_say(
    broker: EmbeddedBroker, arguments: list[str], message: SetShadow
) -> None:
    """The options of a simulation; with no time to wait it is written at once, and says that nothing in force has changed."""
    output = done(broker, "set-shadow", *arguments, "--wait", "0", "--reason", "a trial")
    assert "what is in force stays" in output
    written = last_message(broker)
    assert isinstance(written, SetShadow)
    assert (message.sha256, message.keep_thresholds, message.changes, "a trial") == (
        written.sha256,
        written.keep_thresholds,
        written.changes,
        written.reason,
    )


def test_a_mistake_is_one_line(broker: EmbeddedBroker) -> None:
    """It says what was wrong, and the exit code that nothing has changed."""
    for arguments, line, code in (
        (["set-shadow"], "say what to try", 2),
        (["set-shadow", "--keep-thresholds", "--threshold", "0.2"], "--keep-thresholds goes with --sha256", 2),
        (["set-shadow", "--sha256", "latest"], "'latest' is no model's sha256", 4),
        (["clear-shadow"], "refused, nothing has changed: there is no shadow", 4),
        (["show-shadow"], "there is no shadow (secondlook control set-shadow)", 4),
    ):
        result = control(broker, *arguments)
        assert (code, True) == (result.exit_code, line in result.output), result.output


def test_it_is_shown_and_told(broker: EmbeddedBroker) -> None:
    """What it is and who set it, in words and as JSON; what two versions differ in; and that it has ended."""
    who = ["--wait", "0", "--issued-by", "ana"]
    done(broker, "set-shadow", "--sha256", MODEL, "--threshold", "0.2", "--policy", "hate", *who)
    words = f"model={MODEL[:12]} changes=(set_threshold threshold=0.2 policy=hate)"
    assert f"shadow: {words}, version 1, by ana" in " ".join(done(broker, "show").split())
    shown = orjson.loads(done(broker, "show", "--json"))["shadow"]
    change = {"type": "set_threshold", "policy": "hate", "threshold": 0.2}
    assert (MODEL, [change], "ana") == (shown["model"], shown["changes"], shown["issued_by"])
    assert f"sha256={MODEL[:12]} changes=(set_threshold threshold=0.2 policy=hate)" in " ".join(
        done(broker, "history").split()
    )
    assert f"shadow: none -> {words}" in done(broker, "diff", "0", "1")
    assert "the shadow has ended" in done(broker, "clear-shadow", *who)
    assert isinstance(last_message(broker), ClearShadow)
    assert orjson.loads(done(broker, "show", "--json"))["shadow"] is None


def test_a_model_without_a_threshold_is_told(broker: EmbeddedBroker) -> None:
    """In its shadow everything goes to humans, which shows nothing."""
    told = "it has no threshold: in the shadow everything goes to humans"
    assert told in done(broker, "set-shadow", "--sha256", MODEL, "--wait", "0")
    for more in (["--keep-thresholds"], ["--threshold", "0.2"]):
        assert told not in done(broker, "set-shadow", "--sha256", MODEL, *more, "--wait", "0")
    assert told not in done(broker, "set-shadow", "--threshold", "0.2", "--wait", "0")


def test_setting_its_model_in_force_ends_it(broker: EmbeddedBroker) -> None:
    """The command says so; the rollback brings it back."""
    done(broker, "set-shadow", "--sha256", MODEL, "--wait", "0")
    assert "the shadow has ended" not in done(broker, "set-threshold", "0.3", "--policy", "hate", "--wait", "0")
    moved = control(broker, "set-model", MODEL, "--keep-thresholds", "--wait", "3")
    assert (5, True) == (moved.exit_code, "the shadow has ended" in moved.output), moved.output
    done(broker, "rollback", "1", "--wait", "0")
    assert MODEL == orjson.loads(done(broker, "show", "--json"))["shadow"]["model"]


def test_agreement_counts_what_flips_by_policy() -> None:
    """Since the shadow was set, of the decisions that were made beside it."""
    values = [
        decision(1, AUTO, AUTO),
        decision(2, AUTO, HUMAN),
        decision(3, HUMAN, AUTO, policy="spam"),
        decision(4, HUMAN, HUMAN, "model_failed"),
        decision(5, HUMAN, None),
        decision(6, AUTO, HUMAN, control_version=0),
    ]
    document = agreement([msgspec.json.decode(one, type=Decision) for one in values], 1)
    names = ("decisions", "automated", "shadow_automated", "to_automation", "to_humans", "failed")
    assert 1 == document["without"]
    assert {"*": (4, 2, 2, 1, 1, 1), "hate": (3, 2, 1, 0, 1, 1), "spam": (1, 0, 1, 1, 0, 0)} == {
        row["policy"]: tuple(row[name] for name in names) for row in document["rows"]
    }


def test_agreement_looks_back_as_far_on_both_routes(broker: EmbeddedBroker) -> None:
    """Where one route has more than is read, older decisions of the other would tilt the shares; what is no decision is passed by."""
    done(broker, "set-shadow", "--threshold", "0.2", "--wait", "0")
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(40, 50):
        producer.produce(TOPICS["auto_action"].name, decision(number, AUTO, HUMAN), b"k")
    for number in (1, 2, 46):
        producer.produce(TOPICS["human_review"].name, decision(number, HUMAN, AUTO), b"k")
    producer.produce(TOPICS["human_review"].name, b"rubbish", b"k")
    assert 0 == producer.flush(10)
    rows = orjson.loads(done(broker, "show-shadow", "--last", "5", "--json"))["rows"]
    assert (6, 1, 5) == tuple(rows[0][name] for name in ("decisions", "to_automation", "to_humans"))
    assert 13 == orjson.loads(done(broker, "show-shadow", "--json"))["rows"][0]["decisions"]
    table = done(broker, "show-shadow").splitlines()
    assert ["*", "13", "10", "3", "3", "10", "0"] == next(line.split() for line in table if line.startswith("*"))

"""`secondlook control` without workers: what it writes, what it says it reaches, and what it refuses to write."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from streams.cli import control_issue, control_show
from streams.cli.main import main
from streams.errors import BrokerError
from streams.kafka import issuing, reading
from streams.kafka.reading import read_values
from streams.kafka.topics import load_topics
from streams.pipeline.control_messages import ControlMessage, parse_control
from streams.pipeline.scope import EVERY
from streams.settings import load_settings
from streams.trials.brokers import EmbeddedBroker

pytestmark = pytest.mark.usefixtures("_no_worker_to_hear")
TOPICS = load_topics()
MODEL = "a" * 64


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker([TOPICS["control"], TOPICS["control_status"], TOPICS["models"]]) as broker:
        yield broker


def control(broker: EmbeddedBroker, *arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, ["control", *arguments, "--broker", broker.bootstrap])


def messages(broker: EmbeddedBroker) -> list[bytes]:
    settings = load_settings({"broker": broker.bootstrap}, environ={})
    return list(read_values(settings, TOPICS["control"].name, [0]))


def last_message(broker: EmbeddedBroker) -> ControlMessage:
    return parse_control(messages(broker)[-1])


@pytest.mark.parametrize(
    ("arguments", "policy", "reach"),
    [
        (["set-threshold", "0.3", "--yes"], EVERY, "for every policy, in place of their own settings"),
        (["set-threshold", "0.3", "--policy", "hate"], "hate", "for policy hate"),
        (["set-costs", "--review", "1", "--mistake", "3", "--yes"], EVERY, "for every policy, in place of"),
        (["set-audit-rate", "0.1", "--policy", "hate"], "hate", "for policy hate"),
        (["set-model", MODEL, "--yes"], None, "for every policy\n"),
        (["set-threshold", "0.3", "--tenant", "acme"], EVERY, "for every policy, tenant acme\n"),
        (["stop"], EVERY, "for every policy\n"),
        (["stop", "--outcome", "remove"], EVERY, "for every policy, outcome remove\n"),
        (["resume", "--outcome", "remove"], EVERY, "for every policy, outcome remove\n"),
        (["stop", "--policy", "hate"], "hate", "for policy hate"),
        (["resume"], EVERY, "for every policy\n"),
        (["rollback", "0"], None, "for every policy\n"),
    ],
)
def test_the_command_says_which_policies_it_reaches(
    broker: EmbeddedBroker, arguments: list[str], policy: str | None, reach: str
) -> None:
    """An operator who forgets --policy sees at once that every policy has changed."""
    result = control(broker, *arguments, "--wait", "0")
    assert 0 == result.exit_code, result.output
    assert reach in result.output
    assert policy == getattr(last_message(broker), "policy", None)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["set-threshold", "nan"], "'nan' is no threshold: that is a number from 0 to 1"),
        (["set-threshold", "abc"], "'abc' is no threshold"),
        (["set-threshold", "1.5"], "'1.5' is no threshold"),
        (["set-audit-rate", "inf"], "'inf' is no audit rate"),
        (["set-costs", "--review", "0", "--mistake", "1"], "'0' is no cost: that is a number above 0"),
        (["set-model", "latest"], "'latest' is no model's sha256"),
        (
            ["set-model", "abcdef"],
            "none of the models of the live workers and of secondlook.models begins with abcdef",
        ),
        (["stop", "--expires-at", "tomorrow"], "'tomorrow' is no time with its zone"),
        (["stop", "--tenant", ""], "'' is no tenant: that is 1 to 255 characters, in UTF-8. Nothing was written"),
        (["stop", "--tenant", "\udcff"], "is no tenant: that is 1 to 255 characters, in UTF-8"),
        (["stop", "--policy", "p" * 256], f"'{'p' * 39}…' is no policy: that is 1 to 255 characters"),
        (["stop", "--reason", "why" * 400], "is no reason: that is up to 1,000 characters"),
        (["stop", "--issued-by", "\udcff"], "is no name: that is up to 1,000 characters"),
        (["resume", "--policy", "spam"], "automation of policy spam"),
        (["stop", "--expires-at", "2020-01-01T00:00:00Z"], "refused, nothing has changed: it expired at 2020-01-01"),
    ],
)
def test_a_mistake_is_one_line(broker: EmbeddedBroker, arguments: list[str], line: str) -> None:
    """It says what was wrong and what there may be, and the exit code says that nothing changed."""
    result = control(broker, *arguments)
    assert (4, True) == (result.exit_code, line in result.output), result.output
    assert 1 == len(result.output.splitlines())


def test_what_policies_have_of_their_own_is_not_taken_away_unasked(broker: EmbeddedBroker) -> None:
    """Without a terminal to ask at, it takes --yes."""
    assert 0 == control(broker, "set-audit-rate", "0.1", "--policy", "hate", "--wait", "0").exit_code
    before = messages(broker)
    result = control(broker, "set-audit-rate", "0.2", "--wait", "0")
    assert (4, True) == (result.exit_code, "takes away the audit rates that hate has" in result.output)
    assert before == messages(broker)
    assert 0 == control(broker, "set-audit-rate", "0.2", "--wait", "0", "--yes").exit_code


def test_scopes_are_told_apart(broker: EmbeddedBroker) -> None:
    """A scope's name has commas; where a model takes several away, the way out is one that set-model has."""
    for scope in (["--tenant", "acme"], ["--policy", "hate", "--outcome", "allow"], ["--policy", "spam"]):
        assert 0 == control(broker, "set-threshold", "0.3", *scope, "--wait", "0", "--yes").exit_code
    scopes = "*, tenant acme; hate, outcome allow; spam"
    result = control(broker, "set-threshold", "0.2", "--wait", "0")
    assert f"takes away the thresholds that {scopes} have of their own" in result.output
    result = control(broker, "set-threshold", "0.2", "--outcome", "remove", "--wait", "0")
    assert "what *, tenant acme; spam have of thresholds counts before it" in result.output
    result = control(broker, "set-model", MODEL, "--wait", "0")
    assert (4, True, False) == (
        result.exit_code,
        "say --yes if that is meant, or --keep-thresholds" in result.output,
        "narrow" in result.output,
    ), result.output
    assert 0 == control(broker, "set-threshold", "0.3", "--wait", "0", "--yes").exit_code


def test_what_counts_before_a_setting_is_told(broker: EmbeddedBroker) -> None:
    """A tenant's threshold does not count where a policy has its own; nor does it take that away."""
    control(broker, "set-threshold", "0.3", "--wait", "0", "--yes")
    control(broker, "set-threshold", "0.4", "--policy", "hate", "--wait", "0")
    result = control(broker, "set-threshold", "0.1", "--tenant", "acme", "--wait", "0")
    assert (0, True) == (result.exit_code, "what hate has of thresholds counts before it, there" in result.output)
    result = control(broker, "set-threshold", "0.2", "--policy", "hate", "--tenant", "acme", "--wait", "0")
    assert "counts before" not in result.output
    result = control(broker, "set-threshold", "0.1", "--policy", "hate", "--wait", "0")
    assert (4, True) == (result.exit_code, "thresholds that hate, tenant acme has" in result.output)


def test_costs_by_outcome(broker: EmbeddedBroker) -> None:
    """One message for both; said again, it takes nothing away from narrower scopes; shown and told apart."""
    costs = ["set-costs", "--review", "1", "--missed-violation", "9", "--wrong-removal", "3", "--wait", "0"]
    before = control(broker, *costs, "--yes").output.split()[1].rstrip(",")
    assert 0 == control(broker, *costs).exit_code
    assert "missed_violation=9.0 wrong_removal=3.0" in control(broker, "history", "--json").output
    shown = orjson.loads(control(broker, "show", "--json").stdout)["thresholds"]
    assert {"*, outcome allow": 0.1, "*, outcome remove": 0.25} == {name: one["value"] for name, one in shown.items()}
    assert ("*", "*", "allow") == tuple(shown["*, outcome allow"][name] for name in ("policy", "tenant", "outcome"))
    after = control(broker, *costs, "--policy", "hate", "--tenant", "acme", "--mistake", "2")
    assert (2, True) == (after.exit_code, "give --mistake, or --missed-violation" in after.output)
    audit = ["set-audit-rate", "0.2", "--floor", "0.1", "--tenant", "acme", "--wait", "0"]
    after = control(broker, *audit).output.split()[1].rstrip(",")
    difference = control(broker, "diff", before, after).output
    assert "audit rate of *, tenant acme: none -> 0.2, at least 0.1" in difference
    table = control(broker, "show").output
    assert "none:" not in table.split()
    assert {"narrower", "least"} <= set(table.split())


def test_who_issued_it_is_flag_then_environment_then_user(broker: EmbeddedBroker) -> None:
    """And the reason goes with it."""
    stop = ["stop", "--policy", "hate", "--wait", "0"]
    control(broker, *stop, "--issued-by", "ana", "--reason", "why not", SECONDLOOK_ISSUED_BY="pager")
    assert ("ana", "why not") == (last_message(broker).issued_by, last_message(broker).reason)
    control(broker, *stop, SECONDLOOK_ISSUED_BY="pager")
    assert "pager" == last_message(broker).issued_by
    control(broker, *stop)
    assert last_message(broker).issued_by not in (None, "ana", "pager")


def test_no_worker_has_its_own_exit_code(broker: EmbeddedBroker) -> None:
    """It was written, and holds for those that start later."""
    result = control(broker, "stop", "--policy", "hate", "--wait", "0.5")
    assert (5, True) == (result.exit_code, "no worker is live" in result.output)


def test_a_stop_of_everything_waits_for_nothing(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written before anything is read, so also while control-status is away."""

    def away(_settings: object) -> None:
        raise BrokerError("control-status is away")

    monkeypatch.setattr(control_issue, "Fleet", away)
    before = len(messages(broker))
    result = control(broker, "stop", "--reason", "now")
    assert (1, True) == (result.exit_code, "control-status is away" in result.output)
    assert "version" in result.output
    assert (before + 1, "now") == (len(messages(broker)), last_message(broker).reason)


def test_what_others_wrote_cannot_drive_the_terminal(broker: EmbeddedBroker) -> None:
    """Neither a reason nor a policy's name; and what is no message is shown as refused."""
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    evil: dict[str, Any] = {
        "type": "stop_automation",
        "policy": "\x1b[2J",
        "reason": "\u202ereversed",
        "issued_by": "\x07",
    }
    snapshot = b'{"type":"snapshot","position":7,"base":0,"content":{"a":1e999},"counted":0,"issued":{},"messages":[]}'
    for value in (orjson.dumps(evil), snapshot, b"\xff\x00", None):
        producer.produce(TOPICS["control"].name, value)
    producer.flush(5)
    for command in ("show", "history"):
        result = control(broker, command)
        output = result.output
        assert (0, True) == (result.exit_code, bool(output))
        assert {"\x1b", "\x07", "\u202e"}.isdisjoint(output)
    assert "refused" in control(broker, "history").output


def test_history_in_a_pipe_keeps_words_whole_and_says_where_the_log_ends(broker: EmbeddedBroker) -> None:
    """So that a search finds them; and `control_signed_from` takes the offset, which the last row need not show."""
    why = "wrong removals of a kind that takes long to tell"
    control(broker, "stop", "--tenant", "piped", "--reason", why, "--wait", "0")
    control(broker, "resume", "--tenant", "piped", "--wait", "0")
    control(broker, "resume", "--tenant", "piped", "--wait", "0")
    lines = control(broker, "history", "--last", "3").output.splitlines()
    assert "stop_automation policy=* tenant=piped" in lines[1]
    assert why in lines[1]
    assert f"the log ends at offset {len(messages(broker))}" == lines[-1]


def test_a_broker_that_is_away_is_named_by_whatever_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was looked for, for how long, and what to look at."""
    monkeypatch.setattr(reading, "_CALL_TIMEOUT", 1.0)
    for command in ("show", "history", "rollback"):
        result = CliRunner().invoke(main, ["control", command, "--broker", "127.0.0.1:1"])
        assert (1, True) == (
            result.exit_code,
            "no Kafka broker answered at 127.0.0.1:1. 127.0.0.1:1: nothing listens there" in result.output,
        ), result.output


def test_undo_is_one_command(broker: EmbeddedBroker) -> None:
    """It takes back the last change, whatever its version, unless another came first; twice, and it is as it was."""
    for value in ("0.11", "0.22"):
        control(broker, "set-threshold", value, "--policy", "undone", "--wait", "0", "--yes")
    for value in (0.11, 0.22):
        undone = orjson.loads(control(broker, "show", "--json").stdout)["last"]
        result = control(broker, "rollback", "--wait", "0")
        assert 0 == result.exit_code, result.output
        assert f"undoing version {undone['version']}: {undone['what']}, by {undone['issued_by']}\n" in result.output
        shown = orjson.loads(control(broker, "show", "--json").stdout)
        assert (value, shown["version"] - 1) == (shown["thresholds"]["undone"]["value"], _expected(broker))


def _expected(broker: EmbeddedBroker) -> int | None:
    return last_message(broker).expected_version


def test_a_rollback_to_a_version_undoes_nothing_that_came_meanwhile(broker: EmbeddedBroker) -> None:
    """It names the version that was in force when it was asked for, unless another one was."""
    control(broker, "set-threshold", "0.11", "--policy", "undone", "--wait", "0", "--yes")
    version = orjson.loads(control(broker, "show", "--json").stdout)["version"]
    assert 0 == control(broker, "rollback", "0", "--wait", "0", "--yes").exit_code
    assert version == _expected(broker)
    assert 4 == control(broker, "rollback", "0", "--expected-version", str(version), "--wait", "0", "--yes").exit_code


def test_a_stop_is_not_undone_in_passing(broker: EmbeddedBroker) -> None:
    """It says what lifts it, and writes nothing."""
    control(broker, "stop", "--policy", "hate speech", "--wait", "0", "--yes")
    before = messages(broker)
    result = control(broker, "rollback")
    assert (4, True) == (
        result.exit_code,
        "only secondlook control resume --policy 'hate speech' takes" in result.output,
    )
    assert before == messages(broker)


def test_the_help_alone_says_what_to_do_at_night() -> None:
    """Four questions, one command each, on the first screen."""
    lines = CliRunner().invoke(main, ["control", "--help"]).output.splitlines()[:9]
    for question, command in (
        ("stop all automation", "control stop"),
        ("what is in force", "control show"),
        ("what would 0.2 do", "control simulate --threshold 0.2"),
        ("undo", "control rollback"),
    ):
        assert any(question in line and command in line for line in lines)


def test_what_is_written_but_cannot_be_followed_is_said_so(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop that counts must not look like one that failed."""

    def unreadable(_settings: object, **_more: object) -> None:
        raise BrokerError("cannot read it")

    monkeypatch.setattr(issuing, "read_history", unreadable)
    result = control(broker, "stop")
    assert (1, True) == (result.exit_code, "it is written, at offset" in result.output)


def test_a_log_that_grows_long_is_said_with_what_shortens_it(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at what is in force need not know of it."""
    control(broker, "stop", "--wait", "0")
    assert "control compact" not in control(broker, "show").output
    monkeypatch.setattr(control_show, "_MANY", 0)
    assert "a start reads them all. secondlook control compact" in control(broker, "show").output


def test_a_log_that_cannot_be_cut_is_not_compacted(broker: EmbeddedBroker) -> None:
    """The embedded broker cannot delete records; nothing is written then."""
    before = messages(broker)
    result = control(broker, "compact", "--yes")
    assert (1, True) == (result.exit_code, "cannot delete records: nothing was written" in result.output)
    assert before == messages(broker)


def test_a_version_that_no_message_made_has_no_difference(broker: EmbeddedBroker) -> None:
    """It says so instead of showing the one before."""
    result = control(broker, "diff", "0", "999999")
    assert (4, True) == (result.exit_code, "no message made version 999999" in result.output)


@pytest.mark.parametrize(
    "arguments", [["set-threshold", "0.3"], ["set-review-budget", "0.2", "--lowest", "0.1", "--highest", "0.4"]]
)
def test_a_threshold_names_the_model_that_it_was_made_for(broker: EmbeddedBroker, arguments: list[str]) -> None:
    """Were that swapped before the message is in the log, a stranger's threshold would be in force otherwise."""
    assert 0 == control(broker, "set-model", MODEL, "--yes", "--wait", "0").exit_code
    assert 0 == control(broker, *arguments, "--policy", "named", "--yes", "--wait", "0").exit_code
    assert MODEL == getattr(last_message(broker), "model", None)

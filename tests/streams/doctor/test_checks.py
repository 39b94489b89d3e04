"""The doctor's checks, on facts that are given: each fault is named with what mends it, and what is not known is never well."""

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import click
import pytest

from streams.cli.main import main
from streams.doctor import CHECKS, Finding, examine
from streams.doctor.facts import Facts, Failed, Fleet, Here, InForce, Member, Model, Trial, Unknown, Worker
from streams.kafka.rights import ROLES, WORSE, rights
from streams.kafka.topics import load_topics
from streams.settings import Settings, load_settings

TOPICS = load_topics()
MODEL = "f" * 64
OPERATIONS = frozenset({"read", "write", "create", "describe", "delete", "describeconfigs"})


def settings(**given: Any) -> Settings:
    kafka = {"sasl.username": "ann", "security.protocol": "SASL_SSL"}
    return load_settings({"broker": "kafka:9093", **given}, kafka_flags=kafka, environ={})


def well(**given: Any) -> Facts:
    """A pipeline that lacks nothing."""
    own = settings(**given)
    topics = load_topics(own.topic_prefix)
    return Facts(
        own,
        "worker",
        Here(Model("blend", MODEL, calibrated=True), "lpp", "native", None),
        brokers=3,
        counts={topic.name: topic.partitions for topic in topics.values()},
        half_made={},
        in_sync={topic.name: 3 for topic in topics.values()},
        leaderless={},
        denied=frozenset(),
        configs={key: configs(key) for key in topics},
        granted={(right.kind, right.name): OPERATIONS for right in rights(ROLES["worker"], own)},
        transactions=Trial(),
        most_transaction=900.0,
        skew=0.1,
        members=(Member("secondlook", "/10.0.0.1", 8),),
        others={},
        owner=f"{own.topic_prefix}secondlook",
        in_force=InForce(12, whole=True, model=None, problem=None),
        fleet=Fleet((Worker("pod-0", 12, None),)),
    )


def configs(key: str, **other: str) -> Mapping[str, str | None]:
    named = {name.replace("_", "."): value for name, value in other.items()}
    return {"max.message.bytes": "4194304", "min.insync.replicas": "2", **TOPICS[key].config, **named}


def found(facts: Facts, *states: str) -> list[Finding]:
    return [one for one in examine(facts) if one.state in (states or ("warning", "wrong", "unknown"))]


def test_a_pipeline_that_is_well_has_nothing_to_mend() -> None:
    """Every check says so, and none says more."""
    everything = examine(well())
    assert [] == [one for one in everything if one.state != "ok" or one.mend]
    assert len({one.check for one in everything}) == len(CHECKS)


def test_what_is_not_known_is_never_well() -> None:
    """Where no broker answers, only what is on this machine is said to be well."""
    nobody = Unknown("no broker answered")
    facts = replace(
        well(),
        brokers=Failed("no Kafka broker answered at kafka:9093. kafka:9093: nothing listens there", "refused"),
        counts=nobody,
        configs={},
        granted={},
        transactions=nobody,
        skew=nobody,
        members=nobody,
        others=nobody,
        owner=nobody,
        in_force=nobody,
        fleet=nobody,
    )
    states = {one.check: one.state for one in examine(facts)}
    assert {"model", "spec", "reader"} == {check for check, state in states.items() if state == "ok"}
    assert {"broker"} == {check for check, state in states.items() if state == "wrong"}


@pytest.mark.parametrize(
    ("kind", "check", "mend"),
    [
        ("refused", "broker", "secondlook doctor --broker HOST:PORT"),
        ("name", "broker", "getent hosts"),
        ("certificate", "tls", "ssl.ca.location=CA.pem"),
        ("client-certificate", "tls", "ssl.certificate.location"),
        ("plaintext-port", "tls", "security.protocol=SASL_PLAINTEXT"),
        ("tls-port", "tls", "security.protocol=SASL_SSL"),
        ("login", "login", "sasl.password.file=FILE"),
        ("login-wanted", "login", "security.protocol=SASL_SSL"),
        ("sasl-mechanism", "login", "sasl.mechanism=SCRAM-SHA-512"),
    ],
)
def test_what_keeps_the_client_out_is_told_where_it_lies(kind: str, check: str, mend: str) -> None:
    """By one check alone: those before it are well, those after it could not look."""
    facts = replace(well(), brokers=Failed("no Kafka broker answered", kind))
    (wrong,) = [one for one in examine(facts) if one.check in ("broker", "tls", "login") and one.state == "wrong"]
    assert check == wrong.check
    assert mend in wrong.mend


def topic_names(without: str = "") -> dict[str, int]:
    return {topic.name: topic.partitions for key, topic in TOPICS.items() if key != without}


def changed(facts: Facts, change: dict[str, Any]) -> Facts:
    if "configs" in change:
        change = {"configs": {**facts.configs, **change["configs"]}}
    return replace(facts, **change)


FAULTS: list[tuple[dict[str, Any], tuple[str, str, str]]] = [
    ({"counts": topic_names("vectors")}, ("topics", "wrong", "secondlook topics create --broker kafka:9093")),
    (
        {"counts": {**topic_names(), "llm.responses": 2}},
        ("topics", "wrong", "--topic llm.responses --partitions 4"),
    ),
    (
        {"counts": {**topic_names(), "moderation.control": 3}},
        ("topics", "wrong", "--delete --topic moderation.control"),
    ),
    ({"counts": topic_names("vectors"), "denied": frozenset({"lpp.vectors"})}, ("topics", "unknown", "")),
    (
        {"configs": {"pending": configs("pending", retention_ms="1000")}},
        ("topic settings", "wrong", "--entity-name secondlook.pending --add-config retention.ms=-1"),
    ),
    (
        {"configs": {"requests": configs("requests", message_timestamp_type="CreateTime")}},
        ("topic settings", "warning", "--add-config message.timestamp.type=LogAppendTime"),
    ),
    ({"configs": {"quality": Unknown("no right")}}, ("topic settings", "unknown", "")),
    (
        {"configs": {"responses": configs("responses", retention_ms="60000")}},
        ("retention", "warning", "retention.ms=604800000"),
    ),
    (
        {"transactions": Trial("too long", timeout_too_long=True)},
        ("transactions", "wrong", "--transaction-timeout 900"),
    ),
    (
        {"transactions": Trial("no such request", unsupported=True)},
        ("transactions", "wrong", "--delivery at_least_once"),
    ),
    ({"transactions": Trial("fenced")}, ("transactions", "wrong", "")),
    (
        {"leaderless": {"moderation.control": (0,)}},
        ("leaders", "wrong", "kafka-topics.sh --command-config ADMIN.properties --bootstrap-server"),
    ),
    (
        {"in_sync": {"llm.responses": 1}},
        ("replicas", "wrong", "--describe --under-min-isr-partitions"),
    ),
    ({"configs": {"pending": Unknown("no right")}}, ("replicas", "unknown", "")),
    (
        {"counts": topic_names("control"), "half_made": {"moderation.control": "no leader yet"}},
        ("topics", "unknown", ""),
    ),
    ({"counts": topic_names("vectors"), "denied": Unknown("no answer")}, ("topics", "unknown", "")),
    ({"transactions": Unknown("no answer")}, ("transactions", "unknown", "")),
    ({"skew": -61.0}, ("clock", "warning", "timedatectl set-ntp true")),
    ({"skew": Unknown("not stamped")}, ("clock", "unknown", "")),
    ({"others": {"copy": 2}}, ("group", "warning", "--describe --group copy")),
    ({"members": Unknown("no right")}, ("group", "unknown", "")),
    ({"owner": "first"}, ("ownership", "wrong", "secondlook worker --group first")),
    ({"owner": Unknown("no answer")}, ("ownership", "unknown", "")),
    ({"here": Here(Failed("No model at models"), "lpp", "native", None)}, ("model", "wrong", "secondlook train")),
    (
        {"here": Here(Model("softmax", MODEL, calibrated=False), "lpp", "native", None)},
        ("model", "warning", "control set-threshold"),
    ),
    (
        {"here": Here(Model("b", MODEL, calibrated=True), Failed("no preset"), "native", None)},
        ("spec", "wrong", "features"),
    ),
    (
        {"here": Here(Model("b", MODEL, calibrated=True), "lpp", "python", "off")},
        ("reader", "warning", "make native"),
    ),
    ({"in_force": InForce(3, whole=False, model=None, problem=None)}, ("controls", "wrong", "topics create")),
    (
        {"in_force": InForce(3, whole=True, model=MODEL, problem="No model at models/f")},
        ("controls", "wrong", "models push"),
    ),
    (
        {"in_force": InForce(3, whole=True, model=MODEL, problem="No model at models/f", fetchable=True)},
        ("controls", "warning", "models pull"),
    ),
    (
        {"in_force": InForce(3, whole=True, model=MODEL, problem="not calibrated")},
        ("controls", "wrong", "control rollback"),
    ),
    ({"in_force": Unknown("no answer")}, ("controls", "unknown", "")),
    ({"fleet": Fleet((Worker("pod-0", 3, "it lacks the model"),))}, ("workers", "wrong", "control show")),
    ({"fleet": Fleet((Worker("pod-0", 3, None),), gone=("pod-1",))}, ("workers", "warning", "supervisor")),
    ({"fleet": Fleet((Worker("pod-0", 3, None),), split=True)}, ("workers", "wrong", "control show")),
]


@pytest.mark.parametrize(("change", "expected"), FAULTS, ids=str)
def test_each_fault_is_found_with_what_mends_it(change: dict[str, Any], expected: tuple[str, str, str]) -> None:
    """By its own check."""
    check, state, mend = expected
    (first, *_) = [one for one in found(changed(well(), change)) if one.check == check]
    assert state == first.state
    assert mend in first.mend


def test_a_transaction_that_fails_is_no_reason_to_give_up_exactly_once() -> None:
    """Only where the broker has none."""
    (one,) = found(replace(well(), transactions=Trial("fenced")))
    assert ("transactions", "") == (one.check, one.mend)


@pytest.mark.parametrize(
    "change", [{"denied": Unknown("no answer")}, {"half_made": {"lpp.vectors": "no leader yet"}}], ids=str
)
def test_a_topic_that_nobody_could_look_at_is_not_called_missing(change: dict[str, Any]) -> None:
    """Brokers do not show what a user may not see, nor all of what is being made: who makes it anew does harm."""
    facts = replace(well(), counts=topic_names("vectors"), **change)
    told = [one for one in found(facts) if one.check == "topics"]
    assert [("unknown", "")] == [(one.state, one.mend) for one in told]
    assert "lpp.vectors" in told[0].about


def test_of_topics_that_are_not_there_nothing_is_said_to_be_well() -> None:
    """They have no leader that could be missing."""
    states = {one.check: one.state for one in examine(replace(well(), counts={}, configs={}, in_sync={}))}
    assert ("wrong", "unknown", "unknown") == tuple(states[name] for name in ("topics", "leaders", "replicas"))


def test_leaders_of_other_topics_are_other_peoples_matter() -> None:
    """A cluster has more topics than this pipeline's."""
    assert [] == found(replace(well(), leaderless={"somebody.elses": (0,)}))


def test_a_pipeline_of_another_prefix_is_pointed_at() -> None:
    """Topics that are missing here may be there under a prefix that was forgotten."""
    counts = {topic.name: topic.partitions for topic in load_topics("eu.").values()}
    facts = replace(well(), counts=counts)
    (hint,) = [one for one in found(facts, "warning") if one.check == "topics"]
    assert hint.mend.endswith("--topic-prefix eu.")


@pytest.mark.parametrize("right", list(rights(ROLES["worker"], settings())), ids=lambda right: right.text)
def test_each_right_that_is_lacking_is_named_with_the_command_that_gives_it(right: Any) -> None:
    """Wrong where a worker needs it, a warning where it only sees less, nothing where it is not used."""
    facts = well()
    need = rights(ROLES["worker"], facts.settings)[right]
    if right.kind == "transactional-id":
        facts = replace(facts, transactions=Trial("denied", lacks_right=True))
    else:
        lacking = OPERATIONS - {right.operation.lower()}
        facts = replace(facts, granted={**facts.granted, (right.kind, right.name): lacking})
    told = [one for one in found(facts) if one.check == "access" and right.text in one.about]
    worse = WORSE | {"settings", "doctor"}
    expected = {"moves": []}.get(need.when, ["warning"] if need.when in worse else ["wrong"])
    assert expected == [one.state for one in told]
    for one in told:
        assert f"--allow-principal User:ann --operation {right.operation} --{right.kind} {right.name}" in one.mend


def test_a_right_that_is_needed_once_it_is_used() -> None:
    """To write to control: once a review budget is in force, or a worker may stop."""
    facts = well()
    name = ("topic", TOPICS["control"].name)
    facts = replace(facts, granted={**facts.granted, name: OPERATIONS - {"write"}})
    budgets = InForce(1, whole=True, model=None, problem=None, budgets=True)
    assert [] == found(facts)
    assert ["access"] == [one.check for one in found(replace(facts, in_force=budgets))]
    assert ["access"] == [one.check for one in found(replace(facts, settings=settings(on_risk_breach="stop")))]


ODD = {"broker": "one:9093, two:9093", "model": "my models"}
"""Settings whose values a shell would take apart."""


def typed(text: str) -> list[tuple[click.Command, list[str]]]:
    """The commands of ours in a mending as a shell hands them over, each with its arguments."""
    commands = []
    for one in re.findall(r"\bsecondlook ([^;&]+)", text):
        words = shlex.split(one)
        command: click.Command | None = main
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words.pop(0))
        assert command is not None, text
        commands.append((command, words))
    return commands


@pytest.mark.parametrize("change", [change for change, (_, _, mend) in FAULTS if mend], ids=str)
def test_what_mends_a_fault_can_be_typed(change: dict[str, Any]) -> None:
    """Commands and options are there, and a value with a blank is one value."""
    mends = [one.mend for one in found(changed(well(**ODD), change)) if one.mend]
    assert mends
    for mend in mends:
        for command, words in typed(mend):
            with suppress(click.BadParameter):  # a file that stands for the user's own
                command.make_context("it", words)
        words = shlex.split(mend)
        given = [
            words[at + 1].rstrip(";") for at, word in enumerate(words) if word in ("--broker", "--bootstrap-server")
        ]
        assert {*given} <= {ODD["broker"]}


@pytest.mark.parametrize("name", ["a b", "$(reboot)", "`reboot`", "x'; reboot; '"])
def test_a_groups_name_cannot_add_to_what_mends(name: str) -> None:
    """Anybody who may join a group names it: who copies the command gives that name to it, and runs nothing else."""
    (other,) = [one for one in found(replace(well(), others={name: 1})) if one.check == "group"]
    assert name == shlex.split(other.mend)[-1]
    (owned,) = [one for one in found(replace(well(), owner=name)) if one.check == "ownership"]
    assert name in shlex.split(owned.mend.replace("; or,", " ;"))


def test_kafkas_own_tools_log_in_where_the_cluster_wants_it() -> None:
    """Each of them, with a file that the user puts in; on an open cluster there is none to be named."""
    faults = {"others": {"copy": 1}, "configs": {"requests": configs("requests", message_timestamp_type="CreateTime")}}
    secured, opened = well(), replace(well(), settings=load_settings({}, environ={}))
    for one in found(changed(secured, faults)):
        assert one.mend.count(".sh ") == one.mend.count(".sh --command-config ADMIN.properties ") == 1
    assert "--command-config" not in str(found(changed(opened, faults)))


def test_topics_of_a_prefix_are_made_anew_under_it() -> None:
    """What is deleted, and what is made in its place, are the same topic."""
    facts = well(topic_prefix="eu.")
    name = "eu.moderation.control"
    (one,) = [
        one for one in found(replace(facts, counts={name: 3})) if name in one.about and "3 partitions" in one.about
    ]
    assert f"--delete --topic {name} && " in one.mend
    assert "topics create --broker kafka:9093 --topic-prefix eu." in one.mend

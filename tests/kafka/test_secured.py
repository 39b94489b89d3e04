"""A cluster with TLS, logins and access rights: each user has what docs/brokers.md says and no more, and what it lacks is named."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from scoring.evaluation import evaluate as reckon
from scoring.store import add_model
from scoring.training.cold_start import single_estimator_model
from streams.cli.main import main
from streams.console.feed import Feed
from streams.console.state import State
from streams.errors import DeniedError
from streams.kafka import control_reader
from streams.kafka.clients import group_name
from streams.kafka.clock import BrokerClock
from streams.kafka.control_reader import ControlReader
from streams.kafka.control_status import StatusWriter
from streams.kafka.rights import ROLES, WORSE, Right, rights
from streams.kafka.topics import create_topics, load_topics, topic_names
from streams.pipeline.controls import Baseline
from streams.settings import Settings, load_settings
from streams.trials.worker_process import WorkerProcess
from streams.worker.run import check_for_worker
from tests.driving import IDS, ITEMS, RECORDING, TRACE
from tests.kafka.secured import ADMIN, Secured, write_certificates
from tests.streams.console.making import COSTS
from tests.streams.pipeline.test_controls import Model, Shelf

PREFIX = "sec."
SETTINGS = Settings(topic_prefix=PREFIX)
TOPICS = load_topics(PREFIX)
NEEDED = rights(ROLES["worker"], SETTINGS)
DESCRIBED = [Right("Describe", "topic", topic.name) for topic in TOPICS.values()]
TRIALS = [
    Right("All", kind, name, prefixed=True)
    for kind in ("topic", "group", "transactional-id")
    for name in ("demo-", "stress-")
]  # type: ignore[misc]


def needed(*roles: str) -> list[Right]:
    return [right for role in roles for right in rights(ROLES[role], SETTINGS)]


@dataclass
class Desk:
    """Runs commands as users do, and keeps all that anybody could see of them."""

    cluster: Secured
    printed: list[str] = field(default_factory=list)

    def run(self, user: str, *arguments: str, expected: int = 0) -> str:
        """A command as a process of its own; what it printed."""
        command = [sys.executable, "-m", "streams", *arguments]
        environment = {**os.environ, **self.cluster.environment(user), "SECONDLOOK_TOPIC_PREFIX": PREFIX}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.printed.append(cmdline(process.pid))
        output, _ = process.communicate(timeout=240)
        self.printed.append(output)
        assert expected == process.returncode, output
        return output

    def ask(self, user: str, *arguments: str, expected: int | None = 0) -> str:
        """A command within this process, which spares its start; what it printed, all of it where it may fail (expected None)."""
        environment = {**self.cluster.environment(user), "SECONDLOOK_TOPIC_PREFIX": PREFIX}
        result = CliRunner().invoke(main, list(arguments), env=environment)
        self.printed.append(result.output)
        assert expected in (None, result.exit_code), result.output
        return result.output if expected is None else result.stdout

    def worker(self, monkeypatch: pytest.MonkeyPatch, user: str, models: Path, **settings: Any) -> WorkerProcess:
        """A worker of this user."""
        for name, value in self.cluster.environment(user).items():
            monkeypatch.setenv(name, value)
        return WorkerProcess({"topic_prefix": PREFIX, "model": models, "web_port": 0, **settings})


def cmdline(pid: int) -> str:
    """What `ps` shows of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.fixture(scope="module")
def cluster(secured: Secured) -> Secured:
    """With topics."""
    create_topics({**secured.client()}, TOPICS)
    return secured


def send(cluster: Secured, user: str) -> None:
    """Traffic, and one record that breaks the contract."""
    producer = Producer(cluster.client(user))
    for item in ITEMS:
        key = item.request_id.encode()
        producer.produce(TOPICS["requests"].name, json.dumps(item.request), key, headers=dict(TRACE))
        producer.produce(TOPICS["responses"].name, bytes(item.response), key)
    producer.produce(TOPICS["requests"].name, b"no record", b"odd")
    assert 0 == producer.flush(30)


def decided(cluster: Secured, user: str, count: int) -> list[str]:
    """The ids of so many decisions."""
    consumer = Consumer({**cluster.client(user), "group.id": f"{user}-own", "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPICS["auto_action"].name, TOPICS["human_review"].name])
    found: list[str] = []
    while len(found) < count:
        message = consumer.poll(60)
        assert message is not None, f"only {len(found)} decisions came"
        assert message.error() is None, message.error()
        found.append((message.key() or b"").decode())
    consumer.close()
    return sorted(found)


def test_every_command_works_with_the_documented_rights_and_prints_no_secret(
    cluster: Secured, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker exactly once under traffic, what operators use beside it, the demo and the stress test."""
    desk = Desk(cluster)
    worker = cluster.user("worker", *needed("worker"))
    operator = cluster.user(
        "operator", *needed("control"), *needed("models"), Right("Write", "topic", TOPICS["models"].name)
    )
    letters = cluster.user("letters", *needed("dead-letters redrive"))
    checker = cluster.user("checker", *needed("topics check"))
    creator = cluster.user("creator", *needed("topics create"))
    sender = cluster.user("sender", *needed("producer of requests", "producer of responses"))
    reader = cluster.user("reader", *needed("consumer of decisions"), Right("Read", "group", "reader-own"))
    trial = cluster.user("trial", *TRIALS)

    assert "exists" in desk.run(creator, "topics", "create")
    assert "are as they must be" in desk.run(checker, "topics", "check")
    desk.run(operator, "models", "push", "--model", str(models))
    with desk.worker(monkeypatch, worker, models) as running:
        running.wait_for("assigned")
        desk.printed.append(cmdline(running.pid))
        send(cluster, sender)
        assert IDS == decided(cluster, reader, len(IDS))
        assert "in force" in desk.run(operator, "control", "set-threshold", "0.2")
        assert "controls version 1" in desk.run(operator, "control", "show")
        assert "1 dead letters" in desk.run(letters, "dead-letters", "list")
        assert "redriven 1" in desk.run(letters, "dead-letters", "redrive", "--all")
        found = json.loads(desk.run(worker, "doctor", "--model", str(models), "--json"))
        assert [] == [one for one in found["checks"] if one["state"] in ("wrong", "unknown")]
        look_on(desk, models, monkeypatch)
        play_reviewers(desk, operator, models)
        assert 0 == running.terminate()
        desk.printed.append(running.log.read_text())
        denied = [line for line in running.lines() if "lacks" in str(line)]
    assert [] == denied
    to = ("--broker", cluster.bootstrap, "--model", str(models))
    desk.run(trial, "demo", *to, *("--limit", "40", "--rate", "40", "--delivery", "exactly_once"))
    desk.run(trial, "stress", *to, *("--requests", "500", "--kills", "0", "--rebalances", "1"))
    everything = "\n".join(desk.printed)
    assert "SASL_SSL" in everything
    assert [] == [user for user, password in cluster.passwords.items() if password in everything]


def look_on(desk: Desk, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read beside a worker, each by a user of its own: the console, tap, explain, training's, the autoscaler's."""
    cluster = desk.cluster
    users = {role: cluster.user(role.replace(" ", "-"), *needed(role)) for role in ("console", "tap", "explain")}
    users |= {role: cluster.user(role.replace(" ", "-"), *needed(role)) for role in ("evaluate", "models promote")}
    reviewer = Producer(cluster.client(cluster.user("reviewer", *needed("reviewers' tool"))))
    for item in ITEMS:
        judged = {"request_id": item.request_id, "policy": item.policy, "outcome": item.label}
        reviewer.produce(TOPICS["human_decisions"].name, json.dumps(judged), item.request_id.encode())
    assert 0 == reviewer.flush(30)

    seen = desk.ask(users["tap"], "tap", "--since", "10m", "--until-now", "--dead-letters", "--json").splitlines()
    assert (len(ITEMS), True) == (sum('"decision"' in one for one in seen), len(seen) > len(ITEMS))
    told = json.loads(desk.ask(users["explain"], "explain", IDS[0], "--model", str(models), "--json"))
    roles = {one["role"] for one in told["history"]["events"]}
    assert {"requests", "responses", "vectors", "human_decisions"} < roles
    assert not told["history"]["unread"]
    assert told["decision"] is not None
    monkeypatch.setitem(reckon.__kwdefaults__ or {}, "replicates", 20)
    assert "AUROC" in desk.ask(users["evaluate"], "evaluate", "--from-topics", "--model", str(models))
    with TemporaryDirectory() as folder:
        own = shutil.copytree(models, Path(folder) / "models")
        candidate = add_model(own, *single_estimator_model("entropy")).name
        command = ("models", "promote", candidate[:12], "--from-topics", "--model", str(own))
        said = desk.ask(users["models promote"], *command, expected=None)
        assert "No label of answers that neither model was trained on stands for what is automated" in said

    settings = load_settings({"topic_prefix": PREFIX}, environ=cluster.environment(users["console"]))
    feed = Feed(settings, COSTS)
    feed.start()
    try:
        wait_until(lambda: everything_known(feed.state()))
    finally:
        feed.close()
    asks = AdminClient(cluster.client(cluster.user("autoscaler", *needed("autoscaler"))))
    ends = {TopicPartition(TOPICS[role].name, 0): OffsetSpec.latest() for role in ("requests", "responses")}
    assert all(one.result(30).offset > 0 for one in asks.list_offsets(ends).values())
    group = asks.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group_name(SETTINGS))])
    assert all(one.error is None for done in group.values() for one in done.result(30).topic_partitions)


def play_reviewers(desk: Desk, operator: str, models: Path) -> None:
    """More traffic, judged, beside a shadow; then the shadow looked at, and a bound certified on the audits, each by a user of its own."""
    cluster = desk.cluster
    roles = ("replay", "control show-shadow", "control set-risk-bound")
    users = {role: cluster.user(role.replace(" ", "-"), *needed(role)) for role in roles}
    for change in (["set-threshold", "0.9"], ["set-audit-rate", "1"], ["set-shadow", "--threshold", "0.3"]):
        desk.ask(operator, "control", *change)
    replay = ("replay", str(RECORDING), "--judge", "--limit", "20", "--first")
    assert "decided       20 of 20" in desk.ask(users["replay"], *replay, "40")
    shown = json.loads(desk.ask(users["control show-shadow"], "control", "show-shadow", "--json"))
    assert (0, 20) == (shown["without"], shown["rows"][0]["decisions"])
    command = ["set-risk-bound", "--from-topics", "--max-risk", "0.9", "--confidence", "0.5", "--model", str(models)]
    assert "in force" in desk.ask(users["control set-risk-bound"], "control", *command)
    judging = Right("Write", "topic", TOPICS["human_decisions"].name)
    cluster.take(users["replay"], judging)
    said = desk.ask(users["replay"], *replay, "60", expected=None)
    assert f"lacks the right to {judging.text}" in said


def everything_known(state: State) -> bool:
    """Whether each thing that the console shows was read, and nothing was in the way."""
    assert state.contact.problem is None, state.contact.problem
    known = (state.lag.records, state.request_latency, state.response_latency, state.controls, state.letters.counted)
    return bool(state.workers and state.partitions and sum(one.decisions for one in state.routes)) and None not in known


@pytest.mark.parametrize("lost", ["dead_letter", "control_status", "requests"])
def test_the_console_shows_what_may_be_read(cluster: Secured, lost: str) -> None:
    """A right that is missing takes away what needs it, and is named; nobody is said to be down for it."""
    rest = (one for one in needed("console") if one.name != TOPICS[lost].name)
    user = cluster.user(f"console-without-{lost}", *rest)
    feed = Feed(load_settings({"topic_prefix": PREFIX}, environ=cluster.environment(user)), COSTS)

    def is_shown() -> bool:
        state = feed.state()
        problem = state.contact.problem or ""
        named = "lacks the right to" in problem and TOPICS[lost].name in problem
        known = (bool(state.partitions), state.contact.hears, state.controls is not None)
        heard = lost != "control_status"
        return named and known == (lost != "requests", heard, heard)

    feed.start()
    try:
        wait_until(is_shown)
        words = [one.word for one in feed.state().findings]
    finally:
        feed.close()
    assert "blind in part" in words
    assert lost != "control_status" or "down" not in words


@pytest.mark.parametrize(
    ("role", "command"),
    [
        ("tap", ["tap", "--until-now", "--dead-letters"]),
        ("evaluate", ["evaluate", "--from-topics"]),
        ("control plan-audits", ["control", "plan-audits", "10"]),
        ("control show-shadow", ["control", "show-shadow"]),
    ],
)
def test_what_a_reader_lacks_is_named(cluster: Secured, models: Path, role: str, command: list[str]) -> None:
    """Each right of the table is needed, where topics may be seen."""
    desk, more = Desk(cluster), ["--model", str(models)] if role == "evaluate" else []
    user = cluster.user(f"short-of-{role.replace(' ', '-')}", *DESCRIBED, *needed(role))
    if role == "control show-shadow":  # one that there is
        desk.ask(ADMIN, "control", "set-shadow", "--threshold", "0.3", "--wait", "0", expected=None)
    for right in needed(role):
        cluster.take(user, right)
        wait_until(lambda: f"lacks the right to {right.text}" in desk.ask(user, *command, *more, expected=None))  # noqa: B023 - called at once
        cluster.grant(user, right)


def examined(cluster: Secured, user: str, models: Path, *more: str) -> tuple[int, list[dict[str, Any]]]:
    arguments = ["doctor", "--topic-prefix", PREFIX, "--model", str(models), "--json", *more]
    result = CliRunner().invoke(main, arguments, env=cluster.environment(user))
    return result.exit_code, json.loads(result.stdout)["checks"]


@pytest.mark.parametrize("given", [[], DESCRIBED], ids=["nothing", "only Describe"])
def test_doctor_names_each_right_that_a_worker_lacks(cluster: Secured, models: Path, given: Sequence[Right]) -> None:
    """With the command that gives it, and never says that topics are missing which may not be seen."""
    user = cluster.user(f"poor-{len(given)}", *given)
    code, checks = examined(cluster, user, models)
    access = {one["about"] for one in checks if one["check"] == "access" and one["state"] in ("wrong", "warning")}
    optional = {right for right, need in NEEDED.items() if need.when == "moves"}
    named = {right for right in NEEDED if any(f"the right to {right.text} (" in about for about in access)}
    assert (1, set(NEEDED) - optional) == (code, named)
    mends = {one["mend"] for one in checks if one["check"] == "access"}
    assert any(
        f"--allow-principal User:{user} --operation Read --topic {TOPICS['requests'].name}" in one for one in mends
    )
    assert [] == [one for one in checks if "missing on" in one["about"]]


ON_TOPICS = [right for right, need in NEEDED.items() if right.kind == "topic" and need.when in ("always", *WORSE)]


@pytest.mark.parametrize("right", ON_TOPICS, ids=lambda right: right.text)
def test_a_worker_names_the_right_that_it_lacks(
    cluster: Secured, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, right: Right
) -> None:
    """At its start, before there is a record that it could not write; it refuses to start where it could not go on."""
    user = cluster.user(f"lacks-{ON_TOPICS.index(right)}", *DESCRIBED, *(one for one in NEEDED if one != right))
    for name, value in cluster.environment(user).items():
        monkeypatch.setenv(name, value)
    settings = load_settings({"topic_prefix": PREFIX})
    if NEEDED[right].when == "always":
        with pytest.raises(DeniedError, match=f"lacks the right to {re.escape(right.text)} "):
            check_for_worker(settings, TOPICS)
    else:
        check_for_worker(settings, TOPICS)
        assert f"lacks the right to {right.text} (" in caplog.text


@pytest.mark.parametrize(
    ("kind", "named"),
    [("group", "Read the group sec.secondlook"), ("transactional-id", "Write the transactional id sec.")],
)
def test_what_no_topic_tells_is_named_when_it_is_met(
    cluster: Secured, models: Path, monkeypatch: pytest.MonkeyPatch, kind: str, named: str
) -> None:
    """The worker ends, with one line."""
    user = cluster.user(f"no-{kind}", *(one for one in NEEDED if one.kind != kind))
    with Desk(cluster).worker(monkeypatch, user, models) as running:
        assert 1 == running.wait(60)
        (last,) = [line["message"] for line in running.lines() if line.get("level") == "critical"]
    assert f"this user lacks the right to {named}" in last


def test_a_control_topic_that_may_not_be_read_any_more_closes_automation_until_it_may(
    cluster: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in force is not known then; the reason names the right."""
    monkeypatch.setattr(control_reader, "_CHECK_EVERY", 0.2)
    monkeypatch.setattr(control_reader, "_CHECK_UNREADABLE_EVERY", 0.5)
    right = Right("Read", "topic", TOPICS["control"].name)
    user = cluster.user("follower", *DESCRIBED, *NEEDED)
    for name, value in cluster.environment(user).items():
        monkeypatch.setenv(name, value)
    settings, names, clock = load_settings({"topic_prefix": PREFIX}), topic_names(TOPICS), BrokerClock()
    status = StatusWriter(settings, names, "follower", clock)
    reader = ControlReader(settings, names, Baseline(Model(), 0.4), Shelf(), status, clock)  # type: ignore[arg-type]
    reader.start()
    try:
        assert "lacks" not in str(reader.current.problem)
        cluster.take(user, right)
        wait_until(lambda: "lacks the right to Read sec.moderation.control" in str(reader.current.problem))
        cluster.grant(user, right)
        wait_until(lambda: "lacks" not in str(reader.current.problem))
    finally:
        reader.close()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def said(*arguments: str) -> str:
    """The one line of a command that fails."""
    result = CliRunner().invoke(main, ["control", "show", *arguments], env={})
    assert 1 == result.exit_code
    assert 1 == len(result.output.splitlines()), result.output
    return result.output


def test_what_keeps_a_client_out_is_told_apart(cluster: Secured, tmp_path: Path) -> None:
    """Plaintext to a TLS port, a CA that is not known, a wrong password, another mechanism: each in one line, by what mends it."""
    (tmp_path / "password").write_text("wrong")
    other = write_certificates(tmp_path)
    broker = ("--broker", cluster.bootstrap)
    tls = (
        "-X",
        "security.protocol=SASL_SSL",
        "-X",
        "sasl.username=admin",
        "-X",
        f"sasl.password.file={tmp_path}/password",
    )
    scram, plain = ("-X", "sasl.mechanism=SCRAM-SHA-512"), ("-X", "sasl.mechanism=PLAIN")
    trusted, strange = ("-X", f"ssl.ca.location={cluster.ca}"), ("-X", f"ssl.ca.location={other}")
    assert "the port hangs up: it speaks TLS" in said(*broker)
    assert "ssl.ca.location" in said(*broker, *tls, *scram, *strange)
    assert "the broker refuses the login" in said(*broker, *tls, *scram, *trusted)
    assert "does not take this sasl.mechanism" in said(*broker, *tls, *plain, *trusted)

"""The topics' definition, and checking topics by plain metadata on the embedded broker."""

import dataclasses
import socket
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from streams.cli.main import main
from streams.errors import BrokerError, TopicError
from streams.kafka import topics as topics_module
from streams.kafka.topics import (
    CO_PARTITIONED,
    Topic,
    check_configs,
    check_topics,
    create_topics,
    load_topics,
    other_than_wanted,
)
from streams.trials.brokers import EmbeddedBroker


def with_partitions(**counts: int) -> dict[str, Topic]:
    """Return the defined topics with other partition counts for some keys."""
    return {
        key: dataclasses.replace(topic, partitions=counts.get(key, topic.partitions))
        for key, topic in load_topics().items()
    }


def problems(topics: Mapping[str, Topic]) -> list[str]:
    """Return what is wrong on a broker that has these topics."""
    with EmbeddedBroker(topics.values()) as broker:
        return check_topics({"bootstrap.servers": broker.bootstrap}, load_topics())


def test_definition_is_sound() -> None:
    """The defined topics pass the check they are made for."""
    assert problems(load_topics()) == []


def test_co_partitioned_topics_are_defined_equal() -> None:
    """Requests, responses and their changelog are defined with one number of partitions."""
    topics = load_topics()
    assert len({topics[key].partitions for key in CO_PARTITIONED}) == 1


def test_control_log_keeps_every_message() -> None:
    """The control log is neither compacted nor ever expired."""
    config = load_topics()["control"].config
    assert (config["cleanup.policy"], config["retention.ms"]) == ("delete", "-1")


def test_prefix() -> None:
    """A prefix comes before every name and changes nothing else."""
    plain, prefixed = load_topics(), load_topics("eu.")
    assert {key: dataclasses.replace(topic, name="eu." + topic.name) for key, topic in plain.items()} == prefixed


def test_another_number_of_partitions_than_wanted() -> None:
    """Fewer: how to add some, and what that does to matching. More: that it stays so. As many: nothing."""
    wanted = with_partitions(**dict.fromkeys(CO_PARTITIONED, 8))
    counts = {key: topic.partitions for key, topic in wanted.items()}
    assert other_than_wanted(wanted, counts, "b:1") == []
    (fewer,) = other_than_wanted(wanted, {**counts, "requests": 4, "pending": 4}, "b:1")
    assert fewer.startswith("moderation.requests has 4 partitions, secondlook.pending has 4 partitions, not 8: left as")
    assert "--bootstrap-server b:1 --alter --topic secondlook.pending --partitions 8 and start" in fewer
    assert "llm.responses" not in fewer
    assert "never meet" in fewer
    (more,) = other_than_wanted(wanted, {**counts, "responses": 12}, "b:1")
    assert "llm.responses has 12 partitions, not 8: left as they are, Kafka can't take partitions away" == more


def test_creating_says_what_is_left_as_it_is() -> None:
    """Asked for more partitions than topics have that exist, the command says so; unasked, it only shows how many there are."""
    with EmbeddedBroker(load_topics().values()) as broker:
        runner, command = CliRunner(), ["topics", "create", "--broker", broker.bootstrap]
        plain, more = runner.invoke(main, command), runner.invoke(main, [*command, "--partitions", "8"])
    assert (0, "") == (plain.exit_code, plain.stderr)
    assert "exists   llm.responses  4 partitions  " in plain.stdout
    assert (0, plain.stdout) == (more.exit_code, more.stdout)
    assert more.stderr.startswith("warning: moderation.requests has 4 partitions, ")


def test_missing_topics() -> None:
    """Missing topics are one problem that names them and the command that creates them."""
    present = {key: topic for key, topic in load_topics().items() if key not in ("vectors", "control")}
    (problem,) = problems(present)
    assert ": lpp.vectors, moderation.control. Mend it: secondlook topics create --broker 127.0.0.1:" in problem


def test_missing_topics_with_a_prefix() -> None:
    """The command that creates missing topics repeats the prefix."""
    with EmbeddedBroker() as broker:
        (problem,) = check_topics({"bootstrap.servers": broker.bootstrap}, load_topics("eu."))
    assert problem.endswith(" --topic-prefix eu.")


def test_unequal_partition_counts() -> None:
    """Unequal counts are one problem that gives every count and the commands that mend it."""
    (problem,) = problems(with_partitions(requests=6))
    assert "moderation.requests has 6, llm.responses has 4, secondlook.pending has 4" in problem
    assert "--alter --topic llm.responses --partitions 6" in problem
    assert "--alter --topic secondlook.pending --partitions 6" in problem


def test_other_equal_partition_counts() -> None:
    """Any number of partitions is fine as long as it is the same for all three."""
    assert problems(with_partitions(requests=7, responses=7, pending=7)) == []


def test_control_with_several_partitions() -> None:
    """Control messages spread over partitions have no order, so that is a problem."""
    (problem,) = problems(with_partitions(control=3))
    assert "moderation.control has 3 partitions" in problem


def test_no_broker() -> None:
    """An address where nothing listens is an error that repeats the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(BrokerError, match=address):
        check_topics({"bootstrap.servers": address}, load_topics(), timeout=0.5)


def test_settings_that_a_broker_does_not_tell() -> None:
    """Settings can't be checked on a broker without DescribeConfigs, and the error says so."""
    with EmbeddedBroker() as broker, pytest.raises(TopicError, match="did not tell the settings"):
        check_configs({"bootstrap.servers": broker.bootstrap}, load_topics(), max_record_bytes=1, timeout=1)


def test_created_topics_are_waited_for_on_every_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that learns of new topics later than the others may be the first that a worker asks."""
    wanted = load_topics()
    known: dict[str, int] = {"one:1": 0, "two:2": -3}  # questions until each shows what was created
    created: list[str] = []

    class Done:
        def result(self, timeout: float) -> None:
            assert timeout > 0

    class Admin:
        def __init__(self, address: str) -> None:
            self.address = address

        def list_topics(self, timeout: float) -> SimpleNamespace:
            assert timeout > 0
            topics = {}
            if created:
                known[self.address] += 1
                if known[self.address] > 0:
                    topics = {
                        one.name: SimpleNamespace(partitions=range(one.partitions), error=None)
                        for one in wanted.values()
                    }
            brokers = [address.split(":") for address in known]
            return SimpleNamespace(
                topics=topics, brokers=dict(enumerate(SimpleNamespace(host=host, port=port) for host, port in brokers))
            )

        def create_topics(self, requests: list[Any], request_timeout: float) -> dict[str, Done]:
            assert request_timeout > 0
            created.extend(one.topic for one in requests)
            return {one.topic: Done() for one in requests}

    def admin(conf: Mapping[str, Any]) -> Admin:
        return Admin(conf["bootstrap.servers"].split(",")[0])

    monkeypatch.setattr(topics_module, "_admin", admin)
    monkeypatch.setattr(topics_module, "metadata", lambda conf, timeout: admin(conf).list_topics(timeout=timeout))
    monkeypatch.setattr(topics_module, "denied_topics", lambda *_: [])
    assert sorted(create_topics({"bootstrap.servers": "one:1,two:2"}, wanted)) == sorted(created)
    assert known["two:2"] == 1

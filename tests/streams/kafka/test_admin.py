"""Questions to the brokers that nobody answers, not even the client's own clock."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaException, TopicPartition

from streams.errors import BrokerError
from streams.kafka import admin as module
from streams.kafka.admin import delete_records, group_members, topic_ids

OPEN = TopicPartition("pending", 0, 5)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An admin client whose answers do not come: a process that was stopped for a while meets that when it goes on."""
    monkeypatch.setattr(module, "_TIMEOUT", -0.99)

    def nothing(asked: Any, **_options: Any) -> dict[Any, Future[Any]]:
        names = ["t"] if asked.__class__.__name__ == "TopicCollection" else asked
        return {name: Future() for name in names}

    metadata = SimpleNamespace(controller_id=1, brokers={1: None})
    return SimpleNamespace(
        list_topics=lambda timeout: metadata,  # noqa: ARG005 - as the client's
        describe_topics=nothing,
        delete_records=nothing,
        describe_consumer_groups=nothing,
    )


def test_an_answer_that_does_not_come_is_a_broker_that_is_away(silent: Any) -> None:
    """Each is met as one: what asks again by itself goes on, and what ends a worker has words."""
    with pytest.raises(KafkaException):
        topic_ids(silent, ["t"])
    assert not delete_records(silent, {OPEN: 5})
    with pytest.raises(BrokerError, match=r"cannot tell whether group 'g' is at work: .*[Tt]imed out"):
        group_members(silent, "g")

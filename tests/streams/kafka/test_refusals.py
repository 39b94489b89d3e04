"""What a topic that is missing, or that may not be used, is told as: in one line, with what to do."""

import pytest
from confluent_kafka import KafkaError

from streams.kafka.reading import refusal, unreadable
from streams.settings import load_settings


@pytest.mark.parametrize(
    "code", [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION]
)
def test_what_is_missing_is_told_with_the_command_that_makes_it(code: int) -> None:
    """A topic that may not be described looks the same to the client, so that is said too."""
    settings = load_settings({"broker": "kafka:9092", "topic_prefix": "eu."}, environ={})
    said = refusal(KafkaError(code), settings)
    assert "secondlook topics create --broker kafka:9092 --topic-prefix eu." in said
    assert "right to Describe" in said


def test_what_may_not_be_used_is_told_with_the_right_that_it_takes() -> None:
    """Anything else is the client's own word."""
    settings = load_settings({}, environ={})
    denied, other = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), KafkaError(KafkaError._TIMED_OUT)
    assert "cannot read eu.control: this user lacks the right to Read it" == str(unreadable("eu.control", denied))
    assert other.str() in str(unreadable("eu.control", other))
    assert ("this user lacks the right to do that", other.str()) == (
        refusal(denied, settings),
        refusal(other, settings),
    )

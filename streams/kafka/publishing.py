"""Writing a control message."""

from typing import Any

from confluent_kafka import Producer

from streams.errors import BrokerError
from streams.kafka.clients import base_config, topic_names
from streams.kafka.topics import load_topics
from streams.pipeline.control_messages import ControlMessage, encode_control, parse_control
from streams.pipeline.control_signing import HEADER, sign
from streams.settings import Settings

_TIMEOUT = 10.0


def publish_control(settings: Settings, message: ControlMessage, private_key: bytes | None = None) -> int:
    """Write a control message, signed if there is a raw private key to sign it with; returns its offset.

    Raises ControlError on a message that no worker would take, BrokerError when it can't be written.
    """
    value = encode_control(message)
    parse_control(value)
    delivered: list[Any] = []
    producer = Producer(base_config(settings))
    topic = topic_names(load_topics(settings.topic_prefix))["control"]
    headers: dict[str, str | bytes | None] = {}
    if private_key is not None:
        headers[HEADER] = sign(private_key, topic, value)
    producer.produce(
        topic, value, headers=headers, on_delivery=lambda error, record: delivered.append(error or record.offset())
    )
    producer.flush(_TIMEOUT)
    if not delivered or not isinstance(delivered[0], int):
        why = delivered[0].str() if delivered else f"no answer within {_TIMEOUT:g} s"
        raise BrokerError(f"the control message could not be written to {topic} on {settings.broker}: {why}")
    return delivered[0]

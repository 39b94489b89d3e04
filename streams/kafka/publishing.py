"""Writing a control message."""

from confluent_kafka import KafkaError, Message, Producer

from streams.errors import BrokerError
from streams.kafka.clients import base_config
from streams.kafka.topics import existing_partitions, load_topics, topic_names
from streams.kafka.troubles import failed
from streams.pipeline.control_messages import ControlMessage, encode_control, parse_control
from streams.pipeline.control_signing import HEADER, sign
from streams.settings import Settings

_TIMEOUT = 10.0


def publish_control(settings: Settings, message: ControlMessage, private_key: bytes | None = None) -> int:
    """Write a control message, signed if there is a raw private key to sign it with; returns its offset.

    Raises ControlError on a message that no worker would take, BrokerError or TopicError when it can't be written.
    """
    value = encode_control(message)
    parse_control(value)
    delivered: list[KafkaError | int] = []

    def on_delivery(error: KafkaError | None, record: Message) -> None:
        delivered.append(error or record.offset() or 0)

    limits = {"message.max.bytes": settings.max_record_bytes, "compression.type": "lz4"}  # a snapshot may be large
    producer = Producer({**base_config(settings), **limits})
    topic = topic_names(load_topics(settings.topic_prefix))["control"]
    headers: dict[str, str | bytes | None] = {}
    if private_key is not None:
        headers[HEADER] = sign(private_key, topic, value)
    producer.produce(topic, value, headers=headers, on_delivery=on_delivery)
    producer.flush(_TIMEOUT)
    answer = delivered[0] if delivered else None
    if isinstance(answer, int):
        return answer
    raise _unwritten(topic, answer, settings)


def _unwritten(topic: str, error: KafkaError | None, settings: Settings) -> BrokerError:
    doing = f"the control message could not be written to {topic} on {settings.broker}"
    if error is None:  # the client waits for a topic that is not there as for a broker
        existing_partitions(base_config(settings), {"control": load_topics(settings.topic_prefix)["control"]})
        return BrokerError(
            f"no answer within {_TIMEOUT:g} s: the control message may have been written to {topic} on {settings.broker} all the same: "
            "secondlook control history says so"
        )
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return BrokerError(f"{doing}: it is larger than the topic takes: raise its max.message.bytes")
    return failed(doing, error, f"Write {topic}")

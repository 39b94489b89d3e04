"""The models topic: by which models reach every worker. Named by the sha256 of their bytes, they need no other trust."""

import hashlib
from collections.abc import Collection
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from scoring import ModelError
from streams.errors import BrokerError
from streams.kafka.clients import producer_config
from streams.kafka.reading import read_once, watermarks
from streams.kafka.topics import BATCH_FRAMING, load_topics, topic_names
from streams.kafka.troubles import told
from streams.pipeline.model_chunks import CHUNK, LARGEST, Chunks, split
from streams.settings import Settings

_TIMEOUT: Final = 30.0


def models_topic(settings: Settings) -> str:
    """Its name on the broker."""
    return topic_names(load_topics(settings.topic_prefix))["models"]


def read_models(settings: Settings, wanted: Collection[str] | None = None) -> Chunks:
    """What the topic holds now of the wanted models, or of all. Raises BrokerError."""
    topic = models_topic(settings)
    low, high = watermarks(settings, topic, [0])[0]
    found = Chunks(wanted)
    for message in read_once(settings, topic, {0: high}, {0: low}):
        found.take(message.key(), message.value())
    return found


def push_model(settings: Settings, onnx: bytes) -> None:
    """Write a model's chunks, and read them back. Raises BrokerError where that is not the same, ModelError on a model too large."""
    if len(onnx) > LARGEST:
        raise ModelError(
            f"the model has {len(onnx) / 2**20:.1f} MiB; by {models_topic(settings)} go at most {LARGEST >> 20}. Copy its folder into "
            "every worker's model directory instead"
        )
    topic, problems = models_topic(settings), []

    def stored(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            problems.append(told(error, f"Write {topic}"))

    producer = Producer(producer_config(settings))
    for key, value in split(onnx, max(1, min(CHUNK, settings.max_record_bytes - BATCH_FRAMING))):
        producer.produce(topic, value, key, on_delivery=stored)
    if producer.flush(_TIMEOUT):
        problems.append(f"no answer within {_TIMEOUT:g} s")
    sha256 = hashlib.sha256(onnx).hexdigest()
    if not problems and read_models(settings, [sha256]).whole(sha256) is None:
        problems.append("what is read back is not the same")
    if problems:
        raise BrokerError(f"the model could not be written to {topic} on {settings.broker}: {problems[0]}")

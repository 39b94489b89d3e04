"""The control topic read from its beginning, for commands: what is in force, and how it came to be."""

from collections.abc import Collection
from dataclasses import dataclass, field

from confluent_kafka import Consumer

from streams.kafka.clients import reader_config
from streams.kafka.control_keys import load_trust
from streams.kafka.reading import broker_stamp, read_to_end, signature, watermarks
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.control_content import NOTHING_SAID, Content
from streams.pipeline.control_log import ControlLog, Taken
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class History:
    """The log as it stands: its fold, what became of each message, and what was in force at the versions asked for."""

    log: ControlLog
    taken: dict[int, Taken] = field(default_factory=dict)
    at_version: dict[int, Content] = field(default_factory=dict)

    def of_version(self, version: int) -> Taken | None:
        """The message that made a version; None for version 0."""
        return self.taken.get(version - 1)


def read_history(
    settings: Settings, versions: Collection[int] = (), *, on: History | None = None, at_least: int = 0
) -> History:
    """Fold the control topic up to its end, which is at `at_least` or later; `on` from where an earlier reading ended.

    Raises BrokerError.
    """
    topic = topic_names(load_topics(settings.topic_prefix))["control"]
    low, high = watermarks(settings, topic, [0])[0]
    history = on or History(ControlLog(load_trust(settings)))
    history.at_version[0] = NOTHING_SAID
    consumer = Consumer(reader_config(settings))
    try:
        for message in read_to_end(consumer, topic, {0: max(high, at_least)}, {0: max(low, history.log.position)}):
            one = history.log.take(message.offset(), broker_stamp(message), message.value(), signature(message))
            history.taken[one.offset] = one
            if history.log.version in versions:
                history.at_version[history.log.version] = history.log.content
    finally:
        consumer.close()
    return history

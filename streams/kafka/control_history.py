"""The control topic read from its beginning, for commands: what is in force, and how it came to be."""

from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field

from confluent_kafka import Consumer

from streams.kafka.clients import Consumed, control_reader_config
from streams.kafka.control_keys import load_trust
from streams.kafka.reading import broker_stamp, read_to_end, signature, watermarks
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.control_content import NOTHING_SAID, Content
from streams.pipeline.control_log import ControlLog, Taken, taken_before
from streams.pipeline.control_messages import Snapshot
from streams.settings import Settings


@dataclass(slots=True)
class History:
    """The log as it stands: its fold, what became of each message, and what was in force at the versions asked for.

    A log that begins with a snapshot has those messages and versions from before it that the snapshot holds.
    """

    log: ControlLog
    taken: dict[int, Taken] = field(default_factory=dict)
    at_version: dict[int, Content] = field(default_factory=dict)
    end: int = 0
    """The offset at which the next message will stand, if nothing comes before it."""

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
    high = max(high, at_least)
    if on is None or not low <= on.log.position <= high:  # it was cut, or made anew, behind an earlier reading
        on = History(ControlLog(load_trust(settings), low))
    on.at_version[0] = NOTHING_SAID
    with closing(Consumer(control_reader_config(settings))) as consumer:
        for message in read_to_end(consumer, topic, {0: high}, {0: on.log.position or low}):
            _take(on, message, versions)
    on.end = max(high, on.log.position)
    return on


def _take(history: History, message: Consumed, versions: Collection[int]) -> None:
    log = history.log
    was_whole = log.is_whole
    one = log.take(message.offset(), broker_stamp(message), message.value(), signature(message))
    if log.is_whole and not was_whole and isinstance(one.message, Snapshot):
        history.taken |= {past.offset: taken_before(past) for past in one.message.messages}
        history.at_version.update(log.versions)
    history.taken[one.offset] = one
    if log.version in versions:
        history.at_version[log.version] = log.content

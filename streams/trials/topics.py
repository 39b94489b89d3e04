"""Topics that a trial makes for itself, on any cluster."""

import contextlib
from collections.abc import Iterator

from confluent_kafka.admin import AdminClient

from streams.kafka.clients import admin_config, base_config
from streams.kafka.topics import create_topics, load_topics
from streams.settings import Settings

_DELETION_TIMEOUT = 30


@contextlib.contextmanager
def own_topics(settings: Settings) -> Iterator[None]:
    """Make the topics of the settings' prefix, and remove them afterwards."""
    topics = load_topics(settings.topic_prefix)
    create_topics(base_config(settings), topics)
    try:
        yield
    finally:
        admin = AdminClient(admin_config(base_config(settings)))  # must outlive the answers
        for deleted in admin.delete_topics([topic.name for topic in topics.values()]).values():
            deleted.result(_DELETION_TIMEOUT)

"""Reading from and writing to Kafka. Listed here are the topics, which a program beside the workers needs too."""

from streams.kafka.topics import Topic, create_topics, load_topics

__all__ = ["Topic", "create_topics", "load_topics"]

"""Brokers to run against: embedded, and a real local Kafka."""

from streams.trials.brokers.embedded import EmbeddedBroker
from streams.trials.brokers.local_kafka import LocalKafka, Security, free_ports

__all__ = ["EmbeddedBroker", "LocalKafka", "Security", "free_ports"]

"""Brokers to run against: embedded, and a real local Kafka."""

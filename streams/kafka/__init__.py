"""Reading from and writing to Kafka."""

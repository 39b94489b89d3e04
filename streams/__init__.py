"""The stream: Kafka records in, a decision for each request out, and what operates and tries out the worker that does it."""

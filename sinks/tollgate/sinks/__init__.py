"""The processes that take the worker's outputs out of Kafka."""

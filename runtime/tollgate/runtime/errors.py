"""What reaching another process may end with."""


class KafkaUnreachableError(Exception):
    """Kafka did not answer in time, lacks a topic, or refuses. The text is one sentence that says what to do."""

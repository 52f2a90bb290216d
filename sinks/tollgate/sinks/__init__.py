"""The processes that deliver the worker's outputs from Kafka to ClickHouse and Slack."""

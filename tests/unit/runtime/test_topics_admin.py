"""A cluster whose brokers learn of a new topic one after another."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from tollgate.runtime.topics_admin import _configs


class Admin:
    """Answers in place of aiokafka's client: each time with the error codes of the topics that are asked about."""

    def __init__(self, *codes: dict[str, int]) -> None:
        self._codes = list(codes)
        self.asked: list[list[str]] = []

    async def describe_configs(self, resources: list[Any]) -> list[Any]:
        names = [resource.name for resource in resources]
        self.asked.append(names)
        codes = self._codes.pop(0)
        entries: list[Any] = [("retention.ms", "1000", False, 1, False, [])]
        return [SimpleNamespace(resources=[(codes.get(name, 0), None, 2, name, entries) for name in names])]


async def test_a_topic_that_a_broker_has_not_heard_of_is_asked_for_again_and_no_other() -> None:
    admin = Admin({"new": UnknownTopicOrPartitionError.errno}, {})
    known = {"retention.ms": ("1000", 1)}
    assert await _configs(admin, ["old", "new"]) == {"old": known, "new": known}
    assert admin.asked == [["old", "new"], ["new"]]


async def test_another_error_is_told_at_once() -> None:
    admin = Admin({"new": TopicAuthorizationFailedError.errno})
    with pytest.raises(TopicAuthorizationFailedError, match="Cannot describe new"):
        await _configs(admin, ["new"])
    assert len(admin.asked) == 1

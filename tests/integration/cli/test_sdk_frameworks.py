"""A service on a web framework with the real client: a flag in Kafka blocks its requests, and its usage gets there."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from tests.integration.cli.conftest import records_of
from tests.integration.cli.test_reading import flag_value
from tests.support.web_servers import serving_asgi
from tests.waiting import wait_until

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.sdk import AsyncTollgate
from tollgate.sdk.asgi import TollgateMiddleware, user_from_header
from tollgate.sdk.otel import TollgateSpanProcessor
from tollgate.sdk.tracking import track

pytestmark = pytest.mark.integration

SPAN: dict[str, Any] = {
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 12,
}


def service(toll: AsyncTollgate) -> FastAPI:
    app = FastAPI()
    app.add_middleware(TollgateMiddleware, toll=toll, names=user_from_header("x-user"))
    traces = TracerProvider(shutdown_on_exit=False)
    traces.add_span_processor(TollgateSpanProcessor(toll))

    @app.get("/chat")
    async def chat() -> str:
        with track(toll, provider="elevenlabs", model="v3", agent="narrator") as call:
            call.usage["characters"] = 5
        traces.get_tracer("chat").start_span("chat", attributes=SPAN).end()
        return "hello"

    return app


async def publish_flag(settings: Settings, scope: str) -> None:
    value = flag_value(scope, until="2099-01-01T00:00:00Z")
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        await producer.send_and_wait(settings.topic(Topic.FLAGS), value, key=scope.encode(), partition=3)


def test_a_flag_blocks_requests_and_usage_is_recorded(settings: Settings, tmp_path: Path) -> None:
    toll = AsyncTollgate(
        settings.kafka_bootstrap_servers, source="chat-api", topic_prefix=settings.topic_prefix, spool_dir=tmp_path
    )
    with serving_asgi(service(toll)) as address, httpx.Client(base_url=address) as client:

        def get(user: str) -> httpx.Response:
            return client.get("/chat", headers={"x-user": user})

        wait_until(lambda: toll.knowledge_age_ms is not None, what="reading the limits, from the start of the service")
        assert get("u1").status_code == 200
        asyncio.run(publish_flag(settings, "user/u1"))
        wait_until(lambda: get("u1").status_code == 429, what="the block")
        blocked = get("u1")
        assert (blocked.json()["error"], blocked.json()["scope"]) == ("usage_limit_exceeded", "user/u1")
        assert int(blocked.headers["retry-after"]) > 0
        assert get("u2").json() == "hello"
    assert asyncio.run(toll.flush())
    asyncio.run(toll.close())
    events = [json.loads(record.value or b"") for record in records_of(settings, Topic.USAGE)]
    used = [(event["data"]["model"], event["data"]["usage"]) for event in events if event["subject"] == "u2"]
    assert sorted(used) == [("gpt-4o", {"input_tokens": 12}), ("v3", {"characters": 5})]

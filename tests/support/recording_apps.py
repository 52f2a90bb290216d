"""Services that record with one client of the process: a WSGI app, an ASGI app and a Celery app.

The environment says where events go, and which prefix their topic has (`TEST_TOPIC_PREFIX`). The client is made, and
has recorded, before any server forks.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery

from tollgate.sdk import AsyncTollgate, Tollgate

PREFIX = os.environ["TEST_TOPIC_PREFIX"]
toll = Tollgate(source="sync", topic_prefix=PREFIX)
awaiting = AsyncTollgate(source="async", topic_prefix=PREFIX)


def record(client: Tollgate | AsyncTollgate, event_id: str) -> str:
    """One event of this id."""
    return client.record(user="u1", provider="openai", model="gpt-4o", usage={"input_tokens": 1}, id=event_id)


record(toll, f"import-{os.getpid()}")


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """`GET /<id>` records an event of this id, and answers the process."""
    record(toll, environ["PATH_INFO"][1:])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """The same, with a client that awaits; also with uvicorn's own start and end."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await awaiting.close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    record(awaiting, scope["path"][1:])
    # Nothing of the client's may be on this loop.
    names = {task.get_name() for task in asyncio.all_tasks() if "tollgate" in task.get_name()}
    await send({"type": "http.response.start", "status": 500 if names else 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


celery = Celery(broker=os.environ.get("TEST_CELERY_BROKER", "memory://"))
celery.conf.update(
    broker_transport_options={"control_folder": os.environ.get("TEST_CELERY_FOLDER", "control")}
    | {f"data_folder_{way}": os.environ.get("TEST_CELERY_FOLDER", "data") for way in ("in", "out")},
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


@celery.task  # type: ignore[untyped-decorator] # Celery ships no types
def work(event_id: str) -> int:
    """Record an event of this id."""
    record(toll, event_id)
    return os.getpid()

"""`GET /status`, and what probes and Prometheus ask: /live, /ready, /metrics."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from tollgate.console.access.callers import ANYONE, Caller, Role, allow
from tollgate.console.live.live import NAMES
from tollgate.console.metrics import Metrics
from tollgate.console.parts import TheParts
from tollgate.console.room import Room
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Instant

router = APIRouter()
probes = APIRouter()


class PartStatus(BaseModel):
    """Whether a part answers."""

    reachable: bool
    problem: str = Field("", description="one sentence when it does not")


class TopicStatus(BaseModel):
    """How old the knowledge of a topic is."""

    as_of: Instant | None = Field(description="everything written until then is known; null while nothing is read yet")
    stale: bool = Field(description="whether that is over 30 s ago")


class ProcessStatus(BaseModel):
    """One process of the embedded stack."""

    role: str = Field(examples=["worker-0"])
    pid: int | None
    state: str = Field(examples=["running"])
    restarts: int


class Status(BaseModel):
    """How the installation is. What is not known is null."""

    at: Instant = Field(description="when it was looked; at most 5 s before the answer")
    kafka: PartStatus
    clickhouse: PartStatus
    topics: dict[str, TopicStatus] = Field(description="`spend`, `flags`, `alerts` and `control` in memory")
    lag: dict[str, dict[str, dict[str, int]]] | None = Field(
        description="records behind by consumer group, topic and partition"
    )
    open_transactions: list[str] | None = Field(description="what is held up, by whom and for how long")
    written_to: Instant | None = Field(description="`updated_at` of the newest sum that ClickHouse has")
    processes: list[ProcessStatus] = Field(description="of the embedded stack in the data directory, if one runs")
    streams: int = Field(description="open streams of this process")
    skipped_records: dict[str, int] = Field(description="records of each topic that could not be read")
    scopes_complete: bool = Field(description="false when there are more shared scopes than are kept in memory")


@router.get("/status", operation_id="get_status", summary="Show health and lag")
async def show_status(parts: TheParts, _caller: Annotated[Caller, Depends(allow(Role.VIEWER))]) -> Status:
    """Whether Kafka and ClickHouse answer, how far behind each consumer is, what is held up, and what runs here."""
    found, live = await parts.health.look(), parts.live
    fresh = {name: live.freshness(name) for name in NAMES}
    lag = None
    if found.lag is not None:
        lag = {
            group: {topic: {str(partition): n for partition, n in behind.items()} for topic, behind in topics.items()}
            for group, topics in found.lag.items()
        }
    return Status(
        at=format_instant(found.at_ms),
        kafka=PartStatus(reachable=not found.kafka_problem, problem=found.kafka_problem),
        clickhouse=PartStatus(reachable=not found.clickhouse_problem, problem=found.clickhouse_problem),
        topics={
            name: TopicStatus(as_of=format_instant(one.as_of_ms) if one.as_of_ms else None, stale=one.stale)
            for name, one in fresh.items()
        },
        lag=lag,
        open_transactions=found.open_transactions,
        written_to=found.written_to,
        processes=[
            ProcessStatus(role=one.role, pid=one.pid, state=one.state, restarts=one.restarts) for one in found.processes
        ],
        streams=live.streams,
        skipped_records={topic.value: count for topic, count in live.ignored.by_topic.items()},
        scopes_complete=live.scopes_are_complete,
    )


@probes.get("/live", dependencies=[Depends(ANYONE)])
async def is_live() -> Response:
    """The process answers."""
    return Response("live\n", media_type="text/plain")


@probes.get("/ready", dependencies=[Depends(ANYONE)])
async def is_ready(parts: TheParts) -> Response:
    """The topics were read to their ends since the start. Afterwards the process is ready without Kafka too."""
    if parts.live.is_complete:
        return Response("ready\n", media_type="text/plain")
    return Response("reading the topics\n", status_code=503, media_type="text/plain", headers={"Retry-After": "1"})


@probes.get("/metrics", dependencies=[Depends(allow(Role.VIEWER))])
async def metrics(request: Request, parts: TheParts) -> Response:
    """Figures for Prometheus, which shows a token with the role viewer."""
    made: Metrics = request.app.state.metrics
    return Response(made.text(parts.live), media_type=made.content_type)


ROOM: Final = Room("status", api=router, pages=probes)

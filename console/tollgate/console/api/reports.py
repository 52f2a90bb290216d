"""`GET /reports/export`: reports of any size as CSV or JSON."""

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.access.restriction import restriction_of
from tollgate.console.api.asking import ANSWERS, ThisMonth
from tollgate.console.numbers import BadQuestionError, ReportFormat, ReportKey, file_name, report_keys
from tollgate.console.parts import TheParts
from tollgate.console.problems import Problem
from tollgate.console.room import Room

router = APIRouter(responses=ANSWERS)

_KEYS: Final = ", ".join(ReportKey)


@router.get(
    "/reports/export",
    operation_id="export_report",
    summary="Export a report",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The report, in parts. One that breaks off ends without its last chunk.",
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
            },
        }
    },
)
async def export(
    parts: TheParts,
    caller: Annotated[Caller, Depends(allow(Role.ANALYST))],
    within: ThisMonth,
    by: Annotated[
        str, Query(max_length=200, description=f"up to five of {_KEYS}, with commas between; event stands alone")
    ] = "day",
    format: Annotated[ReportFormat, Query(description="csv or json")] = ReportFormat.CSV,  # noqa: A002 # its public name
) -> StreamingResponse:
    """Costs, retail value, profit and usage of a range, grouped by time and names, or event by event.

    CSV is UTF-8 as RFC 4180 has it. A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    try:
        keys = report_keys([name.strip() for name in by.split(",") if name.strip()])
    except BadQuestionError as error:
        raise Problem(422, "invalid_request", f"by: {error}") from None
    document = parts.numbers.export(restriction_of(caller), keys, within.from_ms, within.to_ms, format)
    # Only when there is a first part is it known that the answer is a report.
    first = await anext(document)
    return StreamingResponse(
        _from(first, document),
        media_type=format.media_type,
        headers={
            "Content-Disposition": f'attachment; filename="{file_name(keys, within, format)}"',
            "Cache-Control": "no-store",
        },
    )


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part


ROOM: Final = Room("reports", api=router)

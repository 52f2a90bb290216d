"""An event of last month through Kafka, a worker and the sink: last month changes everywhere, this month nowhere."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from tests.integration.clickhouse.stream import shows, sink
from tests.support.usage import event
from tests.support.worker import latest, send, working
from tests.waiting import eventually

from tollgate.domain.windows import months_later, window_start
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import format_instant, to_ms
from tollgate.schemas.topics import Topic
from tollgate.schemas.vocabulary import WindowKind

pytestmark = pytest.mark.integration

MONTHS = (
    "SELECT window_start, spent_usd, events FROM spend FINAL WHERE scope = 'user/u1' AND window = 'month' ORDER BY 1"
)
USAGE = "SELECT toStartOfMonth(time) AS m, sum(cost_usd), count() FROM usage GROUP BY m ORDER BY m"


async def test_an_event_of_last_month_changes_last_month_everywhere(tables: Settings, tmp_path: Path) -> None:
    at = datetime.now(UTC)
    this_ms = window_start(WindowKind.MONTH, to_ms(at))
    last_ms = months_later(this_ms, -1)
    now, then = at.strftime("%Y-%m-%dT%H:%M:%SZ"), format_instant(this_ms - 1)
    this, last = (datetime.fromtimestamp(ms // 1000, UTC) for ms in (this_ms, last_ms))

    async def months() -> dict[str, tuple[str, int]]:
        found = (await latest(tables, Topic.SPEND)).values()
        mine = (v for v in found if v["scope"] == "user/u1" and v["window"]["kind"] == "month")
        return {v["window"]["start"]: (v["spent_usd"], v["events"]) for v in mine}

    with working(tables, tmp_path / "worker.log"):
        async with sink(tables):
            await send(tables, [event("now", "u1", time=now, data={"cost_usd": "3"})])
            await send(tables, [event("late", "u1", time=then, data={"cost_usd": "40"})])
            wanted = {format_instant(last_ms): ("40", 1), format_instant(this_ms): ("3", 1)}

            async def there() -> bool:
                return await months() == wanted

            await eventually(there, 60, f"months of {wanted}")
            await shows(tables, MONTHS, [(last, Decimal(40), 1), (this, Decimal(3), 1)], 60)
            await shows(tables, USAGE, [(last.date(), Decimal(40), 1), (this.date(), Decimal(3), 1)], 60)

"""An identity that returns after 35 days is counted again by the worker, and is another row of the view."""

import pytest
from tests.integration.clickhouse.stream import query

from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse import connect

pytestmark = pytest.mark.integration

DAY = 86_400
# By user: when each record of one identity came, in seconds, in the order of its offsets; and which of them count.
CAME = {
    "once": ([0], [0]),
    "at 35 days": ([0, 35 * DAY], [0]),
    "a second later": ([0, 35 * DAY + 1], [0, 35 * DAY + 1]),
    # It is counted from the record that was counted last: the 61st day, and not the 31st.
    "monthly": ([0, 31 * DAY, 61 * DAY, 92 * DAY, 97 * DAY], [0, 61 * DAY, 97 * DAY]),
    "twice each": ([0, 0, 36 * DAY, 36 * DAY], [0, 36 * DAY]),
    # The first was refused: the second is the first that counts.
    "refused": ([0, 10 * DAY, 36 * DAY, 46 * DAY], [10 * DAY, 46 * DAY]),
}


def test_an_entry_counts_again_after_35_days_and_not_before(tables: Settings) -> None:
    client = connect(tables)
    rows, offset = [], 0
    for user, (came, _) in CAME.items():
        for at in came:
            offset += 1
            partition = 1 if user == "refused" and at == 0 else 3
            rows.append(f"('tollgate.credit.v1', 'shop', 'bonus', '{user}', 5, {at}, {partition}, {offset})")
            if partition == 1:
                client.command(
                    "INSERT INTO dead_letter_records (source_topic, source_partition, source_offset) VALUES"
                    f" ('x.tollgate.entries', 1, {offset})"
                )
    # Written twice and the newest first, as nothing orders the parts of a table.
    columns = "type, source, id, user, credits, recorded_at, source_partition, source_offset"
    for _ in range(2):
        client.command(f"INSERT INTO entry_records ({columns}) VALUES {', '.join(reversed(rows))}")
    for user, (_, counted) in CAME.items():
        found = f"SELECT toInt64(toUnixTimestamp(recorded_at)) FROM entries WHERE user = '{user}' ORDER BY 1"
        assert query(tables, found) == [(at,) for at in counted], user
    assert query(tables, "SELECT count(), uniqExact(user) FROM entries") == [(11, 6)]
    client.close()

"""Entries, decisions and balances in ClickHouse are those that the worker counted, decided and wrote."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from tests.chaos.roles import RoleProcess
from tests.integration.verify.test_entries_live import enter, entry
from tests.support.usage import event
from tests.support.verifying import check, named, wrong
from tests.support.worker import send, working

from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse import connect, migrate

pytestmark = pytest.mark.integration


async def falsified(client: Client, settings: Settings, sql: str) -> dict[str, str]:
    await asyncio.to_thread(client.command, sql)
    return wrong(await check(settings, clickhouse=True))


async def test_what_clickhouse_says_of_credits_and_reservations_is_compared(
    clickhouse: str, settings: Settings, tmp_path: Path
) -> None:
    assert settings.clickhouse_url == clickhouse
    await asyncio.to_thread(migrate, settings)
    sink = RoleProcess("sinks.clickhouse", settings, tmp_path)
    sink.start()
    # A user whose name holds what divides keys and scopes.
    user = "ann+model/x|50%25 a"
    try:
        with working(settings, tmp_path / "worker.log"):
            await enter(settings, *[entry("credit", "c1", user, credits="100", kind="bonus")] * 2)
            await enter(settings, entry("credit", "c2", user, credits="-30.5", kind="correction"))
            granted = await check(settings, wait_seconds=60, clickhouse=True)
            assert not wrong(granted), wrong(granted)
            asked = entry("reservation", "r1", user, amount_usd="0.001", credits="2", ttl_seconds=600)
            denied = entry("reservation", "r2", user, credits="1000", ttl_seconds=600)
            await send(settings, [asked, asked, denied], key=user.encode())
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            await send(settings, [event("e1", user, time=now, data={"retail_tokens": 3})], key=user.encode())
            report = await check(settings, wait_seconds=60, clickhouse=True)
    finally:
        sink.stop()
    assert not wrong(report), (wrong(report), (tmp_path / "worker.log").read_text()[-3000:])
    assert named(report, "ClickHouse entries").found == "2 entries, 69.5 credits"
    assert named(report, "ClickHouse decisions").found == "2 decisions, 1 granted, on 0.001 USD, 1002 credits"
    assert named(report, "ClickHouse balances").found == "1 users"
    client = await asyncio.to_thread(connect, settings)
    for table, change, name, difference in (
        ("entry_records", "credits + 0.000000001 AS credits", "ClickHouse entries", "found 2 entries, 69.500000002"),
        ("decision_records", "true AS granted", "ClickHouse decisions", "2 decisions, 2 granted"),
        ("balance_records", "available + 1 AS available", "ClickHouse balances", "expected 64.5 available"),
        # No sum is below zero, and one that is must not end the comparison.
        ("spend_records", "-0.5 AS spent_usd", "ClickHouse spend", "found -0.5 USD, 1 events"),
    ):
        more = f"INSERT INTO {table} SELECT * REPLACE ({change}) FROM {table} FINAL"
        assert difference in (await falsified(client, settings, more))[name]
    client.close()

"""`tollgate verify` ends with 3 and one sentence when a service cannot be reached."""

from pathlib import Path

import pytest
from tests.support.tollgate_cli import Tollgate

from tollgate.embedded.ports import HOST, free_ports
from tollgate.runtime.settings import Settings

pytestmark = pytest.mark.integration


def tollgate(directory: Path, **settings: str) -> Tollgate:
    return Tollgate({f"TOLLGATE_{name.upper()}": value for name, value in settings.items()}, directory)


def test_without_kafka(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    away = tollgate(tmp_path, kafka_bootstrap_servers=f"{HOST}:{port}", clickhouse_url=f"http://{HOST}:{port}")
    ran = away.run("verify", "--no-clickhouse")
    assert ran.status == 3
    assert ran.err.startswith(f"tollgate: Kafka at {HOST}:{port} cannot be reached")
    assert len(ran.err.splitlines()) == 1


def test_without_clickhouse(settings: Settings, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    here = tollgate(
        tmp_path,
        kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.topic_prefix,
        application=settings.application,
        clickhouse_url=f"http://{HOST}:{port}",
    )
    ran = here.run("verify")
    assert ran.status == 3
    assert ran.err.startswith("tollgate: ClickHouse cannot be reached: Connection refused: start the stack")
    # Nothing was ever sent, so nothing differs.
    ran = here.run("verify", "--no-clickhouse", "--json")
    assert (ran.status, ran.json()["ok"], ran.json()["events"]) == (0, True, 0)
    assert "--no-clickhouse" in ran.err

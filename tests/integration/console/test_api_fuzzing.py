"""schemathesis asks every operation, with valid and with broken data: no 500, and every answer as the document says.

`TOLLGATE_API_EXAMPLES` makes the search longer (5 unless set), and `TOLLGATE_API_SEED` repeats one.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.numbers.ledger import write
from tests.integration.numbers.story import NOW, STORY
from tests.support.console_process import ConsoleProcess, console_process
from tests.support.worker import working

from tollgate.runtime.settings import Settings
from tollgate.schemas.shown_text import safe
from tollgate.schemas.tokens import Role
from tollgate.sinks.clickhouse import connect, migrate

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SEED: Final = int(os.environ.get("TOLLGATE_API_SEED") or random.randrange(2**32))
EXAMPLES: Final = int(os.environ.get("TOLLGATE_API_EXAMPLES") or 5)
# It never ends; its own tests read it.
STREAM: Final = "/api/v1/stream"
# All checks of schemathesis but two. No schema can say which cursors there are, which version a record has, or that one
# instant is before another. Who is let in has tables of its own.
# What refuses broken data is besides a 422 what the access rules and versions answer. A list of events is taken in
# part, and null is the same as nothing there.
CONFIGURATION: Final = """
[checks.positive_data_acceptance]
enabled = false

[checks.ignored_auth]
enabled = false

[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 412, 413, 414, 422, 428, 429, 431]

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]

[[operations]]
include-operation-id = "report_usage"

[operations.checks.negative_data_rejection]
enabled = false
"""


@pytest.fixture
def console(settings: Settings, clickhouse: str, tmp_path: Path) -> Iterator[ConsoleProcess]:
    """With events in ClickHouse, a worker that decides on reservations, and no limit on requests."""
    migrate(settings)
    client = connect(settings)
    write(client, STORY, NOW)
    many = "10000000"
    with (
        working(settings, tmp_path / "worker.log") as worker,
        console_process(
            settings, tmp_path, console_requests_per_minute=many, console_service_requests_per_minute=many
        ) as process,
    ):
        yield process
        # Whatever the console lets through, the worker goes on.
        assert worker.poll() is None
    client.command(f"DROP DATABASE `{settings.clickhouse_database}`")
    client.close()


def documented(console: ConsoleProcess) -> dict[str, Any]:
    """The document without `default` answers, so that a status which it does not name is found."""
    document: dict[str, Any] = console.get("/api/v1/openapi.json")
    for operations in document["paths"].values():
        for operation in operations.values():
            del operation["responses"]["default"]
    del document["paths"][STREAM]
    return document


def search(console: ConsoleProcess, role: Role, directory: Path, phases: str, examples: int) -> None:
    (directory / "openapi.json").write_text(json.dumps(documented(console)))
    (directory / "schemathesis.toml").write_text(CONFIGURATION)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "--config-file=schemathesis.toml",
            "--no-color",
            "run",
            "openapi.json",
            f"--url={console.address}",
            f"--header=Authorization: Bearer {console.tokens[role]}",
            f"--phases={phases}",
            f"--max-examples={examples}",
            f"--seed={SEED}",
            "--continue-on-failure",
            "--suppress-health-check=all",
            "--request-timeout=60",
            "--warnings=off",
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{role.value}, TOLLGATE_API_SEED={SEED}:\n{done.stdout}\n{done.stderr}"


def answered(console: ConsoleProcess) -> set[tuple[str, str, str]]:
    """Method, route and status of every answer so far."""
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"])
        for family in text_string_to_metric_families(console.text("/metrics"))
        for sample in family.samples
        if sample.name == "tollgate_console_requests_total"
    }


def test_every_role_is_answered_as_documented(console: ConsoleProcess, tmp_path: Path) -> None:
    print(f"TOLLGATE_API_SEED={SEED}")
    search(console, Role.ADMIN, tmp_path, "examples,coverage,fuzzing", EXAMPLES)
    found = answered(console)
    reads = {path for path, methods in documented(console)["paths"].items() if "get" in methods}
    seen = {(route, status) for method, route, status in found if method == "GET"}
    for path in reads:
        assert any((route, "200") in seen for route in (path, path.replace("}", ":path}"))), f"{path}: no answer"
    for role in set(Role) - {Role.ADMIN}:
        search(console, role, tmp_path, "examples,fuzzing", max(2, EXAMPLES // 3))
    assert not [one for one in answered(console) if one[2] == "500"]
    # What was sent is in the log in a form that no terminal acts on.
    for line in console.log.read_text(encoding="utf-8").splitlines():
        assert safe(line) == line

"""A typed client in Python is made from the API's description, and what it says of it is true."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.console import BASE, make_token
from tests.support.live_console import LiveConsole

from tollgate.console.document import FILE, main
from tollgate.schemas.tokens import Role

PACKAGE = "generated_tollgate_client"


def run(*argv: str, cwd: Path) -> None:
    # The generator formats what it made with the ruff beside this Python.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, timeout=240, check=False, env=os.environ | {"PATH": path}
    )
    assert done.returncode == 0, f"{' '.join(argv)}:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"


@pytest.fixture(scope="module")
def python_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory with the generated package, which can be imported."""
    directory = tmp_path_factory.mktemp("python")
    run(
        *("openapi-python-client", "generate", "--path", str(FILE), "--meta", "none", "--output-path", PACKAGE),
        # What it could not make is an error: a client without one of the operations is none.
        "--fail-on-warning",
        cwd=directory,
    )
    sys.path.insert(0, str(directory))
    yield directory
    sys.path.remove(str(directory))


def test_the_committed_description_is_what_the_code_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, "run python -m tollgate.console.document"
    assert main(["--what"]) == 2
    assert "usage:" in capsys.readouterr().err


def test_a_python_client_is_typed(python_client: Path) -> None:
    # The generator's own client.py is the same for every API, and passes an untyped exception on.
    settings = f"[mypy]\nstrict = true\n[mypy-{PACKAGE}.client]\ndisable_error_code = arg-type\n"
    (python_client / "mypy.ini").write_text(settings)
    run(sys.executable, "-m", "mypy", "--config-file", "mypy.ini", PACKAGE, cwd=python_client)


async def test_a_python_client_reads_and_changes(python_client: Path) -> None:
    console = LiveConsole(console_requests_per_minute=1000)
    token = await make_token(console.control, Role.ADMIN)
    transport = console.client()._transport
    generated: Any = importlib.import_module(PACKAGE)
    models: Any = importlib.import_module(f"{PACKAGE}.models")
    set_budget, get_budget, list_budgets, get_spend = (
        importlib.import_module(f"{PACKAGE}.api.{name}")
        for name in ("budgets.set_budget", "budgets.get_budget", "budgets.list_budgets", "spend.get_spend")
    )
    client = generated.AuthenticatedClient(BASE, token, httpx_args={"transport": transport})
    asked = models.BudgetBody(scope="user/u-42", limit="100", reason="a larger project")
    made = await set_budget.asyncio(client=client, id="seat 7/a&b", body=asked)
    assert isinstance(made, models.Budget)
    assert (made.limit, made.version, made.reason) == ("100", 1, "a larger project")
    again = await set_budget.asyncio_detailed(client=client, id="seat 7/a&b", body=asked)
    assert again.status_code == 428
    assert (again.parsed.error, again.parsed["version"]) == ("version_required", 1)
    assert (await get_budget.asyncio(client=client, id="seat 7/a&b")).scope == "user/u-42"
    assert [budget.id for budget in (await list_budgets.asyncio(client=client)).items] == ["seat 7/a&b"]
    # ClickHouse is not there.
    away = await get_spend.asyncio(client=client, scope="user/u-42")
    assert (away.status, away.error) == (503, "clickhouse_unavailable")

"""The console as a process of its own, with the Kafka and ClickHouse of some settings."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from joserfc import jwt
from joserfc.jwk import OctKey

from tollgate.embedded.children import start_child, stop_child, wait_for
from tollgate.embedded.ports import HOST, free_ports
from tollgate.runtime.settings import Settings
from tollgate.schemas.tokens import Role

START_SECONDS_MAX = 120
USER = "u-42"
_SECRET = "for this console alone, and for an hour"
_GIVEN = ("kafka_bootstrap_servers", "topic_prefix", "application", "clickhouse_url", "clickhouse_database", "data_dir")


@dataclass(frozen=True)
class ConsoleProcess:
    """Where it listens, a token of each role, and its log."""

    address: str
    tokens: dict[Role, str]
    log: Path
    pid: int

    def get(self, path: str, role: Role = Role.ADMIN) -> Any:
        """The JSON answer to a request that must succeed."""
        return json.loads(self.text(path, role))

    def text(self, path: str, role: Role = Role.ADMIN) -> str:
        """The answer to a request that must succeed."""
        request = Request(f"{self.address}{path}", headers={"Authorization": f"Bearer {self.tokens[role]}"})
        with urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())


@contextlib.contextmanager
def console_process(settings: Settings, directory: Path, **more: str) -> Iterator[ConsoleProcess]:
    """`tollgate console` until it is left. `more` are further settings, such as `console_requests_per_minute`."""
    tokens = {role: token_of(role) for role in Role}
    (port,) = free_ports(1)
    given = {name: str(getattr(settings, name)) for name in _GIVEN} | {"console_port": str(port)} | more
    given["jwt_secret"] = _SECRET
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
    log, address = directory / "console.log", f"http://{HOST}:{port}"
    argv = [str(Path(sys.executable).with_name("tollgate")), "console"]
    with log.open("wb") as output:
        process = start_child(
            argv, output, environment=kept | {f"TOLLGATE_{name.upper()}": value for name, value in given.items()}
        )
    try:
        assert wait_for(process, lambda: _is_ready(address), START_SECONDS_MAX), log.read_text(errors="replace")
        yield ConsoleProcess(address, tokens, log, process.pid)
    finally:
        stop_child(process)


def token_of(role: Role, user: str = USER) -> str:
    """A JWT of this user: a search that revokes every token that it finds does not end with its own."""
    claims = {"sub": user, "role": role.value, "exp": int(time.time()) + 3600}
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(_SECRET))


def _is_ready(address: str) -> bool:
    try:
        with urlopen(f"{address}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False

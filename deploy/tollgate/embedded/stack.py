"""What the embedded stack consists of: roles, their commands, their ports and their environment. Nothing runs here."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from tollgate.embedded.errors import PortTakenError
from tollgate.embedded.kafka import is_ready
from tollgate.embedded.ports import HOST, accepts_connections, free_ports, is_free

KAFKA = "kafka"
KAFKA_CONTROLLER = "kafka-controller"
CLICKHOUSE = "clickhouse"
CONSOLE = "console"

# Where every command looks for the two services when it is told nothing else, and people for the console.
_PREFERRED_PORTS = {KAFKA: 9092, CLICKHOUSE: 8123, CONSOLE: 8080}

# The stack's own broker asks for no password.
_SECRETS = ("clickhouse_password", "jwt_secret", "kafka_sasl_password", "slack_bot_token", "slack_webhook_url")

Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Role:
    """One process of the stack: its name, command and additional environment, and how to tell that it is ready.

    Without a probe a role is ready when it has lived for a moment.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    probe: Probe | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """Roles in the order in which they start, and what happens between the services and their clients.

    Clients start when all services are ready and `prepare` has returned; they stop before any service does.
    """

    services: tuple[Role, ...]
    clients: tuple[Role, ...] = ()
    prepare: Callable[[], Awaitable[None]] | None = None

    @property
    def roles(self) -> tuple[Role, ...]:
        """All roles in starting order."""
        return self.services + self.clients


@dataclass(frozen=True, slots=True)
class PortPlan:
    """Ports asked for by name of the role; 0 or absence leaves the choice open."""

    asked: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, int] = field(default_factory=dict)

    def choose(self, names: list[str], may_take: Callable[[int], bool] = is_free) -> dict[str, int]:
        """A port for each name that `may_take` grants: the one asked for, else the last start's, else a preferred one,
        else any.

        Raises PortTakenError when one that was asked for is in use.
        """
        chosen: dict[str, int] = {}
        for name in names:
            asked = self.asked.get(name, 0)
            if asked and (asked in chosen.values() or not may_take(asked)):
                raise PortTakenError(f"Port {asked} for {name} is in use: choose another, or leave the choice open.")
            if asked:
                chosen[name] = asked
        for name in names:
            candidates = (self.before.get(name, 0), _PREFERRED_PORTS.get(name, 0))
            for port in candidates if name not in chosen else ():
                if port and port not in chosen.values() and may_take(port):
                    chosen[name] = port
                    break
        left = [name for name in names if name not in chosen]
        # Free ports are asked for all at once, so that they differ from each other.
        return chosen | dict(zip(left, free_ports(len(left), may_take), strict=True))


def port_names(workers: int) -> list[str]:
    """Every port of a stack with this many workers, by role."""
    return [KAFKA, KAFKA_CONTROLLER, CLICKHOUSE, CONSOLE, *(f"worker-{number}" for number in range(workers))]


def overrides(data_dir: Path, ports: Mapping[str, int], clickhouse_password: str = "") -> dict[str, str]:
    """The settings by which any Tollgate process finds this stack, as `Settings` fields."""
    return {
        "data_dir": str(data_dir),
        "kafka_bootstrap_servers": f"{HOST}:{ports[KAFKA]}",
        "kafka_security_protocol": "PLAINTEXT",
        "kafka_replication_factor": "1",
        "clickhouse_url": f"http://{HOST}:{ports[CLICKHOUSE]}",
        "clickhouse_user": "default",
        "clickhouse_password": clickhouse_password,
    }


def environment(overrides: Mapping[str, str], inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """A child's environment: the inherited one with these settings, which no `…_FILE` variable may change back."""
    own = {f"TOLLGATE_{name.upper()}": value for name, value in overrides.items()}
    hidden = {f"{name}_FILE" for name in own}
    return {name: value for name, value in inherited.items() if name not in hidden} | own


def without_secrets(environment: Mapping[str, str], *but: str) -> dict[str, str]:
    """The environment without what is secret in it, except the settings named."""
    hidden = {f"TOLLGATE_{name.upper()}" for name in _SECRETS if name not in but}
    return {
        name: value
        for name, value in environment.items()
        if name not in hidden and name.removesuffix("_FILE") not in hidden
    }


def tollgate_stack(
    data_dir: Path,
    ports: Mapping[str, int],
    workers: int,
    clickhouse_password: str,
    prepare: Callable[[], Awaitable[None]],
) -> Stack:
    """Kafka and ClickHouse, then the workers, the two sinks and the console.

    Each secret reaches the roles that need it alone.
    """
    everything = environment(overrides(data_dir, ports, clickhouse_password))
    shared = without_secrets(everything)
    with_clickhouse = without_secrets(everything, "clickhouse_password")
    with_slack = without_secrets(everything, "slack_bot_token", "slack_webhook_url")
    python = (sys.executable, "-m")

    async def kafka_is_ready() -> bool:
        return accepts_connections(ports[KAFKA]) and await is_ready(f"{HOST}:{ports[KAFKA]}")

    async def clickhouse_is_ready() -> bool:
        return accepts_connections(ports[CLICKHOUSE])

    kafka = ("--data-dir", str(data_dir / "kafka"), "--port", str(ports[KAFKA]))
    controller = ("--controller-port", str(ports[KAFKA_CONTROLLER]))
    clickhouse = ("--data-dir", str(data_dir / "clickhouse"), "--port", str(ports[CLICKHOUSE]))
    services = (
        Role(KAFKA, (*python, "tollgate.embedded", "kafka", *kafka, *controller), shared, kafka_is_ready),
        Role(
            CLICKHOUSE, (*python, "tollgate.embedded", "clickhouse", *clickhouse), with_clickhouse, clickhouse_is_ready
        ),
    )
    command = (*python, "tollgate.cli.main")
    clients = [
        Role(
            name,
            (*command, "worker"),
            {
                **shared,
                "TOLLGATE_WORKER_ID": name,
                "TOLLGATE_WORKER_PORT": str(ports[name]),
                "TOLLGATE_WORKER_HOST": HOST,
            },
            _answers(ports[name], "/ready"),
        )
        for name in (f"worker-{number}" for number in range(workers))
    ]
    clients.append(Role("sink-clickhouse", (*command, "sink", "clickhouse"), with_clickhouse))
    clients.append(Role("sink-alerts", (*command, "sink", "alerts"), with_slack))
    address = {"TOLLGATE_CONSOLE_HOST": HOST, "TOLLGATE_CONSOLE_PORT": str(ports[CONSOLE])}
    console_secrets = without_secrets(everything, "clickhouse_password", "jwt_secret")
    clients.append(
        Role(CONSOLE, (*command, "console"), {**console_secrets, **address}, _answers(ports[CONSOLE], "/live"))
    )
    return Stack(services, tuple(clients), prepare)


def _answers(port: int, path: str) -> Probe:
    def ask() -> bool:
        try:
            with urlopen(f"http://{HOST}:{port}{path}", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    async def answers() -> bool:
        return await asyncio.to_thread(ask)

    return answers

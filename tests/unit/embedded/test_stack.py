"""The stack's plan: ports, environment, roles, restarts."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tollgate.embedded.errors import PortTakenError
from tollgate.embedded.launch import StackPlan
from tollgate.embedded.ports import HOST, PortClaims, accepts_connections, free_ports, is_free, listens
from tollgate.embedded.stack import PortPlan, environment, overrides, port_names, tollgate_stack
from tollgate.embedded.stack_state import StackState
from tollgate.embedded.supervisor import RestartPolicy
from tollgate.runtime.settings import Settings

PORTS = {
    "kafka": 1001,
    "kafka-controller": 1002,
    "clickhouse": 1003,
    "console": 1006,
    "worker-0": 1004,
    "worker-1": 1005,
}


@contextmanager
def listening() -> Iterator[int]:
    """A port that another program holds."""
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield server.getsockname()[1]


async def nothing() -> None:
    """Stands for the preparation of topics and tables."""


def test_free_ports_are_free_and_differ() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(is_free(port) and not accepts_connections(port) for port in ports)


def test_a_port_in_use_is_seen() -> None:
    with listening() as port:
        assert not is_free(port)
        assert accepts_connections(port)


def test_a_process_listens_on_its_own_ports_alone() -> None:
    with listening() as port:
        assert listens(os.getpid(), port)
        assert not listens(os.getppid(), port)
    assert not listens(os.getpid(), port)


def test_a_port_that_is_asked_for_is_taken_and_the_last_ones_stay() -> None:
    asked, before = free_ports(2)
    chosen = PortPlan({"kafka": asked}, {"kafka": before, "clickhouse": before}).choose(["kafka", "clickhouse"])
    assert chosen == {"kafka": asked, "clickhouse": before}


def test_a_last_port_that_is_in_use_now_is_replaced() -> None:
    with listening() as port:
        chosen = PortPlan({}, {"worker-0": port}).choose(["worker-0"])
    assert chosen["worker-0"] != port


def test_a_port_that_is_asked_for_but_in_use_is_an_error() -> None:
    with listening() as port, pytest.raises(PortTakenError, match=str(port)):
        PortPlan({"kafka": port}).choose(["kafka"])


def test_the_same_port_cannot_be_asked_for_twice() -> None:
    (port,) = free_ports(1)
    with pytest.raises(PortTakenError):
        PortPlan({"kafka": port, "clickhouse": port}).choose(["kafka", "clickhouse"])


def test_stacks_that_start_at_the_same_time_choose_different_ports() -> None:
    names = port_names(2)
    (asked,) = free_ports(1)
    with PortClaims() as first, PortClaims() as second:
        chosen = PortPlan({"kafka": asked}).choose(names, first.claim)
        # Nothing listens on any of them yet, and the last start of the second stack had the same ones.
        assert chosen["kafka"] == asked
        assert all(is_free(port) for port in chosen.values())
        others = PortPlan({}, chosen).choose(names, second.claim)
        assert not set(chosen.values()) & set(others.values())
        with pytest.raises(PortTakenError, match=str(asked)):
            PortPlan({"kafka": asked}).choose(names, second.claim)
    with PortClaims() as third:
        assert third.claim(asked)


def test_a_claim_is_refused_where_a_server_listens() -> None:
    with listening() as port, PortClaims() as claims:
        assert not claims.claim(port)


def test_every_role_has_its_own_port() -> None:
    names = port_names(3)
    assert names == ["kafka", "kafka-controller", "clickhouse", "console", "worker-0", "worker-1", "worker-2"]
    assert len(set(PortPlan().choose(names).values())) == 7


def test_a_secret_file_of_the_user_cannot_point_the_stack_elsewhere() -> None:
    inherited = {
        "PATH": "/bin",
        "TOLLGATE_CLICKHOUSE_URL_FILE": "/run/url",
        "TOLLGATE_SLACK_BOT_TOKEN_FILE": "/run/slack",
    }
    made = environment(overrides(Path("/data"), PORTS), inherited)
    assert "TOLLGATE_CLICKHOUSE_URL_FILE" not in made
    assert made["TOLLGATE_SLACK_BOT_TOKEN_FILE"] == "/run/slack"
    assert made["TOLLGATE_CLICKHOUSE_URL"] == "http://127.0.0.1:1003"
    assert made["TOLLGATE_KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:1001"
    assert made["PATH"] == "/bin"


def test_every_override_is_a_setting() -> None:
    assert set(overrides(Path("/data"), PORTS)) <= set(Settings.model_fields)


def test_services_start_before_workers_and_sinks() -> None:
    stack = tollgate_stack(Path("/data"), PORTS, 2, "secret", nothing)
    assert [role.name for role in stack.services] == ["kafka", "clickhouse"]
    clients = ["worker-0", "worker-1", "sink-clickhouse", "sink-alerts", "console"]
    assert [role.name for role in stack.clients] == clients
    worker = stack.clients[1]
    assert worker.argv == (sys.executable, "-m", "tollgate.cli.main", "worker")
    assert worker.environment["TOLLGATE_WORKER_ID"] == "worker-1"
    assert worker.environment["TOLLGATE_WORKER_PORT"] == "1005"


@pytest.mark.parametrize(("failures", "seconds"), [(1, 0.2), (2, 0.4), (3, 0.8), (8, 25.6), (9, 30), (10_000, 30)])
def test_the_wait_before_a_restart_doubles_up_to_its_bound(failures: int, seconds: float) -> None:
    assert RestartPolicy().delay_seconds(failures) == pytest.approx(seconds)


def test_a_secret_reaches_the_roles_that_need_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLGATE_SLACK_BOT_TOKEN_FILE", "/run/slack")
    monkeypatch.setenv("TOLLGATE_SLACK_WEBHOOK_URL", "https://hooks.example/T/secret")
    monkeypatch.setenv("TOLLGATE_CLICKHOUSE_PASSWORD", "of the environment")
    monkeypatch.setenv("TOLLGATE_KAFKA_SASL_PASSWORD", "of a cluster")
    monkeypatch.setenv("TOLLGATE_JWT_SECRET", "of an identity provider")
    stack = tollgate_stack(Path("/data"), PORTS, 1, "of the stack", nothing)
    secrets = {
        role.name: sorted(
            (name, value)
            for name, value in role.environment.items()
            if name.startswith("TOLLGATE_") and any(word in name for word in ("JWT", "PASSWORD", "TOKEN", "WEBHOOK"))
        )
        for role in stack.roles
    }
    password = [("TOLLGATE_CLICKHOUSE_PASSWORD", "of the stack")]
    slack = [
        ("TOLLGATE_SLACK_BOT_TOKEN_FILE", "/run/slack"),
        ("TOLLGATE_SLACK_WEBHOOK_URL", "https://hooks.example/T/secret"),
    ]
    assert secrets == {
        "kafka": [],
        "clickhouse": password,
        "worker-0": [],
        "sink-clickhouse": password,
        "sink-alerts": slack,
        "console": [*password, ("TOLLGATE_JWT_SECRET", "of an identity provider")],
    }


def test_the_password_is_given_kept_or_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOLLGATE_CLICKHOUSE_PASSWORD", raising=False)
    plan = StackPlan(tmp_path)
    made = plan.choose_password()
    assert len(made) == 32
    assert plan.choose_password() != made
    StackState(1, "long ago", dict(PORTS), clickhouse_password="kept").write(tmp_path)
    assert plan.choose_password() == "kept"
    monkeypatch.setenv("TOLLGATE_CLICKHOUSE_PASSWORD", "given")
    assert plan.choose_password() == "given"

"""Free TCP ports on 127.0.0.1."""

import secrets
import socket
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import psutil

HOST = "127.0.0.1"

# Above the ports of well-known programs, and below 32768, from where Linux gives ports to outgoing connections (macOS
# from 49152).
_SERVER_PORTS = range(20_000, 32_768)


def is_free(port: int) -> bool:
    """Whether a server could bind the port now. A port in TIME_WAIT counts as free, as servers reuse it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_ports(count: int, may_take: Callable[[int], bool] = is_free) -> list[int]:
    """Distinct ports that nobody uses at this moment; another program may take one before the caller binds it.

    They are below those that outgoing connections take, which would be the likeliest to do so.
    """
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(_SERVER_PORTS)
        if port not in found and may_take(port):
            found.append(port)
    return found


class PortClaims:
    """The ports of one stack, which no other stack on this machine may choose until this object is closed.

    A chosen port stays unbound for the seconds that its role needs to start, and again whenever the role restarts. A
    stack that starts in these seconds finds the port free and takes it. So a claim holds the UDP port of the same
    number: nobody needs that one, only one process can have it, and the kernel releases it when the process ends.
    """

    def __init__(self) -> None:
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.close()

    def claim(self, port: int) -> bool:
        """Whether the port was free and unclaimed; it is claimed now."""
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((HOST, port))
        except OSError:
            claim.close()
            return False
        if not is_free(port):
            claim.close()
            return False
        self._held.enter_context(claim)
        return True


def accepts_connections(port: int, timeout_seconds: float = 1.0) -> bool:
    """Whether something listens on the port."""
    try:
        with socket.create_connection((HOST, port), timeout=timeout_seconds):
            return True
    except OSError:
        return False


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on the port. A process that has ended does not."""
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(found.status == psutil.CONN_LISTEN and found.laddr.port == port for found in connections)

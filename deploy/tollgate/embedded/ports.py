"""Free TCP ports on 127.0.0.1."""

import secrets
import socket

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


def free_ports(count: int) -> list[int]:
    """Distinct ports that nobody uses at this moment; another program may take one before the caller binds it.

    They are below those that outgoing connections take, which would be the likeliest to do so.
    """
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(_SERVER_PORTS)
        if port not in found and is_free(port):
            found.append(port)
    return found


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

"""Small programs under the real supervisor: `python -m tests.integration.embedded.small_stack DIR [KIND]`."""

import asyncio
import os
import sys
from pathlib import Path

from tollgate.embedded.errors import EmbeddedError
from tollgate.embedded.stack import Role, Stack
from tollgate.embedded.supervisor import Deadlines, RestartPolicy, Supervisor
from tollgate.runtime.logs import configure_logs

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
PATIENT = "import time; print('up', flush=True); time.sleep(600)"
BROKEN = "import sys; sys.exit('the disk is made of cheese')"
# Writes its name into a file when it is told to stop, so that the order of the end can be read.
POLITE = """
import signal, sys, time
def leave(*_):
    with open(sys.argv[1], 'a') as file:
        file.write(sys.argv[2] + '\\n')
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print('up', flush=True)
time.sleep(600)
"""


def small_stack(kind: str, data_dir: Path) -> Stack:
    """A service and a client of the kind."""
    program = {"patient": PATIENT, "stubborn": STUBBORN, "broken": BROKEN, "polite": POLITE}[kind]

    async def prepare() -> None:
        (data_dir / "prepared").touch()

    def role(name: str) -> Role:
        return Role(name, (sys.executable, "-c", program, str(data_dir / "ends"), name), dict(os.environ))

    return Stack((role("service"),), (role("client-0"), role("client-1")), prepare)


def main() -> int:
    """Run it until a signal comes."""
    data_dir = Path(sys.argv[1])
    kind = sys.argv[2] if len(sys.argv) > 2 else "patient"
    configure_logs("info", "json")
    supervisor = Supervisor(
        small_stack(kind, data_dir),
        data_dir,
        {"service": 1},
        policy=RestartPolicy(first_seconds=0.05, max_seconds=0.2, healthy_seconds=30),
        deadlines=Deadlines(ready_seconds=20, settle_seconds=0.5, stop_seconds=1),
    )
    try:
        asyncio.run(supervisor.run())
    except EmbeddedError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())

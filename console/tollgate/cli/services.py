"""How a command finds and reaches the services: settings, the embedded stack's addresses, bounded waits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from tollgate.cli.exits import UnreachableError, UsageError
from tollgate.runtime import reaching
from tollgate.runtime.errors import KafkaUnreachableError
from tollgate.runtime.settings import Settings, load_settings
from tollgate.schemas.shown_text import shell_command, shell_option

if TYPE_CHECKING:
    from tollgate.embedded.stack_state import StackState

# Where the console is unless it was told otherwise.
CONSOLE_PORT: Final = 8080

# The settings that say where services are; a stack's own addresses never override one that was given.
_KAFKA: Final = "kafka_bootstrap_servers"
_CLICKHOUSE: Final = "clickhouse_url"


def find_settings(data_dir: Path | None = None, **overrides: Any) -> Settings:
    """The process's settings, with the addresses of the stack that runs in the data directory where none were given.

    UsageError when a setting is wrong; UnreachableError when the directory belongs to a stack that does not run now
    and no other address is known.
    """
    if data_dir is not None:
        overrides["data_dir"] = data_dir
    settings = _load(overrides)
    missing = {_KAFKA, _CLICKHOUSE} - settings.model_fields_set
    if not missing:
        return settings
    state = _stack(settings.data_dir)
    if state is None or not state.is_alive():
        if len(missing) == 2 and (state is not None or data_dir is not None):
            where = settings.data_dir
            start = shell_command("tollgate", "up", *shell_option("--data-dir", str(where)))
            raise UnreachableError(f"no stack runs in {where}: start it with `{start}`.")
        return settings
    found = {_KAFKA: {_KAFKA: f"127.0.0.1:{state.ports['kafka']}"}}
    found[_CLICKHOUSE] = {
        _CLICKHOUSE: f"http://127.0.0.1:{state.ports['clickhouse']}",
        "clickhouse_user": "default",
        "clickhouse_password": state.clickhouse_password,
    }
    for name in missing:
        overrides |= found[name]
    return _load(overrides)


def console_address(settings: Settings) -> str:
    """Where people reach the console: TOLLGATE_CONSOLE_URL, else that of the stack that runs in the data directory,
    else TOLLGATE_CONSOLE_PORT of this machine.
    """
    if settings.console_url:
        return settings.console_url.rstrip("/")
    state = _stack(settings.data_dir)
    port = state.ports.get("console", 0) if state is not None and state.is_alive() else 0
    return f"http://127.0.0.1:{port or settings.console_port or CONSOLE_PORT}"


def _stack(data_dir: Path) -> "StackState | None":
    try:
        from tollgate.embedded.stack_state import read_state
    except ModuleNotFoundError:
        # An installation without the extra `embedded` cannot run a stack.
        return None
    return read_state(data_dir)


def _load(overrides: dict[str, Any]) -> Settings:
    try:
        return load_settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = "TOLLGATE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise UsageError(f"the setting {name} is wrong: {first['msg']}.") from None
    except OSError as error:
        raise UsageError(f"the file {error.filename} of a setting cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise UsageError(f"the file named by TOLLGATE_CONFIG is no TOML: {error}.") from None


@asynccontextmanager
async def reaching_kafka(settings: Settings) -> AsyncIterator[None]:
    """Turn what a client raises when Kafka is away, refuses it or lacks a topic into one sentence and exit status 3."""
    try:
        async with reaching.reaching_kafka(settings):
            yield
    except KafkaUnreachableError as error:
        raise UnreachableError(str(error)) from None

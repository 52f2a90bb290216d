"""The command `tollgate`: mounts every command, and turns what they raise into one sentence and an exit status."""

import inspect
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple

from tollgate.cli.exits import CommandError, Exit
from tollgate.cli.output import say_error
from tollgate.runtime.errors import KafkaUnreachableError
from tollgate.runtime.interrupts import run
from tollgate.schemas.shown_text import safe

if TYPE_CHECKING:
    from cyclopts import App


class Mount(NamedTuple):
    """A command: where its function or App is, imported only when it runs, and the extra that has what it needs."""

    name: str
    target: str
    extra: str
    help: str
    examples: tuple[str, ...] = ()


MOUNTS: Final = (
    Mount(
        "demo",
        "demo:demo",
        "all",
        "Start everything on this machine and play a month of history and live traffic.",
        ("tollgate demo", "tollgate demo --trace trace.csv --data-dir /tmp/trace"),
    ),
    Mount(
        "up",
        "stack:up",
        "all",
        "Start the embedded stack: Kafka, ClickHouse, workers, sinks and the console on this machine.",
        ("tollgate up", "tollgate up --data-dir /var/lib/tollgate --workers 2 --detach --json"),
    ),
    Mount("down", "stack:down", "all", "Stop the embedded stack; its data stays.", ("tollgate down",)),
    Mount(
        "status",
        "stack:status",
        "all",
        "Show which processes run, on which ports, and how far they are behind.",
        ("tollgate status", "tollgate status --json"),
    ),
    Mount(
        "doctor",
        "doctor:doctor",
        "all",
        "Check this installation; show what is wrong and how to correct it.",
        ("tollgate doctor", "tollgate doctor --json"),
    ),
    Mount("publish", "publish:app", "cli", "Publish usage events from NDJSON or CSV."),
    Mount("spend", "spend:app", "cli", "Show what a scope (a user, an agent, …) has spent in a window."),
    Mount("forecast", "forecast:app", "console", "Show where a scope's spend will be at the end of its window."),
    Mount("report", "report:app", "console", "Write costs, revenue and usage of a range as CSV or JSON."),
    Mount("flags", "flags:app", "cli", "Show who is warned, blocked or stopped now."),
    Mount("alerts", "alerts:app", "cli", "List the alerts that are open, the worst first."),
    Mount("why", "why:app", "cli", "Explain why a scope is blocked: the budget, the numbers, since when, until when."),
    Mount(
        "stop",
        "stop:stop",
        "cli",
        "Stop all spending of the whole company now, by hand.",
        ('tollgate stop --reason "the provider bills every call twice"', "tollgate stop --json"),
    ),
    Mount(
        "resume",
        "stop:resume",
        "cli",
        "Let spending go on after `tollgate stop`.",
        ('tollgate resume --reason "the provider has corrected it"',),
    ),
    Mount(
        "reserve",
        "reservations:reserve",
        "cli",
        "Set money or credits of a user aside for a call.",
        (
            "tollgate reserve u-42 --usd 0.10 --provider openai --model gpt-4o",
            "tollgate reserve u-42 --credits 5 --ttl 300 --json",
        ),
    ),
    Mount(
        "release",
        "reservations:release",
        "cli",
        "End a reservation whose call is not made.",
        ("tollgate release r-1", "tollgate release r-1 --user u-42 --source chat-api"),
    ),
    Mount("budget", "budgets:app", "cli", "Set, list and remove budgets."),
    Mount("plan", "plans:app", "cli", "Set, list, show, remove and assign plans."),
    Mount("credits", "credits:app", "cli", "Grant credits to a user, and show what they have and were granted."),
    Mount("price", "prices:app", "worker", "Set, list, show and explain prices."),
    Mount("audit", "audit:app", "cli", "Show who changed budgets, prices and tokens: from what to what, when and why."),
    Mount("token", "tokens:app", "cli", "Create, list and revoke tokens for the REST API."),
    Mount("dead-letters", "dead_letters:app", "cli", "List, show and replay input that was refused."),
    Mount(
        "verify",
        "verify:verify",
        "all",
        "Recount all usage and compare spend, flags and ClickHouse with the result.",
        ("tollgate verify", "tollgate verify --json"),
    ),
    Mount(
        "worker",
        "worker:app",
        "worker",
        "Run one worker: it prices events, sums up spend, and writes flags and alerts.",
    ),
    Mount("console", "console:app", "console", "Serve the REST API and the dashboard; log in to them."),
    Mount("sink", "sinks:app", "all", "Run one sink: to ClickHouse, or alerts to Slack."),
    Mount("topics", "topics:app", "cli", "Create or check Kafka's topics."),
    Mount("clickhouse", "clickhouse:app", "clickhouse", "Create or upgrade ClickHouse's tables."),
)


def build_app(command: str = "") -> "App":
    """The cyclopts application. With a command's name it has that command alone, with its own full help; without, it
    has a line of help for every command and imports none of them."""
    from cyclopts import App

    from tollgate.cli.options import examples

    app = App(
        name="tollgate",
        help="Usage and cost control for products built on paid APIs.",
        help_epilogue=None if command else "See `tollgate COMMAND --help` for examples.",
        version=_version,
        suppress_keyboard_interrupt=False,
    )
    for mount in MOUNTS:
        if not command:
            app.command(f"tollgate.cli.{mount.target}", name=mount.name, help=mount.help)
        elif command == mount.name:
            # Only a plain function takes its examples from here; an App has its own.
            more = {"help_epilogue": examples(*mount.examples)} if mount.examples else {}
            app.command(f"tollgate.cli.{mount.target}", name=mount.name, **more)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Help and version end with 0."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its escape, not a crash.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # A client's log lines would stand beside our one sentence; processes that log set handlers of their own.
    logging.getLogger().addHandler(logging.NullHandler())
    sys.excepthook = _show_bug
    try:
        status = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the pipe has ended. Without this, Python would print an error when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return status


def _show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The traceback of an exception that is a bug of ours. Its text may quote anything."""
    lines = "".join(traceback.format_exception(kind, error, trace)).rstrip("\n").split("\n")
    sys.stderr.write("".join(f"{safe(line)}\n" for line in lines))


def _run(given: list[str]) -> int:
    try:
        from cyclopts import CycloptsError
    except ModuleNotFoundError:
        say_error("the command line is not installed: pip install 'tollgate[cli]' or 'tollgate[all]'.")
        return Exit.USAGE
    names = [mount.name for mount in MOUNTS]
    command = given[0] if given and not given[0].startswith("-") else ""
    if command and command not in names:
        near = get_close_matches(command, names, 1)
        say_error(f"{command!r} is no command{f'; did you mean {near[0]!r}' if near else ''}? See `tollgate --help`.")
        return Exit.USAGE
    try:
        called, bound, _ = build_app(command).parse_args(given, exit_on_error=False, print_error=False)
        result = called(*bound.args, **bound.kwargs)
        if inspect.iscoroutine(result):
            result = run(result)
        return int(result) if isinstance(result, int) else Exit.OK
    except CycloptsError as error:
        say_error(f"{_sentence(str(error))} See `tollgate {command}{' ' if command else ''}--help`.")
        return Exit.USAGE
    except KafkaUnreachableError as error:
        say_error(str(error))
        return Exit.UNREACHABLE
    except CommandError as error:
        say_error(str(error))
        return error.exit
    except ImportError as error:
        missing = _missing_module(error)
        if missing is None or missing.split(".")[0] == "tollgate":
            raise
        extra = next((m.extra for m in MOUNTS if m.name == command), "cli")
        say_error(f"this command needs {missing}, which is not installed: pip install 'tollgate[{extra}]'.")
        return Exit.USAGE


def _missing_module(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name
        error = error.__cause__
    return None


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _version() -> str:
    from importlib.metadata import version

    return version("tollgate")


if __name__ == "__main__":
    sys.exit(main())

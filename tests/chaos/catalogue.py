"""Every kind of fault by name, with how many cards of it are in the deck."""

from collections.abc import Iterable
from fnmatch import fnmatch
from typing import Final

from tests.chaos import process_faults as process
from tests.chaos import service_faults as service
from tests.chaos.process_faults import Fault

from tollgate.ledger.faults import POINTS

_SHORT: Final = (0.2, 4)
# Longer than a member's session in the group, which is 10 s.
_LONG: Final = (11.5, 14)

_KINDS: Final[dict[str, tuple[int, Fault]]] = {
    "kill worker": (4, process.kill_worker),
    "kill worker twice": (3, process.kill_worker_twice),
    "kill worker beside a newcomer": (3, process.kill_worker_beside_a_newcomer),
    "scale workers": (4, process.scale_workers),
    "change lanes": (1, process.change_lanes),
    "freeze worker": (2, process.frozen(lambda world, deed: world.a_worker(deed), _SHORT)),
    "freeze worker past its session": (3, process.frozen(lambda world, deed: world.a_worker(deed), _LONG)),
    "kill ClickHouse sink": (3, process.killed(lambda world, _: world.clickhouse_sink)),
    "freeze ClickHouse sink": (1, process.frozen(lambda world, _: world.clickhouse_sink, _SHORT)),
    "freeze ClickHouse sink past its session": (1, process.frozen(lambda world, _: world.clickhouse_sink, _LONG)),
    "kill alert sink": (3, process.killed(lambda world, _: world.alert_sink)),
    "freeze alert sink": (1, process.frozen(lambda world, _: world.alert_sink, _SHORT)),
    "freeze alert sink past its session": (1, process.frozen(lambda world, _: world.alert_sink, _LONG)),
    "kill ClickHouse": (2, process.killed(lambda world, _: world.database)),
    "freeze ClickHouse": (1, process.frozen(lambda world, _: world.database, _SHORT)),
    "shut ClickHouse out": (1, service.shut_clickhouse_out),
    "lose the answer to an insert": (2, service.lose_insert_answers),
    "fill ClickHouse's disk": (1, service.fill_clickhouse_disk),
    "kill broker": (2, service.kill_broker),
    "restart broker": (1, service.restart_broker),
    "freeze broker": (1, service.frozen_broker(_SHORT)),
    "freeze broker long": (1, service.frozen_broker(_LONG)),
    "kill transaction coordinator": (1, service.kill_coordinator),
    "kill group coordinator": (1, service.kill_group_coordinator),
    "kill leader": (1, service.kill_leader),
    "fill a broker's disk": (1, service.fill_broker_disk),
    "stop or resume by hand": (3, service.stop_or_resume),
    "set a new budget": (2, service.set_new_budget),
    "Slack limits": (1, service.slack_fault("limit", accept=False)),
    "Slack is down": (1, service.slack_fault("status", accept=False)),
    "Slack breaks down after it posted": (1, service.slack_fault("status", accept=True)),
    "Slack's answer is lost": (1, service.slack_fault("drop", accept=True)),
    "Slack is slow": (1, service.slack_fault("delay", accept=True)),
    **{f"kill at {point}": (1, process.at_point(point, "kill")) for point in POINTS},
    **{f"stop at {point}": (1, process.at_point(point, "stop")) for point in POINTS},
}


def fault(kind: str) -> Fault:
    """How to bring it about."""
    return _KINDS[kind][1]


def chosen(patterns: Iterable[str], *, disks: bool) -> dict[str, int]:
    """Kinds and their numbers of cards: those that match a pattern such as `kill *`, all without a pattern.

    Without disks of their own the full ones are left out. ValueError when nothing matches.
    """
    wanted = tuple(patterns) or ("*",)
    found = {
        kind: cards
        for kind, (cards, _) in _KINDS.items()
        if any(fnmatch(kind, pattern) for pattern in wanted) and (disks or "disk" not in kind)
    }
    if not found:
        raise ValueError(f"no kind of fault is like {' or '.join(wanted)}; there are: {', '.join(_KINDS)}")
    return found

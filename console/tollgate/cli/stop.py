"""`tollgate stop` and `tollgate resume`: the company-wide stop by hand, and its end."""

import asyncio
import time
from typing import Final

from tollgate.cli.changes import open_control, system_actor
from tollgate.cli.exits import AnswerIsNoError, UnreachableError, UsageError
from tollgate.cli.flags import flag_json, read_flags
from tollgate.cli.options import Actor, AsJson, DataDir
from tollgate.cli.output import print_json, print_line
from tollgate.cli.services import find_settings
from tollgate.control import ControlStore, Held, VersionConflictError
from tollgate.domain.stops import Stop
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import SETTING_KEY_PREFIX, STOP_SETTING, SettingRecord
from tollgate.schemas.scopes import GLOBAL_SCOPE
from tollgate.sdk.decision import HeldFlag

_KEY: Final = f"{SETTING_KEY_PREFIX}{STOP_SETTING}"
# A worker acts within a second; one that is recovering takes longer than a person waits.
IN_FORCE_SECONDS_MAX: Final = 10.0
_POLL_SECONDS: Final = 0.1


async def stop(*, reason: str = "", actor: Actor = None, json: AsJson = False, data_dir: DataDir = None) -> None:
    """Stop all spending of the whole company now: services refuse every call with 503 until `tollgate resume`.

    Returns when the flag of `global` says so. Exit 1 when all spending is stopped by hand already.

    Parameters
    ----------
    reason
        Why, for those who find their calls refused.
    """
    await _set(Stop(True, actor or system_actor(), reason), json, find_settings(data_dir))


async def resume(*, reason: str, actor: Actor = None, json: AsJson = False, data_dir: DataDir = None) -> None:
    """End the stop of `tollgate stop`: from now on budgets decide again.

    Returns when the flag of `global` says so. Exit 1 when nothing is stopped by hand.

    Parameters
    ----------
    reason
        Why spending may go on.
    """
    if not reason.strip():
        raise UsageError("say why spending may go on: --reason TEXT.")
    await _set(Stop(False, actor or system_actor(), reason), json, find_settings(data_dir))


async def _set(wanted: Stop, json: bool, settings: Settings) -> None:
    async with open_control(settings) as store:
        version = await _change(store, wanted)
    flag = await _in_force(settings, wanted)
    if json:
        now_ms = time.time_ns() // 1_000_000
        shown = flag_json(flag, now_ms) if flag is not None else None
        print_json(
            {
                "stopped": wanted.stopped,
                "actor": wanted.actor,
                "reason": wanted.reason,
                "version": version,
                "flag": shown,
            }
        )
        return
    print_line(wanted.sentence)
    if wanted.stopped:
        print_line("services answer 503 spending_stopped; let spending go on with: tollgate resume --reason REASON")
    elif flag is not None and flag.flag.blocked:
        print_line(f"{GLOBAL_SCOPE} is still {flag.flag.state.value}, by a budget: see `tollgate why {GLOBAL_SCOPE}`")


async def _change(store: ControlStore, wanted: Stop) -> int:
    """Write the setting unless it is so already; returns its new version."""
    while True:
        held = store.get(_KEY)
        # What is in force under a record that cannot be read only the worker knows, so it is replaced.
        if _KEY not in store.unreadable(_KEY):
            _refuse_the_same(held, wanted)
        try:
            changed = await store.change(
                _KEY,
                {"name": STOP_SETTING, "value": {"stopped": wanted.stopped}},
                actor=wanted.actor,
                reason=wanted.reason,
                expect_version=held.version if held is not None else None,
            )
        except VersionConflictError:
            # Somebody was faster: perhaps with the same.
            continue
        return changed.version


def _refuse_the_same(held: Held | None, wanted: Stop) -> None:
    found = Stop.from_record(SettingRecord.model_validate(held.value)) if held is not None else Stop(stopped=False)
    if found.stopped == wanted.stopped:
        if not found.stopped:
            raise AnswerIsNoError("nothing is stopped by hand: see who is blocked with `tollgate flags`.")
        since = f" at {held.updated_at}" if held is not None and held.updated_at else ""
        raise AnswerIsNoError(f"all spending is stopped already{since}: {found.sentence}.")


async def _in_force(settings: Settings, wanted: Stop) -> HeldFlag | None:
    """Wait for the flag of `global` to say so. UnreachableError when no worker makes it within 10 s."""
    note = wanted.sentence if wanted.stopped else None
    deadline = time.monotonic() + IN_FORCE_SECONDS_MAX
    while True:
        flag = (await read_flags(settings, GLOBAL_SCOPE)).get(GLOBAL_SCOPE)
        if (flag.flag.note if flag is not None else None) == note:
            return flag
        if time.monotonic() >= deadline:
            raise UnreachableError(
                f"the setting is written, but no worker has acted on it within {IN_FORCE_SECONDS_MAX:.0f} s: "
                "it is in force as soon as one does. See `tollgate status`."
            )
        await asyncio.sleep(_POLL_SECONDS)

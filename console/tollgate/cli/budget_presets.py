"""`tollgate budget preset`: sets of budgets to begin with."""

from typing import Annotated

from cyclopts import Parameter

from tollgate.cli.budget_reading import budget_json
from tollgate.cli.changes import open_control, system_actor
from tollgate.cli.exits import UsageError
from tollgate.cli.options import Actor, AsJson, DataDir, Reason
from tollgate.cli.output import print_json, print_line, print_table, say
from tollgate.cli.services import find_settings
from tollgate.control.presets import PRESETS, Preset
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import BUDGET_KEY_PREFIX, BudgetRecord


async def preset(
    name: str | None = None,
    /,
    *,
    apply: Annotated[bool, Parameter(negative="")] = False,
    reason: Reason = "",
    actor: Actor = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show a set of budgets to begin with, or set them. Without a name, list the sets.

    Parameters
    ----------
    name
        monthly-100, studio-412, guard-50-500 or agents-1000.
    apply
        Set the budgets. Those with the same ids are replaced; others stay.
    """
    if name is None:
        if apply:
            raise UsageError("name the preset to apply: see `tollgate budget preset`.")
        if json:
            print_json([_as_json(found, found.budgets) for found in PRESETS.values()])
        else:
            print_table(("PRESET", "WHAT IT IS"), [(found.name, found.about) for found in PRESETS.values()])
        return
    if name not in PRESETS:
        raise UsageError(f"{name!r} is none of {', '.join(PRESETS)}.")
    found = PRESETS[name]
    budgets = found.budgets
    if apply:
        budgets = await _set(find_settings(data_dir), found, actor or system_actor(), reason or f"preset {name}")
    if json:
        print_json(_as_json(found, budgets) | {"applied": apply})
        return
    print_line(found.about)
    for text in found.leaves_out:
        print_line(f"Left out: {text}.")
    print_table(("ID", "LIMIT", "UNIT", "WINDOW", "ACTIONS"), [_row(budget) for budget in budgets], right=(1,))
    say(f"{len(budgets)} budgets are set." if apply else "Nothing was set: add --apply to set these budgets.")


async def _set(settings: Settings, found: Preset, actor: str, reason: str) -> tuple[BudgetRecord, ...]:
    """Set each budget, one after the other, and return them as they are stored."""
    stored = []
    async with open_control(settings) as store:
        for budget in found.budgets:
            value = budget.model_dump(mode="json", exclude_none=True)
            changed = await store.change(f"{BUDGET_KEY_PREFIX}{budget.id}", value, actor=actor, reason=reason)
            stored.append(BudgetRecord.model_validate(changed.after))
    return tuple(stored)


def _as_json(found: Preset, budgets: tuple[BudgetRecord, ...]) -> dict[str, object]:
    shown = [budget_json(budget) for budget in budgets]
    return {"name": found.name, "about": found.about, "leaves_out": list(found.leaves_out), "budgets": shown}


def _row(budget: BudgetRecord) -> tuple[str, ...]:
    levels = (budget.thresholds.warning, budget.thresholds.critical, budget.thresholds.emergency)
    actions = ", ".join(f"{level.percent} % {level.action.value}" for level in levels if level is not None)
    return (budget.id, budget.limit, budget.unit, budget.window.value, actions)

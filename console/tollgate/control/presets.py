"""Sets of budgets to begin with, for `tollgate budget preset`."""

from dataclasses import dataclass
from typing import Final

from tollgate.schemas.control import BudgetRecord, ThresholdRecord, ThresholdsRecord, default_thresholds
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Action
from tollgate.schemas.scopes import GLOBAL_SCOPE
from tollgate.schemas.vocabulary import WindowKind


@dataclass(frozen=True, slots=True)
class Preset:
    """`leaves_out` is what the budgets of this release cannot say."""

    name: str
    about: str
    budgets: tuple[BudgetRecord, ...]
    leaves_out: tuple[str, ...] = ()


def _company(
    limit: str, window: WindowKind = WindowKind.MONTH, unit: str = "usd", thresholds: ThresholdsRecord | None = None
) -> BudgetRecord:
    """A budget of the whole company. The change that sets it sets its time."""
    return BudgetRecord(
        scope=GLOBAL_SCOPE,
        limit=limit,
        window=window,
        unit=unit,
        thresholds=thresholds or default_thresholds(),
        updated_at=format_instant(0),
    )


_ALERT_ONLY: Final = ThresholdsRecord(warning=ThresholdRecord(percent="100", action=Action.ALERT))

PRESETS: Final = {
    preset.name: preset
    for preset in (
        Preset(
            "monthly-100",
            "A small product: $100, 4,000,000 messages (events) and 2,500 images a month.",
            (_company("100"), _company("4000000", unit="events"), _company("2500", unit="images")),
        ),
        Preset(
            "studio-412",
            "A studio: $412 a month, and no day above $14.",
            (_company("412"), _company("14", WindowKind.DAY)),
        ),
        Preset(
            "guard-50-500",
            "A guard against accidents: an alert at $50 in an hour, and a stop of everything at $500 in a day.",
            (
                _company("50", WindowKind.HOUR, thresholds=_ALERT_ONLY),
                _company("500", WindowKind.DAY, thresholds=default_thresholds(Action.STOP)),
            ),
            ("the minimum margin of 20 %: budgets limit spend, and know nothing of revenue",),
        ),
        Preset(
            "agents-1000",
            "A product made of agents: $1,000 a month for all of them together.",
            (_company("1000"),),
            ("the range from $100 to $5,000 that people may choose from: any limit above 0 is accepted",),
        ),
    )
}

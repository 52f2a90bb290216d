"""Numbers, windows and times in words for people. Exact decimals in, text out; no float on the way."""

from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal, InvalidOperation
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tollgate.sinks.alerts.alert import Alert, AlertWindow

# Below its warning threshold, which is 80 % unless the budget says otherwise.
_CALM_SHARE: Final = Decimal("0.8")


def amount(text: str | None, unit: str | None) -> str:
    """`("104.2037", "usd")` → `$104.20`; `("4000000", "events")` → `4,000,000 events`.

    Rounded down, so that $99.999 of $100 does not read as reached; small amounts keep their significant digits.
    """
    value = _decimal(text)
    if value is None:
        return "?"
    if unit != "usd":
        shown = f"{value:,f}"
        return f"{shown} {(unit or '').replace('_', ' ')}".strip()
    if value == value.to_integral_value():
        return f"${value.to_integral_value():,f}"
    for places in ("0.01", "0.0001"):
        rounded = value.quantize(Decimal(places), ROUND_DOWN)
        if rounded >= Decimal(places) * 100:
            return f"${rounded:,f}"
    return f"${value.normalize():,f}"


def percent(text: str | None) -> str:
    """`104.20` → `104.2 %`, `80.00` → `80 %`."""
    value = _decimal(text)
    if value is None:
        return "? %"
    shown = f"{value:,f}"
    return f"{shown.rstrip('0').rstrip('.') if '.' in shown else shown} %"


def calming_limit(alert: Alert) -> str | None:
    """A limit with two significant digits under which what was spent is below 80 %: 104.2 spent → `140`."""
    spent, limit = _decimal(alert.spent), _decimal(alert.limit)
    if spent is None or limit is None or spent <= 0:
        return None
    needed = max(spent / _CALM_SHARE, limit)
    step = Decimal(1).scaleb(needed.adjusted() - 1)
    if alert.unit == "events":
        step = max(step, Decimal(1))
    rounded = (needed / step).to_integral_value(ROUND_CEILING) * step
    if rounded <= needed:
        rounded += step
    shown = f"{rounded:f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _decimal(text: str | None) -> Decimal | None:
    try:
        value = Decimal(text or "")
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def instant(text: str) -> datetime | None:
    """None when the text is not RFC 3339 with an offset."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def local_time(text: str) -> str:
    """The instant in each reader's own zone, as Slack renders it; UTC where Slack cannot."""
    found = instant(text)
    if found is None:
        return "?"
    return f"<!date^{int(found.timestamp())}^{{date_short_pretty}} {{time}}|{utc_time(text)}>"


def utc_time(text: str) -> str:
    """`2026-11-21 10:00 UTC`."""
    found = instant(text)
    return "?" if found is None else f"{found:%Y-%m-%d %H:%M} UTC"


def window_name(window: AlertWindow) -> str:
    """The window in its own zone: `Nov 2026 UTC`, `21 Nov 2026 UTC`, `21 Nov 2026 10:00 UTC`, `lifetime`."""
    start = instant(window.start)
    if window.kind == "lifetime" or start is None:
        return window.kind
    try:
        start = start.astimezone(ZoneInfo(window.timezone))
    except (ZoneInfoNotFoundError, ValueError):
        return f"{window.kind} from {utc_time(window.start)}"
    formats = {"month": "%b %Y", "day": "%d %b %Y", "week": "week of %d %b %Y", "hour": "%d %b %Y %H:%M"}
    return f"{start.strftime(formats.get(window.kind, '%d %b %Y %H:%M'))} {window.timezone}"


def resets(window: AlertWindow | None) -> bool:
    """Whether the window ever ends; a lifetime does not."""
    return window is not None and window.kind != "lifetime" and instant(window.end) is not None


def duration(since: str, until: str) -> str | None:
    """`2 d 3 h`, `1 h 5 min`, `40 s`: the two largest units of the time between, None when it is not known."""
    start, end = instant(since), instant(until)
    if start is None or end is None or end < start:
        return None
    seconds = (end - start) // timedelta(seconds=1)
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, seconds = divmod(rest, 60)
    parts = [f"{n} {name}" for n, name in ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")) if n]
    return " ".join(parts[:2]) or "0 s"

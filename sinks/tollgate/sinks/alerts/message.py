"""An alert record as a Slack message and as text. Pure.

Every name in a record is untrusted. Trusted text is written here; everything else passes through `untrusted`.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from tollgate.schemas.budgets import PLAN_BUDGETS
from tollgate.schemas.scopes import parse_names
from tollgate.schemas.text_rules import USAGE_KEY
from tollgate.schemas.vocabulary import Dimension
from tollgate.sinks.alerts import figures
from tollgate.sinks.alerts.alert import Alert
from tollgate.sinks.alerts.digest import Digest, Member
from tollgate.sinks.alerts.untrusted import clean, code, command, escape, fit, literal, plain

# Slack's limits: https://docs.slack.dev/reference/block-kit/blocks
HEADER_CHARS_MAX: Final = 150
SECTION_CHARS_MAX: Final = 3000
FIELD_CHARS_MAX: Final = 2000
# Slack cuts longer fallback texts; push notifications show far less.
TEXT_CHARS_MAX: Final = 2900
UNIT_CHARS_MAX: Final = 64
# Of a digest: what a person reads before they open the list.
DIGEST_LINES_MAX: Final = 10
_LIST: Final = "tollgate alerts list"

_ICONS: Final = {"warning": "🟠", "critical": "🔴", "emergency": "🚨", "resolved": "✅"}
# What an alert that is not about a budget or a price is called, and one that is over where that reads otherwise.
_KINDS: Final = {
    "clock": "A broker's clock is ahead",
    "poison": "A record was not counted",
    "stop": "All spending is stopped",
}
_KINDS_RESOLVED: Final = {"stop": "Spending goes on"}
_EFFECTS: Final = {
    "alert": "Nothing is blocked: this threshold only alerts.",
    "downgrade": "Services are asked to use a cheaper model.",
    "block": "New calls are refused with 429 `usage_limit_exceeded`.",
    "stop": "New calls are refused with 503 `spending_stopped`.",
}

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """`text` is what notifications and screen readers get; `blocks` is what the channel shows."""

    text: str
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Step:
    """Something to do: a sentence and, where one helps, the command that does it."""

    sentence: str
    command: str | None = None


def render(alert: Alert) -> Message:
    """The message for the alert as it stands; the same record gives the same message."""
    if isinstance(alert, Digest):
        return _render_digest(alert)
    title = f"{_ICONS[alert.level]} {alert.level.upper()} · {_title(alert)}"
    lines = [line for line in (_numbers(alert), _effect(alert), _why(alert)) if line]
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": fit(title, HEADER_CHARS_MAX), "emoji": False}},
        _section("\n".join(lines)),
    ]
    facts = [f"*{name}*\n{value}" for name, value in _facts(alert)]
    if facts:
        blocks.append({"type": "section", "fields": [_mrkdwn(fit(fact, FIELD_CHARS_MAX)) for fact in facts]})
    steps = _steps(alert)
    if steps:
        blocks.append(_section("\n".join(["*What to do*", *(_step_line(step) for step in steps)])))
    blocks.append({"type": "context", "elements": [_mrkdwn(_history(alert))]})
    return Message(text=fit(f"{alert.level.upper()}: {_summary(alert)}", TEXT_CHARS_MAX), blocks=blocks)


def _render_digest(digest: Digest) -> Message:
    firing = sum(count for level, count in digest.counts.items() if level != "resolved")
    title = f"{firing:,} alerts at once" if firing else "all alerts of a storm are over"
    counts = " · ".join(f"{literal(level, 20)} {count:,}" for level, count in digest.counts.items())
    worst = [member for member in digest.members if member.level != "resolved"][:DIGEST_LINES_MAX]
    lines = [f"• {literal(member.level, 20)} {code(member.line, 160)}{_share(member)}" for member in worst]
    if firing > len(worst):
        lines.append(f"and {firing - len(worst):,} more")
    blocks: list[Block] = [
        {
            "type": "header",
            "text": {
                "type": "plain_text",
                "text": f"{_ICONS[digest.level]} {digest.level.upper()} · {title}",
                "emoji": False,
            },
        },
        _section(f"*{counts or 'each has a later message of its own'}*"),
    ]
    if lines:
        blocks += [_section("\n".join(lines)), _section(f"*What to do*\n• See them all: `{_LIST}`")]
    blocks.append({"type": "context", "elements": [_mrkdwn(_history(digest))]})
    names = ", ".join(literal(member.line, 80) for member in worst[:3])
    more = f" and {firing - 3:,} more" if firing > 3 else ""
    text = f"{digest.level.upper()}: {title}" + (f": {names}{more}. See them with {_LIST}" if worst else "")
    return Message(text=fit(text, TEXT_CHARS_MAX), blocks=blocks)


def _share(member: Member) -> str:
    return f" at {figures.percent(member.percent)}" if member.percent else ""


def render_text(alert: Alert) -> str:
    """The same message as lines of text for a terminal or a log; safe to print."""
    name = clean(alert.subject, 120)
    lines = [f"{_ICONS[alert.level]} {alert.level.upper()} · {_heading(alert, name)}"]
    if alert.spent is not None:
        lines.append(f"  {_of_limit(alert)}")
    if alert.window is not None:
        ends = f", resets {figures.utc_time(alert.window.end)}" if figures.resets(alert.window) else ""
        lines.append(f"  window: {clean(figures.window_name(alert.window))}{ends}")
    lines += [f"  {line.replace('`', '')}" for line in (_effect(alert),) if line]
    if alert.reason:
        lines.append(f"  why: {clean(alert.reason, 600)}")
    if alert.driver:
        lines.append(f"  driver: {clean(alert.driver)}")
    lines += [f"  {step.sentence}" + (f": {step.command}" if step.command else "") for step in _steps(alert)]
    lines.append(
        f"  since {figures.utc_time(alert.since)} · updated {figures.utc_time(alert.updated_at)}" + _peak(alert)
    )
    return "\n".join(lines)


def _heading(alert: Alert, name: str) -> str:
    if alert.kind == "unpriced":
        return f"No price known · {name}"
    if alert.kind != "budget":
        kinds = _KINDS | _KINDS_RESOLVED if alert.level == "resolved" else _KINDS
        return f"{kinds.get(alert.kind) or clean(alert.kind, 40)} · {name}"
    window = f"{clean(alert.window.kind, 20)} budget" if alert.window else "budget"
    if alert.level == "resolved":
        return f"{window} · {name}"
    return f"{window} at {figures.percent(alert.percent)} · {name}"


def _title(alert: Alert) -> str:
    return plain(_heading(alert, clean(alert.subject, 80)), HEADER_CHARS_MAX)


def _summary(alert: Alert) -> str:
    name = literal(alert.subject, 120)
    if alert.kind == "unpriced":
        return literal(alert.reason or f"no price is known for {alert.subject}", 600)
    if alert.spent is None:
        return f"{name}. {literal(alert.reason or '', 400)}"
    if alert.level == "resolved":
        return f"{name}: {literal(alert.reason or 'back to normal', 400)}. {_of_limit(alert)}."
    window = f", {literal(figures.window_name(alert.window), 60)}" if alert.window else ""
    driver = f" Driver: {literal(alert.driver, 120)}." if alert.driver else ""
    return f"{name} has spent {_of_limit(alert)}{window}. {(_effect(alert) or '').replace('`', '')}{driver}"


def _of_limit(alert: Alert) -> str:
    # A unit is `usd`, `events` or a usage dimension; anything else is not shown, for this stands in bold.
    unit = alert.unit or "usd"
    unit = unit if USAGE_KEY.fullmatch(unit) and len(unit) <= UNIT_CHARS_MAX else "units"
    spent, limit = figures.amount(alert.spent, unit), figures.amount(alert.limit, unit)
    return f"{spent} of {limit} ({figures.percent(alert.percent)})"


def _numbers(alert: Alert) -> str | None:
    if alert.spent is None:
        return None
    until = f" · resets {figures.local_time(alert.window.end)}" if alert.window and figures.resets(alert.window) else ""
    return f"*{_of_limit(alert)}*{until if alert.level != 'resolved' else ''}"


def _effect(alert: Alert) -> str | None:
    if alert.level == "resolved" or alert.kind not in ("budget", "stop"):
        return None
    return _EFFECTS.get(alert.action or "")


def _why(alert: Alert) -> str | None:
    return literal(alert.reason, 600) if alert.reason else (None if alert.spent is not None else "No reason was given.")


def _facts(alert: Alert) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    if alert.kind == "unpriced":
        facts += [("Provider", code(alert.provider or "?")), ("Model", code(alert.model or "?"))]
    elif alert.scope:
        facts.append(("Scope", code(alert.scope, 300)))
    if alert.budget:
        facts.append(("Budget", code(alert.budget, 300)))
    if alert.window:
        facts.append(("Window", literal(figures.window_name(alert.window), 100)))
    if alert.driver:
        facts.append(("Driver", code(alert.driver, 300)))
    if alert.level == "resolved":
        lasted = figures.duration(alert.since, alert.updated_at)
        if lasted:
            facts.append(("Lasted", lasted))
    return facts


def _steps(alert: Alert) -> list[_Step]:
    """Steps that on-call can take now; none when the alert is resolved."""
    if alert.level == "resolved":
        return []
    if alert.kind == "unpriced":
        return _unpriced_steps(alert)
    if alert.kind == "poison":
        return [_Step("See the record and why", "tollgate dead-letters list --reason poison")]
    if alert.kind == "stop":
        # The reason is a placeholder: it is written down for ever who let spending go on, and why.
        return [_Step("Let spending go on, in place of REASON", "tollgate resume --reason REASON")]
    if alert.kind != "budget" or not alert.scope:
        return []
    steps = [_Step("See what led to it", command("tollgate", "why", name=alert.scope) or "tollgate why SCOPE")]
    limit = figures.calming_limit(alert)
    if alert.budget and alert.budget.startswith(PLAN_BUDGETS):
        steps.append(_Step("Give the user a larger plan, in place of PLAN", _plan_command(alert.scope)))
        raise_it = "Or raise this limit for them alone"
    else:
        raise_it = "Raise the limit, if the spend is right"
    if limit is not None:
        steps.append(_Step(raise_it, _raise_command(alert, limit)))
    if figures.resets(alert.window):
        steps.append(_Step("Or leave it: it ends by itself when the window does"))
    return steps


def _plan_command(scope: str) -> str:
    try:
        user = next((name for dimension, name in parse_names(scope) if dimension is Dimension.USER), "")
    except ValueError:
        # The record was written by somebody else.
        user = ""
    words = ("--", user) if user.startswith("-") else (user,)
    written = command("tollgate", "plan", "assign", *words, "PLAN") if user else None
    return written or "tollgate plan assign USER PLAN"


def _raise_command(alert: Alert, limit: str) -> str:
    words = ["--limit", limit]
    if alert.unit and alert.unit != "usd":
        words += ["--unit", alert.unit]
    if alert.window:
        words += ["--window", alert.window.kind]
        if alert.window.timezone != "UTC":
            words += ["--timezone", alert.window.timezone]
    if alert.severity >= 2 and alert.action and alert.action != "block":
        words += ["--action", alert.action]
    return command("tollgate", "budget", "set", alert.scope, *words) or f"tollgate budget set SCOPE --limit {limit}"


def _unpriced_steps(alert: Alert) -> list[_Step]:
    # `USD` is a placeholder for the reader to replace: a number here might be pasted without thought.
    dimensions = alert.dimensions or ("input_tokens",)
    words = [
        word
        for dimension in dimensions
        for word in ("--rate", f"{dimension}=USD/1M" if "token" in dimension else f"{dimension}=USD")
    ]
    for name, value in (alert.options or {}).items():
        words += ["--option", f"{name}={value}"]
    price_set = _price_set(alert.subject, words) if alert.provider and alert.model else None
    what = " and ".join(dimension.replace("_", " ") for dimension in dimensions)
    return [
        _Step(
            f"Give {plain(what, 200)} a price, in place of USD",
            price_set or "tollgate price set PROVIDER/MODEL --rate DIMENSION=USD",
        ),
        _Step("See the prices that are known", "tollgate price list"),
    ]


def _price_set(subject: str, rates: list[str]) -> str | None:
    words = ("tollgate", "price", "set")
    return command(*words, *rates, name=subject) if subject.startswith("-") else command(*words, subject, *rates)


def _step_line(step: _Step) -> str:
    if step.command is None:
        return f"• {step.sentence}."
    return f"• {step.sentence}: `{escape(step.command)}`"


def _history(alert: Alert) -> str:
    """Slack shows no "(edited)" on a message with blocks, so the message says itself when it changed."""
    verb = "Fired at" if alert.level == "resolved" else "Firing since"
    since = figures.local_time(alert.since)
    return f"{verb} {since} · updated {figures.local_time(alert.updated_at)} · revision {alert.revision}" + _peak(alert)


def _peak(alert: Alert) -> str:
    if (
        not alert.peak_percent
        or not alert.peak_level
        or (alert.level != "resolved" and alert.peak_level == alert.level)
    ):
        return ""
    return f" · peak {figures.percent(alert.peak_percent)} ({literal(alert.peak_level, 20)})"


def _section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(fit(text, SECTION_CHARS_MAX))}


def _mrkdwn(text: str) -> Block:
    # Verbatim: Slack then makes no links or mentions out of plain words.
    return {"type": "mrkdwn", "text": text, "verbatim": True}

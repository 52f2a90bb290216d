"""What the channel and the terminal show."""

import json
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.alert_records import budget_record, decoded, unpriced_record
from tests.support.slack_rules import fault_of_message, markup_of, markup_of_message

from tollgate.schemas.outputs import Alert as AlertModel
from tollgate.sinks.alerts import Message, render, render_text

LEVELS = ["warning", "critical", "emergency", "resolved"]


def texts(message: Message) -> list[str]:
    """Every text that Slack would render, the fallback included."""
    found = [message.text]
    for block in message.blocks:
        parts = [*block.get("fields", []), *block.get("elements", [])] + ([block["text"]] if "text" in block else [])
        found += [part["text"] for part in parts]
    return found


def shown(message: Message) -> str:
    return "\n".join(texts(message))


@pytest.mark.parametrize(
    ("scope", "plan", "budget"),
    [
        ("user/u-1+feature/video", "plan assign u-1 PLAN", "budget set user/u-1+feature/video"),
        ("user/-x y+feature/video", "plan assign -- '-x y' PLAN", "budget set 'user/-x y+feature/video'"),
        ("user/a%2Bmodel/b+feature/video", "plan assign a+model/b PLAN", "budget set user/a%2Bmodel/b+feature/video"),
        ("user/\u202ex+feature/video", "plan assign USER PLAN", "budget set SCOPE"),
        ("nothing", "plan assign USER PLAN", "budget set nothing"),
    ],
)
def test_a_limit_of_a_plan_is_raised_by_a_larger_plan(scope: str, plan: str, budget: str) -> None:
    of_plan = {"budget": "plan/free/video/events", "unit": "events", "spent": "10", "limit": "10"}
    steps = render(decoded(budget_record("critical", 1, scope, **of_plan))).blocks[3]["text"]["text"]
    assert f"• Give the user a larger plan, in place of PLAN: `tollgate {plan}`" in steps
    assert f"• Or raise this limit for them alone: `tollgate {budget} --limit 13" in steps


def test_a_critical_alert_says_what_happened_until_when_and_what_to_do() -> None:
    message = render(decoded(budget_record("critical", revision=3)))
    assert message.text == (
        "CRITICAL: user/u-1 has spent $104.20 of $100 (104.2 %), Nov 2026 UTC."
        " New calls are refused with 429 usage_limit_exceeded."
    )
    header, numbers, facts, steps, history = message.blocks
    assert header["text"] == {
        "type": "plain_text",
        "text": "🔴 CRITICAL · month budget at 104.2 % · user/u-1",
        "emoji": False,
    }
    assert numbers["text"]["text"].startswith(
        "*$104.20 of $100 (104.2 %)* · resets <!date^1796083200^{date_short_pretty} {time}|2026-12-01 00:00 UTC>\n"
        "New calls are refused with 429 `usage_limit_exceeded`."
    )
    assert [fact["text"] for fact in facts["fields"]] == [
        "*Scope*\n`user/u-1`",
        "*Budget*\n`user/*:month:usd`",
        "*Window*\nNov 2026 UTC",
    ]
    assert "`tollgate why user/u-1`" in steps["text"]["text"]
    # 104.2 / 0.8 is 130.25; the next limit with two digits is 140.
    assert "`tollgate budget set user/u-1 --limit 140 --window month`" in steps["text"]["text"]
    assert history["elements"][0]["text"] == (
        "Firing since <!date^1795262400^{date_short_pretty} {time}|2026-11-21 12:00 UTC>"
        " · updated <!date^1795262580^{date_short_pretty} {time}|2026-11-21 12:03 UTC> · revision 3"
    )


def test_a_resolved_alert_shows_its_peak_and_length_and_asks_for_nothing() -> None:
    message = render(decoded(budget_record("resolved", revision=65, reason="the window has ended")))
    assert message.blocks[0]["text"]["text"] == "✅ RESOLVED · month budget · user/u-1"
    assert message.text == "RESOLVED: user/u-1: the window has ended. $151 of $500 (30.2 %)."
    assert "*Lasted*\n1 h 5 min" in shown(message)
    assert "peak 151 % (emergency)" in shown(message)
    assert "tollgate " not in shown(message)
    assert "What to do" not in shown(message)


def test_an_unpriced_model_says_what_it_was_priced_by_and_how_to_price_it() -> None:
    message = render(decoded(unpriced_record()))
    assert "priced by openai/o1-pro@2025-03-19" in message.text
    assert message.blocks[0]["text"]["text"] == "🟠 WARNING · No price known · openai/gpt-9"
    assert "`tollgate price set openai/gpt-9 --rate input_tokens=USD/1M`" in shown(message)


def test_a_record_that_was_put_aside_says_which_and_how_to_see_it() -> None:
    record = {
        "key": "poison/tollgate.usage/3/17",
        "kind": "poison",
        "level": "critical",
        "scope": "global",
        "reason": "record 17 of tollgate.usage partition 3: this record ended the worker 3 times in a row",
        "peak_level": "critical",
        "since": "2026-11-21T12:00:00Z",
        "updated_at": "2026-11-21T12:00:00Z",
        "revision": 1,
    }
    text = render_text(decoded(record))
    assert text.startswith("🔴 CRITICAL · A record was not counted · poison/tollgate.usage/3/17\n")
    assert "tollgate dead-letters list --reason poison" in text


def test_a_clock_that_is_ahead_is_called_so() -> None:
    record = {
        "key": "clock/3", "kind": "clock", "level": "warning", "scope": "global", "reason": "a record was stamped",
        "since": "2026-11-21T12:00:00Z", "updated_at": "2026-11-21T12:00:00Z", "revision": 1,
    }  # fmt: skip
    assert render_text(decoded(record)).startswith("🟠 WARNING · A broker's clock is ahead · clock/3\n")


STOP: dict[str, Any] = {
    "key": "stop/global", "kind": "stop", "level": "emergency", "scope": "global", "state": "stopped", "action": "stop",
    "reason": "ada stopped all spending: the provider bills twice", "peak_level": "emergency",
    "since": "2026-11-21T12:00:00Z", "updated_at": "2026-11-21T12:00:00Z", "revision": 1,
}  # fmt: skip


def test_a_stop_by_hand_says_who_stopped_why_and_how_to_go_on() -> None:
    message = render(decoded(STOP))
    assert message.text == "EMERGENCY: global. ada stopped all spending: the provider bills twice"
    assert message.blocks[0]["text"]["text"] == "🚨 EMERGENCY · All spending is stopped · global"
    assert message.blocks[1]["text"]["text"] == (
        "New calls are refused with 503 `spending_stopped`.\nada stopped all spending: the provider bills twice"
    )
    assert "`tollgate resume --reason REASON`" in shown(message)
    assert decoded(STOP).line == "global · all spending is stopped"


def test_the_end_of_a_stop_says_who_let_spending_go_on_and_how_long_it_took() -> None:
    end = {"level": "resolved", "state": "ok", "action": None, "updated_at": "2026-11-21T13:05:00Z", "revision": 2}
    record = STOP | end | {"reason": "bob let spending go on: mended"}
    assert render_text(decoded(record)).startswith("✅ RESOLVED · Spending goes on · global\n")
    assert "*Lasted*\n1 h 5 min" in shown(render(decoded(record)))
    assert "tollgate resume" not in shown(render(decoded(record)))


@pytest.mark.parametrize(
    "reason", ["<!channel> *bold*", "<https://evil.example|click>", "a`b`c", "\u202egnp.exe", "x" * 1024]
)
def test_whoever_stops_cannot_mention_or_link(reason: str) -> None:
    message = render(decoded(STOP | {"reason": f"{reason} stopped all spending: {reason}"}))
    assert fault_of_message({"text": message.text, "blocks": message.blocks}) is None
    plain = render(decoded(STOP))
    wanted = markup_of_message({"text": plain.text, "blocks": plain.blocks})
    assert markup_of_message({"text": message.text, "blocks": message.blocks}) == wanted


def test_an_unpriced_dimension_is_named_in_the_command_that_prices_it() -> None:
    record = unpriced_record(
        model="gpt-4o", dimensions=["video_seconds", "input_audio_tokens"], options={"size": "a b"}
    )
    line = (
        "tollgate price set openai/gpt-4o --rate video_seconds=USD --rate input_audio_tokens=USD/1M --option 'size=a b'"
    )
    assert f"`{line}`" in shown(render(decoded(record)))


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("alert", "Nothing is blocked"),
        ("downgrade", "cheaper model"),
        ("block", "429 `usage_limit_exceeded`"),
        ("stop", "503 `spending_stopped`"),
    ],
)
def test_the_effect_of_each_action_is_told(action: str, words: str) -> None:
    assert words in shown(render(decoded(budget_record("critical", action=action))))


def test_a_budget_that_only_alerts_keeps_doing_so_when_its_limit_is_raised() -> None:
    message = render(decoded(budget_record("critical", action="alert", unit="images", spent="2600", limit="2500")))
    assert "--limit 3300 --unit images --window month --action alert`" in shown(message)


def test_a_lifetime_has_no_reset() -> None:
    window = {"kind": "lifetime", "start": "1970-01-01T00:00:00Z", "end": "9999-12-31T23:59:59Z", "timezone": "UTC"}
    message = render(decoded(budget_record("critical", window=window)))
    assert "resets" not in shown(message)
    assert "ends by itself" not in shown(message)


def test_a_driver_is_named_when_the_record_has_one() -> None:
    record = budget_record("critical", driver="agent/VIDEO 83 %")
    assert "*Driver*\n`agent/VIDEO 83 %`" in shown(render(decoded(record)))
    assert "driver: agent/VIDEO 83 %" in render_text(decoded(record))


def test_a_command_for_a_name_with_blanks_can_be_pasted_into_a_shell() -> None:
    message = render(decoded(budget_record("critical", scope="campaign/Black Friday; rm -rf ~ & <x>")))
    assert "`tollgate why 'campaign/Black Friday; rm -rf ~ &amp; &lt;x&gt;'`" in shown(message)


@pytest.mark.parametrize("scope", ["user/a`b", "user/\u202ecba", "user/a\nb", "user/" + "x" * 256, "user/@here"])
def test_a_name_that_cannot_be_shown_exactly_is_not_put_into_a_command(scope: str) -> None:
    message = render(decoded(budget_record("critical", scope=scope)))
    assert "`tollgate why SCOPE`" in shown(message)
    assert "tollgate budget set SCOPE --limit 140" in shown(message)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "name",
    [
        *("<!channel>", "<@U0123>", "<http://evil.example|click>", "@here", "@Channel", "`*_~", "a" * 256, "&" * 256),
        *("<" * 256, "\u202e" * 256, "\x1b[31m", "`" * 256, "e" + "\u0301" * 255, "😀" * 256),
    ],
)
def test_hostile_names_cannot_mention_link_or_break_the_limits(name: str, level: str) -> None:
    for record in (_with_name(name, level), unpriced_record(name, name, level=level)):
        _assert_harmless(record)


@given(name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=256), level=st.sampled_from(LEVELS))
def test_no_name_can_mention_link_hide_or_break_the_limits(name: str, level: str) -> None:
    _assert_harmless(_with_name(name, level))


NAMES = [
    "*bold*", "_x_", "~s~", ":fire:", "`code`", "```", "> quote", "https://evil.example/x", "evil.example", "www.evil",
    "a@evil.example", "mailto:a", "#general", "@here", "<!here>", "a*b*c", "**", "- item", "1. item", "\u202e*x*",
    "x\n*y*", ":a:b:", "&lt;!channel&gt;", "*_~`:fire:`~_*",
]  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", NAMES)
def test_markup_in_a_name_is_shown_and_not_rendered(name: str, level: str) -> None:
    for record, other in (
        (_with_name(name, level), _with_name("plain", level)),
        (unpriced_record(name, name, level=level), unpriced_record("plain", "plain", level=level)),
        (unpriced_record(kind=name, scope=name, reason=name), unpriced_record(kind="plain", scope="a", reason="plain")),
        (budget_record(level, unit=name, peak_level=name), budget_record(level, unit="events", peak_level="plain")),
    ):
        rendered, expected = render(decoded(record)), render(decoded(other))
        # What is formatted is what we format, whatever the name.
        assert markup_of_message(_body(rendered)) == markup_of_message(_body(expected))


@given(name=st.text("*_~`:>@#.<|&/ab \n", min_size=1, max_size=30), level=st.sampled_from(LEVELS))
def test_no_name_adds_markup(name: str, level: str) -> None:
    rendered, expected = render(decoded(_with_name(name, level))), render(decoded(_with_name("plain", level)))
    assert markup_of_message(_body(rendered)) == markup_of_message(_body(expected))


def test_the_rules_know_what_slack_renders() -> None:
    assert markup_of("a *b* _c_ ~d~ :fire: `*e*`") == ["*b*", "_c_", "~d~", ":fire:"]
    assert markup_of("<!channel> <@U1> <http://x|y> https://x.example x.example") == [
        *("<!channel>", "<@U1>", "<http://x|y>", "https://x.example", "x.example"),
    ]
    assert markup_of("&gt; quote") == ["&gt; quote"]
    assert markup_of("a_b_c 2*3*4 10:30:00") == []


def _body(message: Message) -> dict[str, Any]:
    return {"text": message.text, "blocks": message.blocks}


def _with_name(name: str, level: str) -> dict[str, Any]:
    scope = f"user/{name}+model/{name}"
    return budget_record(level, scope=scope, budget=f"{scope}:month:usd", driver=name, reason=f"{name} {name}")


def _assert_harmless(record: dict[str, Any]) -> None:
    alert = decoded(record)
    message = render(alert)
    assert fault_of_message({"text": message.text, "blocks": message.blocks}) is None
    for text in texts(message):
        without_dates = re.sub(r"<!date\^\d+\^\{date_short_pretty\} \{time\}\|[^<>]*>", "", text)
        assert "<" not in without_dates
        assert ">" not in without_dates
        assert not re.search("@(here|channel|everyone)", without_dates, re.IGNORECASE)
        assert without_dates.count("`") % 2 == 0
        assert not re.search("&(?!amp;|lt;|gt;)", without_dates)
    for text in [*texts(message), render_text(alert)]:
        visible = text.replace("\n", "")
        assert not [char for char in visible if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Cs")]


def test_words_are_never_made_into_links_or_mentions() -> None:
    for block in render(decoded(budget_record())).blocks[1:]:
        parts = [*block.get("fields", []), *block.get("elements", [])] + ([block["text"]] if "text" in block else [])
        assert parts
        assert all(part["verbatim"] is True for part in parts)


def test_there_are_no_buttons() -> None:
    kinds = {block["type"] for level in LEVELS for block in render(decoded(budget_record(level))).blocks}
    assert kinds == {"header", "section", "context"}


def test_the_text_has_the_same_facts() -> None:
    assert render_text(decoded(budget_record("critical", revision=2))).splitlines() == [
        "🔴 CRITICAL · month budget at 104.2 % · user/u-1",
        "  $104.20 of $100 (104.2 %)",
        "  window: Nov 2026 UTC, resets 2026-12-01 00:00 UTC",
        "  New calls are refused with 429 usage_limit_exceeded.",
        "  why: user/u-1 has reached 104.20 % of its month budget of 100 usd",
        "  See what led to it: tollgate why user/u-1",
        "  Raise the limit, if the spend is right: tollgate budget set user/u-1 --limit 140 --window month",
        "  Or leave it: it ends by itself when the window does",
        "  since 2026-11-21 12:00 UTC · updated 2026-11-21 12:02 UTC",
    ]


@pytest.mark.parametrize("record", [*(budget_record(level) for level in LEVELS), unpriced_record()])
def test_the_records_used_here_are_what_the_schema_promises(record: dict[str, Any]) -> None:
    assert AlertModel.model_validate_json(json.dumps(record)).key == record["key"]


def test_an_alert_of_a_kind_of_a_later_release_is_told_with_its_reason() -> None:
    record = unpriced_record(kind="spike", reason="spend is 6 times the usual", scope="agent/SEO")
    message = render(decoded(record))
    assert message.blocks[0]["text"]["text"] == "🟠 WARNING · spike · agent/SEO"
    assert "spend is 6 times the usual" in message.text

"""How amounts, percentages, names and instants read on a page."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tollgate.console import amounts
from tollgate.console.pages import shown


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("3912.441200000012", "$3,912.44"),
        ("1234567.895", "$1,234,567.90"),
        ("0.015", "$0.02"),
        ("0.01", "$0.01"),
        ("0.0099", "$0.0099"),
        ("0.0042", "$0.0042"),
        ("0.000025", "$0.000025"),
        ("0.00002549", "$0.000025"),
        ("0.000000000001", "$0.000000000001"),
        ("-200", "\u2212$200.00"),
        (Decimal("99999999999999999999999999.999"), "$100,000,000,000,000,000,000,000,000.00"),
        (None, ""),
        ("", ""),
        ("NaN", ""),
    ],
)
def test_money_is_never_cut_and_a_small_price_is_never_zero(amount: object, text: str) -> None:
    assert amounts.money(amount) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("1.20", "1.2"), ("100", "100"), ("0.000025", "0.000025"), (Decimal("1E+3"), "1000"), (None, "")],
)
def test_exact_has_every_digit_and_no_exponent(value: object, text: str) -> None:
    assert amounts.exact(value) == text


@pytest.mark.parametrize(
    ("value", "text", "level"),
    [
        ("0", "0\u00a0%", "ok"),
        ("0.4", "<1\u00a0%", "ok"),
        ("79.99", "79\u00a0%", "ok"),
        ("80", "80\u00a0%", "warn"),
        ("99.99", "99\u00a0%", "warn"),
        ("100.00", "100\u00a0%", "over"),
        ("1040.5", "1,040\u00a0%", "over"),
        (None, "", "unknown"),
    ],
)
def test_a_limit_reads_as_reached_only_when_it_is(value: object, text: str, level: str) -> None:
    assert (shown.percent(value), shown.level(value)) == (text, level)


def test_a_bar_stops_at_its_end() -> None:
    assert [shown.fill(value) for value in ("104.2", "33.333", "-1", None)] == ["100", "33.33", "0", "0"]
    assert shown.fill("2.66", "5.32") == "50"


def test_a_share_of_nothing_is_unknown() -> None:
    assert shown.share_of("1", "3") == Decimal("33.33")
    assert shown.share_of("0", "0") is None


def test_unseen_characters_are_written_out() -> None:
    assert shown.seen("\u202egnp.exe") == "\\u202egnp.exe"
    assert shown.seen("a\u200bb\x1b[31m") == "a\\u200bb\\x1b[31m"
    assert shown.seen("Zoë 東京 🙂") == "Zoë 東京 🙂"
    assert shown.seen(None) is None


def test_data_for_a_script_cannot_end_its_element() -> None:
    text = shown.data({"name": "</script><!--&\u2028", "cost": Decimal("1E+2")})
    assert text == '{"name":"\\u003c/script\\u003e\\u003c!--\\u0026\\u2028","cost":"100"}'


@pytest.mark.parametrize(
    ("name", "part"), [("u-42", "u-42"), ("a/b", "a%2Fb"), ("..", "%2E%2E"), (".", "%2E"), ("ü?#%", "%C3%BC%3F%23%25")]
)
def test_a_name_is_one_part_of_a_path(name: str, part: str) -> None:
    assert shown.path_part(name) == part


def test_a_users_scope_leads_to_their_page_and_another_to_its_own() -> None:
    assert shown.scope_href("user/a/b") == "/users/a%2Fb"
    assert shown.scope_href("agent/SEO&x=1") == "/scopes/agent%2FSEO%26x%3D1"
    assert shown.scope_href("global") == "/scopes/global"


def test_instants_are_written_in_utc() -> None:
    moment = datetime(2026, 11, 1, 4, 5, 6, tzinfo=UTC)
    assert shown.rfc3339(moment) == "2026-11-01T04:05:06Z"
    assert shown.rfc3339("2026-11-01T05:05:06+01:00") == "2026-11-01T04:05:06Z"
    assert shown.rfc3339(1_793_505_906_000) == "2026-11-01T04:05:06Z"
    assert shown.utc(moment, "time") == "4:05:06 UTC"
    assert shown.utc(moment) == "1 Nov 2026, 04:05 UTC"
    assert shown.utc("no instant") == ""

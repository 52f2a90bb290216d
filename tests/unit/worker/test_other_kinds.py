"""The worker passes over control records that are none of its business, without a word."""

import pytest
from structlog.testing import capture_logs

from tollgate.domain.pricing import load_price_book
from tollgate.runtime.settings import Settings
from tollgate.worker.control import ControlReader


@pytest.mark.parametrize("key", ["token/0123456789abcdef", "request/0a", "saving/s1", "", "budgets/x"])
@pytest.mark.parametrize("value", [b"{}", b"\xff", None])
def test_a_record_of_another_kind_changes_no_policy_and_is_not_logged(key: str, value: bytes | None) -> None:
    reader = ControlReader(Settings(), load_price_book("default"))
    with capture_logs() as logs:
        assert not reader._take(key, value)
    assert logs == []


def test_a_budget_changes_the_policy() -> None:
    reader = ControlReader(Settings(), load_price_book("default"))
    assert reader._take("budget/b", b'{"scope": "global", "limit": "5", "updated_at": "2026-11-21T10:00:00Z"}')
    assert reader._take("budget/b", None)

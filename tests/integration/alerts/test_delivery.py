"""Alerts from Kafka to a Slack-compatible server: one message per problem, whatever Slack does."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.alert_records import budget_record, unpriced_record
from tests.support.alert_sink import (
    all_sent,
    committed,
    notifications,
    publish,
    remove,
    rewind,
    sink_process,
    sinking,
    with_slack,
)
from tests.support.slack_server import Fault, SlackServer, running
from tests.waiting import eventually

from tollgate.runtime.settings import Settings
from tollgate.sinks.alerts.notification import Policy

pytestmark = pytest.mark.integration

QUICK = Policy(
    post_spacing_ms=20,
    edit_spacing_ms=20,
    edit_interval_ms=300,
    settle_ms=300,
    backoff_first_s=0.1,
    backoff_max_s=0.5,
    misconfigured_retry_s=0.3,
)


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with running(SlackServer()) as server:
        yield server


def header(server: SlackServer, number: int = 0) -> str:
    text: str = server.messages[number].body["blocks"][0]["text"]["text"]
    return text


async def test_one_message_is_edited_from_warning_to_resolved(
    settings: Settings, slack: SlackServer, tmp_path: Path
) -> None:
    async with sink_process(with_slack(settings, slack), tmp_path / "log") as sink:
        for revision, level in enumerate(["warning", "critical", "emergency", "resolved"], 1):
            record = budget_record(level, revision)
            await publish(settings, [record])
            await all_sent(settings, [record])
            assert header(slack).split(" · ")[0].split(" ")[1] == level.upper()
        assert await sink.stop() == 0
    assert len(slack.messages) == 1
    assert (slack.accepted("chat.postMessage"), slack.accepted("chat.update")) == (1, 3)
    told = (await notifications(settings))[record["key"]]
    assert (told.state, told.ts, told.revision, told.level) == ("sent", slack.messages[0].ts, 4, "resolved")
    assert await committed(settings) is not None


async def test_numbers_are_edited_at_most_once_per_interval_and_the_last_ones_win(
    settings: Settings, slack: SlackServer
) -> None:
    policy = Policy(post_spacing_ms=20, edit_spacing_ms=20, edit_interval_ms=1_000)
    async with sinking(with_slack(settings, slack), policy):
        await publish(settings, [budget_record("warning", 1)])
        await all_sent(settings, [budget_record("warning", 1)])
        for revision in range(2, 8):
            await publish(
                settings, [budget_record("warning", revision, spent=f"8{revision}", percent=f"8{revision}.00")]
            )
        await all_sent(settings, [budget_record("warning", 7)])
    assert len(slack.messages) == 1
    assert "87 %" in header(slack)
    edits = [call.at for call in slack.calls if call.method == "chat.update"]
    assert len(edits) < 6
    assert all(later - earlier > 0.95 for earlier, later in pairwise(edits))


async def test_slowing_down_when_asked_loses_nothing_and_posts_nothing_twice(
    settings: Settings, slack: SlackServer
) -> None:
    slack.faults += [Fault("limit", "chat.postMessage", times=2, seconds=1), Fault("limit", "chat.update", seconds=1)]
    records = [budget_record("warning", 1, f"user/{n}") for n in range(3)]
    async with sinking(with_slack(settings, slack), QUICK):
        await publish(settings, records)
        await all_sent(settings, records)
        await publish(settings, [budget_record("critical", 2, "user/1")])
        await all_sent(settings, [budget_record("critical", 2, "user/1")])
    assert len(slack.messages) == 3
    posts = [call for call in slack.calls if call.method == "chat.postMessage"]
    assert [call.answer for call in posts] == ["ratelimited", "ratelimited", "ok", "ok", "ok"]
    assert all(later.at - earlier.at >= 1 for earlier, later in pairwise(posts[:3]))


async def test_an_outage_is_waited_out(settings: Settings, slack: SlackServer, tmp_path: Path) -> None:
    slack.faults.append(Fault("status", "*", times=10**6, accept=False, status=503))
    record = budget_record("critical", 1)
    async with sink_process(
        with_slack(settings, slack), tmp_path / "log", {"backoff_max_s": 1, "settle_ms": 300}
    ) as sink:
        await publish(settings, [budget_record("warning", 1, "user/2"), record])
        await sink.logs("Slack cannot be reached; alerts wait")

        async def tried_again() -> bool:
            return len(slack.calls) >= 4

        await eventually(tried_again)
        slack.faults.clear()
        await all_sent(settings, [record, budget_record("warning", 1, "user/2")])
        assert await sink.stop() == 0
    assert len(slack.messages) == 2


@pytest.mark.parametrize("kind", ["drop", "status"])
async def test_a_post_that_arrived_without_an_answer_is_found_and_not_repeated(
    settings: Settings, slack: SlackServer, kind: str
) -> None:
    slack.faults.append(Fault("drop" if kind == "drop" else "status", times=2))
    records = [budget_record("warning", 1, f"user/{n}") for n in range(4)]
    async with sinking(with_slack(settings, slack), QUICK):
        await publish(settings, records)
        await all_sent(settings, records)
    assert len(slack.messages) == 4


async def test_without_the_right_to_read_history_a_doubtful_post_is_repeated_rather_than_lost(
    settings: Settings, slack: SlackServer
) -> None:
    slack.faults += [
        Fault("status", "chat.postMessage", accept=False),
        Fault("error", "conversations.history", code="missing_scope"),
    ]
    async with sinking(with_slack(settings, slack), QUICK):
        await publish(settings, [budget_record()])
        await all_sent(settings, [budget_record()])
    assert len(slack.messages) == 1


async def test_a_wrong_token_is_named_and_nothing_is_lost_until_it_is_mended(
    settings: Settings, slack: SlackServer, tmp_path: Path
) -> None:
    slack.faults.append(Fault("error", "*", times=10**6, code="invalid_auth"))
    configured = with_slack(settings, slack)
    async with sink_process(configured, tmp_path / "log", {"misconfigured_retry_s": 0.3}) as sink:
        await publish(settings, [budget_record()])
        await sink.logs("invalid_auth")
        await sink.logs("set TOLLGATE_SLACK_BOT_TOKEN")
        slack.faults.clear()
        await all_sent(settings, [budget_record()])
        assert await sink.stop() == 0
        assert configured.slack_bot_token is not None
        assert configured.slack_bot_token.get_secret_value() not in sink.log_text()
    assert len(slack.messages) == 1


async def test_a_message_that_slack_refuses_is_sent_as_text_and_holds_up_nobody(
    settings: Settings, slack: SlackServer
) -> None:
    slack.faults.append(Fault("error", "chat.postMessage", code="invalid_blocks"))
    records = [budget_record("emergency", 1, "user/odd"), budget_record("critical", 1, "user/even")]
    async with sinking(with_slack(settings, slack), QUICK):
        await publish(settings, records)
        await all_sent(settings, records)
    assert [(m.body["text"].split(" ")[1], bool(m.body.get("blocks"))) for m in slack.messages] == [
        ("user/odd", False),
        ("user/even", True),
    ]


async def test_a_restart_and_a_replay_of_all_alerts_post_nothing_again(settings: Settings, slack: SlackServer) -> None:
    records = [
        budget_record("warning", 1, "user/1"),
        budget_record("critical", 2, "user/1"),
        budget_record("warning", 1, "user/2"),
        unpriced_record(),
    ]
    configured = with_slack(settings, slack)
    async with sinking(configured, QUICK):
        await publish(settings, records)
        await all_sent(settings, records[1:])
    await rewind(settings)
    calls = len(slack.calls)
    async with sinking(configured, QUICK):
        # Unpriced models are told again by each partition that meets them, with the same revision.
        await publish(settings, [*records, budget_record("emergency", 3, "user/2")])
        await all_sent(settings, [budget_record("emergency", 3, "user/2")])
    assert len(slack.messages) == 3
    assert [call.method for call in slack.calls[calls:]] == ["chat.update"]


async def test_what_ended_before_anybody_could_be_told_is_told_only_if_it_blocked(
    settings: Settings, slack: SlackServer
) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    blocked = budget_record("resolved", 3, "user/blocked", peak_level="critical", updated_at=now)
    warned = budget_record("resolved", 2, "user/warned", peak_level="warning", updated_at=now)
    firing = [budget_record("warning", 1, "user/warned"), budget_record("critical", 2, "user/blocked")]
    await publish(settings, [*firing, warned, blocked])
    async with sinking(with_slack(settings, slack), QUICK):
        await all_sent(settings, [blocked])
    assert [message.body["text"].split(":")[0] for message in slack.messages] == ["RESOLVED"]
    assert set(await notifications(settings)) == {blocked["key"]}


async def test_two_hundred_alerts_at_once_arrive_by_severity_within_the_limits_and_edits_go_on(
    settings: Settings, slack: SlackServer
) -> None:
    shown = budget_record("warning", 1, "user/shown")
    levels = ["warning", "critical", "emergency", "warning", "critical"]
    storm = [budget_record(levels[n % 5], 1, f"user/{n:03}") for n in range(200)]
    slack.post_spacing_s = 0.02
    async with sinking(with_slack(settings, slack), QUICK):
        await publish(settings, [shown])
        await all_sent(settings, [shown])
        await publish(settings, storm)

        async def begun() -> bool:
            return len(slack.messages) > 5

        await eventually(begun)
        await publish(settings, [budget_record("critical", 2, "user/shown")])
        await all_sent(settings, [budget_record("critical", 2, "user/shown")])
        before_the_end = len(slack.messages)
        await all_sent(settings, storm, seconds=90)
    assert before_the_end < 201
    assert "ratelimited" not in {call.answer for call in slack.calls}
    assert len(slack.messages) == 201
    order = [message.edits[0]["text"].split(":")[0] for message in slack.messages[1:]]
    assert order == ["EMERGENCY"] * 40 + ["CRITICAL"] * 80 + ["WARNING"] * 80
    posts = [call.at for call in slack.calls if call.method == "chat.postMessage"]
    assert all(later - earlier >= 0.02 for earlier, later in pairwise(posts))


async def test_a_deleted_message_is_replaced_at_the_next_level(settings: Settings, slack: SlackServer) -> None:
    async with sinking(with_slack(settings, slack), QUICK):
        await publish(settings, [budget_record("warning", 1)])
        await all_sent(settings, [budget_record("warning", 1)])
        slack.messages.clear()
        await publish(settings, [budget_record("critical", 2)])
        await all_sent(settings, [budget_record("critical", 2)])
    assert [message.body["text"].split(":")[0] for message in slack.messages] == ["CRITICAL"]


async def test_a_removed_alert_takes_its_notification_with_it_and_is_never_posted_again(
    settings: Settings, slack: SlackServer
) -> None:
    record = budget_record("critical", 1)
    configured = with_slack(settings, slack)
    async with sinking(configured, QUICK):
        await publish(settings, [record])
        await all_sent(settings, [record])
        await publish(settings, [budget_record("resolved", 2)])
        await all_sent(settings, [budget_record("resolved", 2)])
        await remove(settings, record["key"])

        async def gone() -> bool:
            return await notifications(settings) == {}

        await eventually(gone)
    await rewind(settings)
    async with sinking(configured, QUICK):
        other = budget_record("critical", 1, "user/other")
        await publish(settings, [other])
        await all_sent(settings, [other])
    assert slack.accepted("chat.postMessage") == 2

"""The sink as a process: killed, frozen, stopped, badly configured, without Slack and without Kafka."""

import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.alert_records import budget_record, unpriced_record
from tests.support.alert_sink import all_sent, committed, publish, sink_process, with_slack
from tests.support.slack_server import CHANNEL, TOKEN, Fault, SlackServer, running
from tests.waiting import eventually

from tollgate.runtime.settings import Settings, load_settings

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with running(SlackServer()) as server:
        yield server


@pytest.mark.chaos
async def test_a_kill_between_post_and_record_posts_nothing_twice(
    settings: Settings, slack: SlackServer, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    configured = with_slack(settings, slack)
    records = []
    for number in range(3):
        slack.faults.append(Fault("delay", seconds=60))
        records.append(budget_record(chance.choice(["warning", "critical", "emergency"]), 1, f"user/{number}"))
        await publish(settings, records[-1:])
        async with sink_process(configured, tmp_path / "log") as sink:

            async def accepted(wanted: int = number + 1) -> bool:
                return len(slack.messages) == wanted

            await eventually(accepted, 40)
            await sink.kill()
    async with sink_process(configured, tmp_path / "log") as sink:
        await all_sent(settings, records, 60)
        assert await sink.stop() == 0
    assert sorted(call.key for call in slack.calls if call.method == "chat.postMessage") == sorted(
        record["key"] for record in records
    )


@pytest.mark.long
@pytest.mark.chaos
async def test_kills_at_any_moment_leave_one_message_per_alert(
    settings: Settings, slack: SlackServer, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    configured = with_slack(settings, slack)
    policy = {"post_spacing_ms": 20, "edit_spacing_ms": 20, "settle_ms": 500}
    records = [budget_record("warning", 1, f"user/{number}") for number in range(40)]
    await publish(settings, records)
    for kill_at in sorted(chance.sample(range(1, 40), 3)):
        async with sink_process(configured, tmp_path / "log", policy) as sink:

            async def reached(wanted: int = kill_at) -> bool:
                return len(slack.messages) >= wanted

            await eventually(reached, 40)
            await sink.kill()
    last = [budget_record("critical", 2, f"user/{number}") for number in range(40)]
    await publish(settings, last)
    async with sink_process(configured, tmp_path / "log", policy) as sink:
        await all_sent(settings, last, 60)
        assert await sink.stop() == 0
    keys = [message.body["metadata"]["event_payload"]["alert_key"] for message in slack.messages]
    assert sorted(keys) == sorted(record["key"] for record in last)


@pytest.mark.chaos
async def test_a_frozen_process_that_was_replaced_does_not_post_when_it_wakes(
    settings: Settings, slack: SlackServer, tmp_path: Path
) -> None:
    configured = with_slack(settings, slack)
    async with sink_process(configured, tmp_path / "frozen") as frozen:
        await frozen.logs("alerts restored")
        frozen.signal(signal.SIGSTOP)
        records = [budget_record("critical", 1, f"user/{number}") for number in range(3)]
        await publish(settings, records)
        async with sink_process(configured, tmp_path / "other") as other:
            await all_sent(settings, records, 40)
            frozen.signal(signal.SIGCONT)
            await publish(settings, [budget_record("emergency", 1, "user/last")])
            await all_sent(settings, [budget_record("emergency", 1, "user/last")], 40)
            assert await frozen.stop() == 0
            assert await other.stop() == 0
    assert len(slack.messages) == 4


async def test_a_stop_while_slack_answers_slowly_finishes_what_is_in_hand(
    settings: Settings, slack: SlackServer, tmp_path: Path
) -> None:
    slack.faults.append(Fault("delay", seconds=2))
    record = budget_record()
    await publish(settings, [record])
    async with sink_process(with_slack(settings, slack), tmp_path / "log") as sink:

        async def accepted() -> bool:
            return len(slack.messages) == 1

        await eventually(accepted, 30)
        assert await sink.stop() == 0
    await all_sent(settings, [record], 1)
    # One alert record and the marker of its transaction lie before the first offset to read.
    assert await committed(settings) in (1, 2)


async def test_a_webhook_tells_levels_and_the_end(settings: Settings, slack: SlackServer, tmp_path: Path) -> None:
    configured = load_settings(**settings.model_dump(exclude_unset=True), slack_webhook_url=slack.webhook_url)
    levels = ["warning", "warning", "critical", "critical", "resolved"]
    async with sink_process(configured, tmp_path / "log", {"post_spacing_ms": 20}) as sink:
        for revision, level in enumerate(levels, 1):
            record = budget_record(level, revision, spent=f"8{revision}")
            await publish(settings, [record])
            if level != levels[revision - 2]:
                await all_sent(settings, [record])
        assert await sink.stop() == 0
        assert "secret" not in sink.log_text()
    assert [body["text"].split(":")[0] for body in slack.webhook_bodies] == ["WARNING", "CRITICAL", "RESOLVED"]


async def test_without_slack_each_level_is_printed_as_text(settings: Settings, tmp_path: Path) -> None:
    async with sink_process(settings, tmp_path / "log") as sink:
        await publish(settings, [budget_record("warning", 1), unpriced_record()])
        await all_sent(settings, [budget_record("warning", 1), unpriced_record()])
        await publish(settings, [budget_record("warning", 2), budget_record("critical", 3)])
        await all_sent(settings, [budget_record("critical", 3)])
        assert await sink.stop() == 0
        log = sink.log_text()
    assert "\n  $104.20 of $100 (104.2 %)\n" in log
    assert "tollgate why user/u-1\n" in log
    assert log.count("· month budget at 80.11 % ·") == 1
    assert log.count("No price known · openai/gpt-9") == 1


async def test_without_slack_a_json_log_has_the_text_in_one_field(settings: Settings, tmp_path: Path) -> None:
    configured = load_settings(**settings.model_dump(exclude_unset=True), log_format="json")
    async with sink_process(configured, tmp_path / "log") as sink:
        await publish(settings, [budget_record("critical", 1)])
        await sink.logs('"text": "')
        assert await sink.stop() == 0
        assert "month budget at 104.2 %" in sink.log_text()


async def test_a_token_without_a_channel_is_refused_at_once(tmp_path: Path) -> None:
    async with sink_process(load_settings(slack_bot_token=TOKEN), tmp_path / "log") as sink:
        assert await sink.wait() == 2
        assert "TOLLGATE_SLACK_BOT_TOKEN is set but TOLLGATE_SLACK_CHANNEL is not" in sink.log_text()
        assert TOKEN not in sink.log_text()


async def test_a_kafka_that_is_down_is_waited_for(tmp_path: Path) -> None:
    configured = load_settings(kafka_bootstrap_servers="127.0.0.1:1", slack_bot_token=TOKEN, slack_channel=CHANNEL)
    async with sink_process(configured, tmp_path / "log") as sink:
        await sink.logs("Kafka at 127.0.0.1:1 cannot be used; alerts wait")
        assert await sink.stop() == 0


async def test_missing_topics_are_named_with_the_command_that_makes_them(settings: Settings, tmp_path: Path) -> None:
    other = load_settings(**(settings.model_dump(exclude_unset=True) | {"topic_prefix": "absent."}))
    async with sink_process(other, tmp_path / "log") as sink:
        await sink.logs("topic absent.alerts does not exist: run `tollgate topics apply`")
        assert await sink.stop() == 0

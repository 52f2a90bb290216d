"""The room of settings: the stop by hand, and what the installation is set to."""

import asyncio

import pytest
from tests.support.changing_rooms import API, changing_console, client_of

STOP = f"{API}/settings/stop"
STOPPED = {"value": {"stopped": True}, "reason": "the provider bills twice"}


async def test_spending_is_stopped_and_resumed_with_a_reason() -> None:
    console = changing_console()
    admin = await client_of(console)
    before = await admin.get(STOP)
    assert (before.json()["value"], before.json()["version"], before.headers["etag"]) == ({"stopped": False}, 0, '"0"')
    assert (await admin.get(STOP, headers={"If-None-Match": '"0"'})).status_code == 304
    stopped = await admin.put(STOP, json=STOPPED)
    assert (stopped.status_code, stopped.headers["etag"]) == (200, '"1"'), stopped.text
    told = stopped.json()
    assert (told["actor"], told["value"]) == ("token:ada", {"stopped": True})
    assert told["sentence"] == "token:ada stopped all spending: the provider bills twice."
    assert (await admin.get(STOP)).json() == told
    assert (await admin.get(f"{API}/settings")).json()["stop"] == told
    silent = await admin.put(STOP, json={"value": {"stopped": False}}, headers={"If-Match": '"1"'})
    assert (silent.status_code, "reason" in silent.json()["detail"]) == (422, True)
    resumed = await admin.put(STOP, json={"value": {"stopped": False}, "reason": "mended"}, headers={"If-Match": '"1"'})
    assert (resumed.status_code, resumed.json()["version"]) == (200, 2)


async def test_in_haste_any_version_will_do() -> None:
    console = changing_console()
    admin = await client_of(console)
    for version in (1, 2):
        answer = await admin.put(STOP, json=STOPPED, headers={"If-Match": "*"})
        assert (answer.status_code, answer.json()["version"]) == (200, version)
    assert (await admin.put(STOP, json=STOPPED)).status_code == 428
    assert (await admin.put(STOP, json=STOPPED, headers={"If-None-Match": "*"})).status_code == 412


async def test_of_two_changes_of_the_same_version_one_wins() -> None:
    console = changing_console()
    admin = await client_of(console)
    await admin.put(STOP, json=STOPPED)
    match = {"If-Match": '"1"'}
    answers = await asyncio.gather(*(admin.put(STOP, json=STOPPED | {"reason": r}, headers=match) for r in "ab"))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_a_repeated_request_is_done_once() -> None:
    console = changing_console()
    admin = await client_of(console)
    key = {"Idempotency-Key": "k"}
    answers = [(await admin.put(STOP, json=STOPPED, headers=key)).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert (await admin.put(STOP, json=STOPPED | {"reason": "x"}, headers=key)).status_code == 422


@pytest.mark.parametrize("name", ["nothing", "STOP", "%2e%2e%2fstop", "<script>", "x" * 257, "%E2%80%AEpots"])
async def test_a_setting_that_is_none_is_not_found(name: str) -> None:
    admin = await client_of(changing_console())
    for answer in (
        await admin.get(f"{API}/settings/{name}"),
        await admin.put(f"{API}/settings/{name}", json=STOPPED),
    ):
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"value": True},
        {"value": {"stopped": "true"}},
        {"value": {"stopped": 1}},
        {"value": {"stopped": True, "until": "x"}},
        {"value": {"stopped": True}, "reason": "a\nb"},
        {"value": {"stopped": True}, "reason": "x" * 1025},
        {"value": {"stopped": True}, "actor": "me"},
        [],
    ],
)
async def test_what_is_no_stop_is_refused(body: object) -> None:
    console = changing_console()
    admin = await client_of(console)
    assert (await admin.put(STOP, json=body)).status_code == 422
    assert console.control.get("setting/stop") is None


async def test_the_settings_tell_no_secret() -> None:
    secrets = {
        "slack_bot_token": "xoxb-hidden-1",
        "slack_webhook_url": "https://hooks.slack.com/hidden-2",
        "clickhouse_password": "hidden-3",
        "kafka_sasl_password": "hidden-4",
        "jwt_secret": "hidden-5" * 4,
    }
    admin = await client_of(changing_console(slack_channel="#spend", **secrets))
    answer = await admin.get(f"{API}/settings")
    assert "hidden" not in answer.text
    told = answer.json()
    assert told["channels"] == {"slack": True, "slack_kind": "bot", "slack_channel": "#spend", "digest_over": 20}
    assert (told["limits"]["event_bytes"], told["limits"]["dedupe_days"]) == (65536, 35)
    kept = {topic["topic"]: topic["retention_days"] for topic in told["topics"]}
    assert (kept["tollgate.usage"], kept["tollgate.flags"], kept["tollgate.dead-letters"]) == (62, None, 180)
    assert told["default_thresholds"]["critical"] == {"percent": "100", "action": "block"}
    assert (await (await client_of(changing_console())).get(f"{API}/settings")).json()["channels"]["slack"] is False

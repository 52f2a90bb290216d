"""The room of settings: the company-wide stop by hand, and what this installation is set to."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool

from tollgate.console.access.callers import Caller
from tollgate.console.api.asking import Admin, Viewer
from tollgate.console.bounds import BODY_BYTES_MAX, USAGE_BODY_BYTES_MAX
from tollgate.console.changes import ANSWERS, OrNew, put_record
from tollgate.console.paging import LIMIT_MAX
from tollgate.console.parts import Parts, TheParts
from tollgate.console.problems import Problem, ProblemBody
from tollgate.console.room import Room
from tollgate.console.usage_bodies import EVENTS_MAX
from tollgate.console.versions import IfNoneMatch, not_modified, tag
from tollgate.control import ControlStore
from tollgate.domain.stops import Stop
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import (
    REASON_CHARS_MAX,
    SETTING_KEY_PREFIX,
    STOP_SETTING,
    SettingRecord,
    ThresholdsRecord,
    default_thresholds,
)
from tollgate.schemas.outputs import Instant
from tollgate.schemas.text_rules import NAME_CHARS_MAX, NAME_PATTERN
from tollgate.schemas.topics import DAY_MS, DEDUPE_HORIZON_MS, topic_specs
from tollgate.schemas.usage_limits import EVENT_BYTES_MAX, METADATA_KEYS_MAX, OPTION_KEYS_MAX, USAGE_KEYS_MAX

SettingName = Annotated[
    str, Path(max_length=NAME_CHARS_MAX, pattern=NAME_PATTERN, description="`stop`", examples=[STOP_SETTING])
]

# What a setting is without a record of its name.
_DEFAULTS: Final[dict[str, JsonValue]] = {STOP_SETTING: {"stopped": False}}

router = APIRouter()
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": ProblemBody, "description": "There is no such setting."}
}


class SettingShown(BaseModel):
    """A setting that is changed at run time, for the whole installation."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    value: JsonValue = Field(examples=[{"stopped": False}])
    version: int
    """0 while it was never set, and has its default."""
    actor: str
    reason: str
    updated_at: Instant | None
    sentence: str
    """For people."""


class StopBody(BaseModel):
    """Whether services must refuse every call."""

    model_config = ConfigDict(extra="forbid")

    stopped: StrictBool


class SettingBody(BaseModel):
    """A setting's new value, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"value": {"stopped": True}, "reason": "the provider bills twice"}]},
    )

    value: StopBody
    reason: str = Field(
        "", max_length=REASON_CHARS_MAX, pattern=NAME_PATTERN, description="why; required to let spending go on"
    )


class Limits(BaseModel):
    """What the API and an event may at most be."""

    event_bytes: int
    usage_keys: int
    option_keys: int
    metadata_keys: int
    name_chars: int
    events_per_request: int
    body_bytes: int
    usage_body_bytes: int
    items_per_page: int
    requests_per_minute: int
    service_requests_per_minute: int
    session_hours: int
    dedupe_days: int = Field(description="an event that is sent again within so many days counts once")
    event_age_days: int | None = Field(description="older events are refused; null: none are")


class Channels(BaseModel):
    """Where alerts go. Secrets are not told."""

    slack: bool = Field(description="whether a bot token or a webhook is set")
    slack_kind: str | None = Field(description="`bot` or `webhook`", examples=["bot"])
    slack_channel: str | None
    digest_over: int = Field(description="more new alerts than this waiting for Slack are told in one message")


class TopicKept(BaseModel):
    """How long a topic keeps its records."""

    topic: str = Field(examples=["tollgate.usage"])
    partitions: int
    compacted: bool = Field(description="the last record of each key is kept for ever")
    retention_days: int | None = Field(description="null: for ever")


class Installation(BaseModel):
    """The settings as they are: those that are changed here, and those of the processes' environment."""

    stop: SettingShown
    default_thresholds: ThresholdsRecord
    limits: Limits
    channels: Channels
    topics: list[TopicKept]
    price_book: str
    timezone: str = Field(description="whose calendar cuts the windows of budgets")
    versions: dict[str, str] = Field(description="of this process", examples=[{"tollgate": "0.5.0"}])


@router.get("/settings", operation_id="get_settings", summary="Show the installation's settings")
async def list_settings(caller: Viewer, parts: TheParts) -> Installation:
    """What the installation is set to. Secrets and addresses are left out."""
    _check_company(caller)
    return installation(parts)


def installation(parts: Parts) -> Installation:
    """The settings as they are."""
    settings = parts.settings
    return Installation(
        stop=_shown(parts.control, STOP_SETTING),
        default_thresholds=default_thresholds(),
        limits=_limits(settings),
        channels=_channels(settings),
        topics=_topics(settings),
        price_book=settings.price_book,
        timezone="UTC",
        versions={name: found for name in ("tollgate", "genai-prices") if (found := _version(name))},
    )


@router.get(
    "/settings/{name}",
    operation_id="get_setting",
    summary="Show a setting",
    response_model=SettingShown,
    responses={**_UNKNOWN, 304: {"description": "You have the present version."}},
)
async def show_setting(
    name: SettingName, caller: Viewer, parts: TheParts, response: Response, if_none_match: IfNoneMatch = None
) -> SettingShown | Response:
    """A setting that is changed at run time. Its version is the ETag."""
    _check_company(caller)
    shown = _shown(parts.control, name)
    return not_modified(response, tag(shown.version), if_none_match) or shown


@router.put(
    "/settings/{name}",
    operation_id="set_setting",
    summary="Change a setting",
    responses={
        **_UNKNOWN,
        **ANSWERS,
        412: {"model": ProblemBody, "description": "If-None-Match: it was set before."},
    },
)
async def change_setting(
    name: SettingName,
    asked: SettingBody,
    caller: Admin,
    parts: TheParts,
    response: Response,
    conditions: OrNew,
) -> SettingShown:
    """Change a setting for the whole company. `stop` stops all spending within a second, until somebody resumes it.

    `If-Match: *` changes whatever version there is, for when there is no time to look.
    """
    _check_company(caller)
    _check_name(name)
    if not asked.value.stopped and not asked.reason.strip():
        raise Problem(422, "invalid_request", "reason: say why spending may go on.")
    key, value = SETTING_KEY_PREFIX + name, {"name": name, "value": asked.value.model_dump()}
    if (conditions.if_match or "").strip() == "*" and parts.control.get(key) is None:
        conditions = conditions._replace(if_match=None)
    changed = await put_record(parts.control, caller, response, key, value, asked.reason, conditions, name="setting")
    return _of(SettingRecord.model_validate(changed.after))


def _shown(control: ControlStore, name: str) -> SettingShown:
    _check_name(name)
    held = control.get(SETTING_KEY_PREFIX + name)
    if held is not None:
        return _of(SettingRecord.model_validate(held.value))
    sentence = "Nothing is stopped by hand."
    return SettingShown(
        name=name, value=_DEFAULTS[name], version=0, actor="", reason="", updated_at=None, sentence=sentence
    )


def _of(record: SettingRecord) -> SettingShown:
    sentence = Stop.from_record(record).sentence
    return SettingShown(
        name=record.name,
        value=record.value,
        version=record.version,
        actor=record.actor,
        reason=record.reason,
        updated_at=record.updated_at,
        sentence=f"{sentence}.",
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        event_bytes=EVENT_BYTES_MAX,
        usage_keys=USAGE_KEYS_MAX,
        option_keys=OPTION_KEYS_MAX,
        metadata_keys=METADATA_KEYS_MAX,
        name_chars=NAME_CHARS_MAX,
        events_per_request=EVENTS_MAX,
        body_bytes=BODY_BYTES_MAX,
        usage_body_bytes=USAGE_BODY_BYTES_MAX,
        items_per_page=LIMIT_MAX,
        requests_per_minute=settings.console_requests_per_minute,
        service_requests_per_minute=settings.console_service_requests_per_minute,
        session_hours=settings.console_session_hours,
        dedupe_days=DEDUPE_HORIZON_MS // DAY_MS,
        event_age_days=settings.event_age_days_max,
    )


def _channels(settings: Settings) -> Channels:
    kind = "bot" if settings.slack_bot_token else "webhook" if settings.slack_webhook_url else None
    return Channels(
        slack=kind is not None,
        slack_kind=kind,
        slack_channel=settings.slack_channel,
        digest_over=settings.alerts_digest_over,
    )


def _topics(settings: Settings) -> list[TopicKept]:
    kept = []
    for spec in topic_specs(settings.usage_partitions):
        retention_ms = int(spec.configs.get("retention.ms", -1))
        kept.append(
            TopicKept(
                topic=settings.topic(spec.topic),
                partitions=spec.partitions,
                compacted=spec.configs["cleanup.policy"] == "compact",
                retention_days=retention_ms // DAY_MS if retention_ms >= 0 else None,
            )
        )
    return kept


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _check_name(name: str) -> None:
    if name not in _DEFAULTS:
        raise Problem(404, "not_found", f"There is no such setting. There are: {', '.join(_DEFAULTS)}.")


def _check_company(caller: Caller) -> None:
    if caller.org:
        raise Problem(403, "not_allowed", "Settings are the whole company's, and your token is of an org.")


ROOM: Final = Room("settings", api=router)

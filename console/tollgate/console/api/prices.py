"""The room of prices: what things cost, since when, and how one event would be priced."""

from typing import Annotated, Any, Final, Literal, NamedTuple

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from tollgate.console.access.callers import Caller
from tollgate.console.api.asking import Admin, Viewer, now_ms
from tollgate.console.changes import ANSWERS, OfAVersion, Reason, put_record, remove_record
from tollgate.console.paging import Cursor, Limit, Page, page_of
from tollgate.console.parts import Parts, TheParts
from tollgate.console.problems import Problem, ProblemBody
from tollgate.console.room import Room
from tollgate.console.versions import tag
from tollgate.domain.pricing import Price, explain
from tollgate.domain.pricing.given_events import read_event
from tollgate.domain.pricing.in_json import explanation_json, price_json
from tollgate.domain.pricing.records import price_of
from tollgate.schemas.control import ID_CHARS_MAX, PRICE_KEY_PREFIX, InstantText, PriceRecord, RateRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import Instant, PriceStatus, Usd
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.text_rules import NAME_CHARS_MAX, NAME_PATTERN

Text = Annotated[str, Query(max_length=NAME_CHARS_MAX)]
Layer = Literal["runtime", "book", "list"]

_NAME: Final = "price"
_ORDER: Final = {"runtime": "0", "book": "1", "list": "2"}

router = APIRouter()


class TierShown(BaseModel):
    """The unit price of every unit of an event with more input tokens than `above`."""

    above: int
    usd: str


class RateShown(BaseModel):
    """`usd` dollars for `per` units of the dimension."""

    dimension: str = Field(examples=["input_tokens"])
    usd: str = Field(examples=["2.5"])
    per: str = Field(examples=["1000000"])
    tiers: list[TierShown] = []


class PriceShown(BaseModel):
    """A price and where it comes from."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str = Field(examples=["openai/gpt-4o@2026-11-21#1f2e3d4c"])
    layer: Layer
    """`runtime` (set by somebody here), `book` (comes with Tollgate), or `list` (of genai-prices). The first wins."""
    provider: str
    model: str
    agent: str
    options: dict[str, list[str | None]]
    """The values of an event's options that the price is for; null: the event does not say."""
    free: bool
    rates: list[RateShown]
    effective_from: Instant | None
    effective_to: Instant | None
    source: str
    version: int | None = None
    """Of a price that was set at run time, as are the following."""
    actor: str | None = None
    reason: str | None = None
    updated_at: Instant | None = None


class RateBody(RateRecord):
    """The price of one dimension: `usd` dollars for `per` units."""

    model_config = ConfigDict(extra="forbid")


class PriceBody(PriceRecord):
    """A price to be set. Its id follows from its content, and is left out."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "provider": "openai",
                    "model": "gpt-4o",
                    "rates": [{"dimension": "input_tokens", "usd": "2.50", "per": "1000000"}],
                    "effective_from": "2026-12-01T00:00:00Z",
                    "reason": "our contract for 2027",
                }
            ]
        },
    )

    rates: tuple[RateBody, ...] = Field(min_length=1, max_length=64)


class LineShown(BaseModel):
    """What one dimension of the event costs. `usd` and `per` are empty when nothing is charged."""

    dimension: str
    amount: str
    usd: str
    per: str
    cost_usd: str
    price_id: str
    source: str
    note: str


class Holds(BaseModel):
    """The interval over which the price holds; null where it has no end."""

    model_config = ConfigDict(populate_by_name=True)

    from_: Instant | None = Field(alias="from")
    to: Instant | None


class ExplanationShown(BaseModel):
    """What one event costs, and why."""

    event_id: str
    source: str
    time: Instant
    cost_usd: Usd
    retail_usd: Usd
    price_id: str
    price_status: PriceStatus
    price_holds: Holds
    lines: list[LineShown]
    notes: list[str] = Field(description="what was assumed, or which dimensions lack a price")


class PriceFilter(NamedTuple):
    """Which prices are wanted; an empty text wants all."""

    provider: str = ""
    model: str = ""
    agent: str = ""
    dimension: str = ""
    q: str = ""
    layer: Layer | None = None


@router.get("/prices", operation_id="list_prices", summary="List prices")
async def list_prices(
    _caller: Viewer,
    parts: TheParts,
    provider: Annotated[Text, Query(description="a provider, by any of its names")] = "",
    model: Annotated[Text, Query(description="a part of the model's name")] = "",
    agent: Annotated[Text, Query(description="a part of the agent's name")] = "",
    dimension: Annotated[Text, Query(description="with a price of this dimension", examples=["images"])] = "",
    q: Annotated[Text, Query(description="a part of the provider's, model's or agent's name")] = "",
    layer: Annotated[Layer | None, Query(description="only of this source")] = None,
    at: Annotated[InstantText | None, Query(description="in force at this instant; without it now")] = None,
    limit: Limit = 50,
    cursor: Cursor = "",
) -> Page[PriceShown]:
    """Prices in force at an instant: those set at run time, those of the book, and the list prices of all providers."""
    wanted = PriceFilter(provider, model, agent, dimension, q, layer)
    return await price_page(parts, wanted, now_ms() if at is None else parse_instant(at), limit, cursor)


async def price_page(parts: Parts, wanted: PriceFilter, time_ms: int, limit: int, cursor: str) -> Page[PriceShown]:
    """A page of the prices in force at the time: run time first, then the book, then the lists; by name."""
    book = await parts.prices.book()
    runtime = {price.id for price in book.runtime}
    found: list[tuple[Layer, Price]] = [
        ("runtime" if price.id in runtime else "book", price) for price in book.prices() if price.active_at(time_ms)
    ]
    if wanted.layer in (None, "list"):
        found += [("list", price) for price in await parts.prices.listed(time_ms)]
    named = book.canonical(wanted.provider) if wanted.provider else ""
    model, agent, q = wanted.model.lower(), wanted.agent.lower(), wanted.q.strip().lower()
    kept = [
        (of, price)
        for of, price in found
        if (wanted.layer is None or of == wanted.layer)
        and (not named or (price.provider and book.canonical(price.provider) == named))
        and model in price.model.lower()
        and agent in price.agent.lower()
        and (not wanted.dimension or wanted.dimension in price.by_dimension)
        # Names stand beside each other, so that `openai/gpt` is found as well.
        and q in f"{price.provider}/{price.model}{price.agent}".lower()
    ]
    page = page_of(kept, limit, cursor, "prices", _place)
    return Page(items=[_shown(parts, *one) for one in page.items], next_cursor=page.next_cursor)


@router.put(
    "/prices",
    operation_id="set_price",
    summary="Set a price",
    responses={
        **ANSWERS,
        201: {"model": PriceShown, "description": "The price is new."},
        409: {"model": ProblemBody, "description": "Another price has this id, or somebody else changed it."},
        428: {"model": ProblemBody, "description": "It exists, and would end otherwise: send If-Match."},
    },
)
async def set_price(
    asked: PriceBody,
    caller: Admin,
    parts: TheParts,
    response: Response,
    conditions: OfAVersion,
) -> PriceShown:
    """Set a price. It goes before all other prices of the model or agent, for events of its interval from now on.

    Dimensions that it does not name keep the price that they have. A price is never changed: another content is another
    price. Only its end and its source may be, with If-Match. Events that are priced keep their cost.
    """
    _check_company(caller)
    record = PriceRecord.model_validate(asked.model_dump(mode="json"))
    key = PRICE_KEY_PREFIX + record.id
    held = parts.control.get(key)
    if held is not None:
        there = PriceRecord.model_validate(held.value)
        if _content(there) != _content(record):
            detail = "A price is never changed, and another one has this id. Leave the id out."
            raise Problem(409, "price_exists", detail, version=held.version)
        if conditions.if_match is None and (there.effective_to, there.source) == (record.effective_to, record.source):
            response.headers["ETag"] = tag(held.version)
            return _runtime_shown(there)
    value = record.model_dump(mode="json", exclude_none=True)
    changed = await put_record(parts.control, caller, response, key, value, asked.reason, conditions, name=_NAME)
    response.status_code = 201 if changed.before is None else 200
    return _runtime_shown(PriceRecord.model_validate(changed.after))


@router.delete(
    "/prices/{id:path}",
    operation_id="remove_price",
    status_code=204,
    summary="Remove a price",
    responses={
        **ANSWERS,
        404: {"model": ProblemBody, "description": "No such price was set at run time."},
    },
)
async def remove_price(
    id: Annotated[str, Path(min_length=1, max_length=ID_CHARS_MAX, pattern=NAME_PATTERN)],  # noqa: A002 # the contract's name
    caller: Admin,
    parts: TheParts,
    conditions: OfAVersion,
    reason: Reason = "",
) -> None:
    """Remove a price that was set at run time. Events that it priced keep their cost and its id."""
    _check_company(caller)
    await remove_record(parts.control, caller, PRICE_KEY_PREFIX + id, reason, conditions, name=_NAME)


@router.post(
    "/prices/explain",
    operation_id="explain_price",
    summary="Explain how an event is priced",
    responses={
        400: {"model": ProblemBody, "description": "The body is not JSON."},
        422: {"model": ProblemBody, "description": "It is no usage event: `error` is the reason of the dead letter."},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "description": "A usage event, or what belongs under its `data`.",
                        "examples": [
                            {
                                "provider": "openai",
                                "model": "gpt-4o",
                                "usage": {"input_tokens": 1200, "output_tokens": 300},
                            }
                        ],
                    }
                }
            },
        }
    },
)
async def explain_price(request: Request, _caller: Viewer, parts: TheParts) -> ExplanationShown:
    """What a usage event costs, dimension by dimension, with the prices in force at its time. Nothing is counted.

    Without an envelope the event is of now. Keys in a provider's own words are shown as the dimensions that they mean.
    """
    explained = await explained_event(parts, await request.body())
    if isinstance(explained, Refusal):
        raise Problem(422, explained.reason.value, f"{explained.error}.")
    return explained


async def explained_event(parts: Parts, content: bytes) -> ExplanationShown | Refusal:
    """What the event costs, and why."""
    event = read_event(content, now_ms())
    if isinstance(event, Refusal):
        return event
    explanation = explain(await parts.prices.pricer(), event.data, event.time_ms)
    return ExplanationShown.model_validate(explanation_json(event, explanation))


def _content(record: PriceRecord) -> dict[str, Any]:
    """What a price says, apart from when it ends, where it comes from and who set it."""
    rates = sorted((rate.dimension, rate.usd, rate.per) for rate in record.rates)
    kept = record.model_dump(include={"provider", "model", "agent", "options", "effective_from"})
    return kept | {"rates": rates}


def _place(one: tuple[Layer, Price]) -> str:
    of, price = one
    names = (price.provider, price.model, price.agent, price.id, repr(price.options))
    return "\0".join((_ORDER[of], *names))


def _shown(parts: Parts, layer: Layer, price: Price) -> PriceShown:
    held = parts.control.get(PRICE_KEY_PREFIX + price.id) if layer == "runtime" else None
    who = {} if held is None else {name: held.value.get(name) for name in ("version", "actor", "reason", "updated_at")}
    return PriceShown.model_validate(price_json(price) | {"layer": layer} | who)


def _runtime_shown(record: PriceRecord) -> PriceShown:
    who = record.model_dump(include={"version", "actor", "reason", "updated_at"})
    return PriceShown.model_validate(price_json(price_of(record)) | {"layer": "runtime"} | who)


def _check_company(caller: Caller) -> None:
    if caller.org:
        raise Problem(403, "not_allowed", "Prices are the whole company's: an admin of an org may not change them.")


ROOM: Final = Room("prices", api=router)

"""`tollgate price`: what things cost, since when and why, and new prices at run time."""

import re
import sys
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from pydantic import ValidationError

from tollgate.cli.changes import change, open_control, system_actor
from tollgate.cli.exits import AnswerIsNoError, Exit, UnreachableError, UsageError
from tollgate.cli.options import LIMIT, Actor, AsJson, DataDir, ExpectVersion, Limit, Reason, examples
from tollgate.cli.output import first, print_json, print_line, print_table, say, say_error
from tollgate.cli.price_topic import read_prices
from tollgate.cli.services import find_settings
from tollgate.control import NoRecordError
from tollgate.domain.pricing import Explanation, Price, PriceBook, Pricer, explain, load_price_book
from tollgate.domain.pricing.given_events import read_events
from tollgate.domain.pricing.in_json import explanation_json, interval_json, price_json
from tollgate.domain.pricing.price import decimal_text
from tollgate.runtime.settings import load_settings
from tollgate.schemas.amounts import format_usd
from tollgate.schemas.control import PRICE_KEY_PREFIX, PriceRecord
from tollgate.schemas.instants import format_instant, parse_instant, to_ms
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.shown_text import shell_command
from tollgate.schemas.usage_codec import EventRecord

app = App(
    name="price",
    help="Set, list, show and explain prices.",
    help_epilogue=examples("tollgate price list runway", "tollgate price explain event.json"),
)

_MULTIPLES = {"k": 1000, "M": 1_000_000}
_RATE = re.compile(r"([a-z][a-z0-9_]*)=([0-9.]+)(?:/([0-9.]+)([kM])?)?")

At = Annotated[str | None, Parameter(help="Show prices of this instant, RFC 3339 with offset. Default: now.")]
Offline = Annotated[bool, Parameter(negative="", help="Do not ask Kafka for prices that were set at run time.")]
OptionFilter = Annotated[
    list[str] | None, Parameter(name="--option", negative="", help="An event's option, NAME=VALUE; repeat for more.")
]


@app.command(name="list", help_epilogue=examples("tollgate price list", "tollgate price list runway --json"))
def list_prices(
    provider: Annotated[str, Parameter(help="A provider, by any of its names.")] = "",
    *,
    at: At = None,
    offline: Offline = False,
    limit: Limit = LIMIT,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> Exit:
    """List Tollgate's own prices; with PROVIDER all of its prices, including those of genai-prices."""
    time_ms = _instant(at)
    book = _book(data_dir, offline)
    prices = [price for price in book.prices() if price.active_at(time_ms)]
    if provider:
        name = book.canonical(provider)
        prices = [price for price in prices if price.provider and book.canonical(price.provider) == name]
        prices += book.list_prices(provider, time_ms)
        if not prices:
            raise AnswerIsNoError(f"no price of provider {provider!r} is known; `tollgate price list` shows ours.")
    shown = first(prices, limit)
    if json:
        print_json([price_json(price) for price in shown])
        return Exit.OK
    rows = []
    for price in shown:
        since = format_instant(price.effective_from_ms)[:10] if price.effective_from_ms else price.source
        name = price.model or price.agent
        rows += [(price.provider, name, _options_text(price), rate, since) for rate in _rates_text(price)]
    print_table(("PROVIDER", "MODEL OR AGENT", "OPTIONS", "PRICE", "SINCE"), rows)
    return Exit.OK


@app.command(
    help_epilogue=examples(
        "tollgate price show openai/gpt-4o", "tollgate price show openai/dall-e-3 --option quality=hd"
    )
)
def show(
    subject: Annotated[str, Parameter(help="PROVIDER/MODEL, or agent/NAME.")],
    *,
    at: At = None,
    option: OptionFilter = None,
    offline: Offline = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> Exit:
    """Show the price that holds for a model or an agent. Exit 1 when none is known."""
    provider, model, agent = _subject(subject)
    options, time_ms = _pairs(option), _instant(at)
    book = _book(data_dir, offline)
    found = book.resolve(provider, model, agent, options, time_ms)
    if found.price is None:
        fallback, _ = book.fallback(book.fallback_name(provider, model), time_ms)
        why = f": {found.reading.hides}" if found.reading.hides else ""
        raise AnswerIsNoError(
            f"no price of {subject} is known then{why}, so its events are unpriced, at {fallback.source}; "
            f"give one with `{shell_command('tollgate', 'price', 'set', name=subject)}`."
        )
    holds = interval_json(found.interval)
    if json:
        beneath = [price_json(price) for price in found.price.beneath]
        print_json(price_json(found.price) | {"holds": holds} | ({"beneath": beneath} if beneath else {}))
        return Exit.OK
    print_line(found.price.id)
    print_line(f"  holds    from {holds['from'] or 'ever'} to {holds['to'] or 'further notice'}")
    print_line(f"  source   {found.price.source}")
    if found.price.options:
        print_line(f"  options  {_options_text(found.price)}")
    for price in (found.price, *found.price.beneath):
        if price is not found.price:
            print_line(f"beneath it {price.id}")
        for line in _rates_text(price):
            print_line(f"  {line}")
    return Exit.OK


@app.command(
    name="set",
    help_epilogue=examples(
        "tollgate price set openai/gpt-4o --rate input_tokens=2.50/1M --rate output_tokens=10/1M",
        "tollgate price set agent/SEO --rate input_tokens=0.03/1k --rate output_tokens=0.03/1k",
    ),
)
async def set_price(
    subject: Annotated[str, Parameter(help="PROVIDER/MODEL, or agent/NAME for events that name no model.")],
    *,
    rate: Annotated[
        list[str], Parameter(negative="", help="DIMENSION=USD or DIMENSION=USD/PER: input_tokens=2.50/1M. Repeat.")
    ],
    option: OptionFilter = None,
    effective_from: Annotated[
        str | None, Parameter(name="--from", help="The price holds from this instant on. Default: now.")
    ] = None,
    effective_to: Annotated[
        str | None, Parameter(name="--to", help="The price ends before this instant. Default: never.")
    ] = None,
    source: Annotated[str, Parameter(help="Where the figures come from.")] = "",
    reason: Reason = "",
    actor: Actor = None,
    expect_version: ExpectVersion = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> Exit:
    """Set a price at run time. It takes precedence over all other prices of the model or agent.

    Dimensions that it does not name keep the price that they have: `--rate video_seconds=0.1` changes nothing but
    video. To take a price back, remove it.
    """
    provider, model, agent = _subject(subject)
    content = {
        "provider": provider,
        "model": model,
        "agent": agent,
        "options": _pairs(option),
        "rates": [_rate(text) for text in rate],
        "effective_from": format_instant(_instant(effective_from)),
        "effective_to": None if effective_to is None else format_instant(_instant(effective_to)),
        "source": source,
    }
    try:
        record = PriceRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the price"
        what = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{field}: {what}; see `tollgate price set --help`.") from None
    changed = await change(
        find_settings(data_dir),
        f"{PRICE_KEY_PREFIX}{record.id}",
        record.model_dump(mode="json"),
        actor=actor,
        reason=reason,
        expect_version=expect_version,
    )
    if json:
        print_json(PriceRecord.model_validate(changed.after).model_dump(mode="json"))
    else:
        print_line(f"set {record.id} from {record.effective_from}")
    return Exit.OK


@app.command(help_epilogue=examples("tollgate price remove 'openai/gpt-4o@2026-11-21#1f2e3d4c'"))
async def remove(
    price_id: Annotated[str, Parameter(name="ID", help="The id that `price list` or `price set` printed.")],
    *,
    reason: Reason = "",
    actor: Actor = None,
    expect_version: ExpectVersion = None,
    data_dir: DataDir = None,
) -> Exit:
    """Remove a price that was set at run time. Events that it priced keep their cost and its id."""
    async with open_control(find_settings(data_dir)) as store:
        try:
            await store.change(
                f"{PRICE_KEY_PREFIX}{price_id}",
                None,
                actor=actor or system_actor(),
                reason=reason,
                expect_version=expect_version,
            )
        except NoRecordError:
            raise AnswerIsNoError(
                f"no price {price_id!r} was set at run time; `tollgate price list` shows the ids."
            ) from None
    print_line(f"removed {price_id}")
    return Exit.OK


@app.command(
    name="explain", help_epilogue=examples("tollgate price explain event.json", "tollgate price explain - --json")
)
def explain_events(
    file: Annotated[
        str,
        Parameter(allow_leading_hyphen=True, help="Usage events, one JSON object or NDJSON; - is standard input."),
    ],
    *,
    offline: Offline = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> Exit:
    """Explain line by line what events cost. An event's `data` alone is enough. Exit 1 when an event is refused.

    Keys in a provider's own words are shown as the dimensions they stand for. A note says what was assumed where an
    event is `estimated`, and which dimensions lack a price where it is `unpriced`.
    """
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from None
    events = list(read_events(content, _instant(None)))
    if not events:
        raise UsageError(f"{file} holds no event.")
    pricer = Pricer(_book(data_dir, offline))
    status = Exit.OK
    for number, event in events:
        if isinstance(event, Refusal):
            say_error(f"line {number} is refused as {event.reason.value}: {event.error}.")
            status = Exit.NO
            continue
        explanation = explain(pricer, event.data, event.time_ms)
        if json:
            print_json(explanation_json(event, explanation))
        else:
            _print_explanation(event, explanation)
    return status


def _print_explanation(event: EventRecord, explanation: Explanation) -> None:
    quote = explanation.quote
    what = f"{event.data.provider}/{event.data.model}" if event.data.model else event.data.agent or "reported cost"
    print_line(f"{event.source}/{event.id}  {what}  {format_instant(event.time_ms)}")
    rows = []
    for line in explanation.lines:
        unit = line.usd if line.per in ("", "1") else f"{line.usd} per {line.per}"
        rows.append((line.dimension, line.amount, unit, line.cost_usd, line.note))
    if rows:
        print_table(("DIMENSION", "AMOUNT", "UNIT PRICE", "USD", "NOTE"), rows, right=(1,))
    print_line(f"cost {format_usd(quote.cost_picousd)} USD, {quote.status} by {quote.price_id or 'no price'}")
    if quote.retail_picousd:
        print_line(f"retail {format_usd(quote.retail_picousd)} USD")
    for note in explanation.notes:
        print_line(f"note: {note}")


def _book(data_dir: Path | None, offline: bool) -> PriceBook:
    """The selected book with the run-time prices. Without them, and saying so, when Kafka does not answer: then the
    shipped prices are still worth an answer.
    """
    records: tuple[PriceRecord, ...] = ()
    if not offline:
        try:
            found = read_prices(find_settings(data_dir))
            records = found.records
            for key in found.unreadable:
                say(f"the control record {key!r} is no price and is left out.")
        except UnreachableError as error:
            say(f"prices set at run time are left out: {error}")
    name = load_settings().price_book
    try:
        return load_price_book(name).with_prices(records)
    except ValueError as error:
        raise UsageError(f"TOLLGATE_PRICE_BOOK: {error}.") from None


def _subject(text: str) -> tuple[str, str, str]:
    """Provider, model and agent of `openai/gpt-4o` or `agent/SEO`."""
    head, slash, name = text.partition("/")
    if not slash or not head or not name:
        raise UsageError(f"{text!r} is neither PROVIDER/MODEL, such as openai/gpt-4o, nor agent/NAME.")
    return ("", "", name) if head == "agent" else (head, name, "")


def _pairs(texts: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts or ()]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise UsageError(f"option {name!r} must be NAME=VALUE, such as size=1024x1024.")
    return {name: value for name, _, value in pairs}


def _rate(text: str) -> dict[str, str]:
    """`input_tokens=2.50/1M` → 2.50 USD per 1,000,000 of the dimension."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise UsageError(f"rate {text!r} must be DIMENSION=USD or DIMENSION=USD/PER, such as input_tokens=2.50/1M.")
    dimension, usd, per, multiple = match.groups()
    try:
        units = Decimal(per or "1") * _MULTIPLES.get(multiple or "", 1)
    except InvalidOperation:
        raise UsageError(f"rate {text!r}: {per!r} is no number.") from None
    return {"dimension": dimension, "usd": usd, "per": decimal_text(units)}


def _instant(text: str | None) -> int:
    if text is None:
        return to_ms(datetime.now(UTC))
    try:
        return parse_instant(text)
    except ValueError:
        raise UsageError(f"{text!r} is no instant with an offset, such as 2026-11-21T10:00:00Z.") from None


def _rates_text(price: Price) -> list[str]:
    if price.free:
        return ["free"]
    lines = []
    for rate in price.rates:
        per = "" if rate.per == 1 else f" per {decimal_text(rate.per)}"
        tiers = "".join(f", {decimal_text(t.usd)} above {t.start} input tokens" for t in rate.tiers)
        lines.append(f"{rate.dimension} {decimal_text(rate.usd)}{per}{tiers}")
    return lines


def _options_text(price: Price) -> str:
    return ", ".join(f"{name}={'|'.join(value or 'none' for value in values)}" for name, values in price.options)

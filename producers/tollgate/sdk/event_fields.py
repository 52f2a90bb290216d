"""The names and fields that a call may have, for type checkers and editors."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, TypedDict

Amount = int | str | Decimal
"""An amount of usage: an integer, a decimal as text, or a `Decimal`. Never a float."""
Usage = Mapping[str, Amount]
"""Amounts by dimension: `{"input_tokens": 1200, "video_seconds": "1.5"}`."""


class CallNames(TypedDict, total=False):
    """The dimensions of a call beside its user: what limits may be set for. None means absent."""

    org: str | None
    service: str | None
    provider: str | None
    model: str | None
    agent: str | None
    campaign: str | None
    feature: str | None
    product: str | None


class _Fields(TypedDict, total=False):
    org: str | None
    service: str | None
    agent: str | None
    campaign: str | None
    feature: str | None
    product: str | None
    operation: str | None
    status: Literal["success", "error", "rate_limited", "cancelled"] | None
    billed: bool | None
    cost_usd: str | Decimal | None
    convention: str | None
    latency_ms: int | None
    resource_type: str | None
    resource_id: str | None
    request_id: str | None
    options: Mapping[str, str] | None
    retail_tokens: Amount | None
    metadata: Mapping[str, str | int | float | bool | None] | None


class RecordFields(_Fields, total=False):
    """What a usage event may say beside its user, provider, model and usage. None means absent.

    `cost_usd` overrides the price book. A `status` other than `success` costs nothing unless `billed`. `convention`
    says which amounts contain which, or names a provider whose own keys `usage` holds.
    """

    reservation_id: str | None
    more: bool | None


class SettleFields(_Fields, total=False):
    """The same for the call that settles a reservation: its provider and model may be given anew."""

    provider: str | None
    model: str | None

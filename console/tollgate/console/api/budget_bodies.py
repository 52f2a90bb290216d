"""Budgets in requests and answers."""

from typing import Annotated, Any, Final, Self

from fastapi import Path
from pydantic import ConfigDict, Field, field_validator, model_validator

from tollgate.console.problems import Problem
from tollgate.control import Held
from tollgate.schemas.control import (
    BUDGET_KEY_PREFIX,
    ID_CHARS_MAX,
    BudgetRecord,
    ThresholdRecord,
    ThresholdsRecord,
    default_thresholds,
)
from tollgate.schemas.instants import format_instant
from tollgate.schemas.text_rules import NAME_PATTERN

# `GET /budgets/status` is another address, and browsers take dots out of addresses.
PREVIEW: Final = "/preview"
RESERVED_IDS: Final = frozenset({"status", ".", ".."})

BudgetId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=ID_CHARS_MAX,
        pattern=NAME_PATTERN,
        description="the budget's id, percent-encoded: `user%2Fu-42:month:usd`",
        examples=["user/u-42:month:usd"],
    ),
]


class ThresholdBody(ThresholdRecord):
    """A level of a budget: reached when spend is at least `percent` of the limit."""

    # A field that is spelled wrong must not be lost: it may be the one that blocks.
    model_config = ConfigDict(extra="forbid")


class ThresholdsBody(ThresholdsRecord):
    """The levels of a budget. Each may be absent; those given must not fall from warning to emergency."""

    model_config = ConfigDict(extra="forbid")

    warning: ThresholdBody | None = None
    critical: ThresholdBody | None = None
    emergency: ThresholdBody | None = None


class BudgetBody(BudgetRecord):
    """A budget to be set. It replaces the whole record: what is left out has its default.

    What was read may be sent back: `id` must be that of the address, and `actor`, `version` and `updated_at` are set by
    the change, whatever is sent.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"scope": "user/u-42", "limit": "100", "window": "month", "reason": "a larger project"},
                {
                    "scope": "user/*",
                    "limit": "50",
                    "thresholds": {
                        "warning": {"percent": "80", "action": "alert"},
                        "critical": {"percent": "100", "action": "block"},
                    },
                },
            ]
        },
    )

    thresholds: ThresholdsBody = Field(
        default_factory=lambda: ThresholdsBody.model_validate(default_thresholds().model_dump()),
        description="without them: a warning at 80 %, a block at 100 %, an emergency at 150 %",
    )
    updated_at: str = Field(default_factory=lambda: format_instant(0), max_length=64)

    @model_validator(mode="before")
    @classmethod
    def _without_an_empty_id(cls, given: Any) -> Any:
        """Generated clients send the default of a field that is left out."""
        if isinstance(given, dict) and given.get("id") == "":
            return {name: value for name, value in given.items() if name != "id"}
        return given

    @field_validator("updated_at")
    @classmethod
    def _any_instant(cls, _text: str) -> str:
        return format_instant(0)

    def record(self, budget_id: str) -> BudgetRecord:
        """The record under this id. Raises Problem 422, and 405 for an id that ends as the address of a preview."""
        if budget_id.endswith(PREVIEW):
            # A preview that is sent with PUT must not become a budget.
            detail = "This address is for previews, which are asked for with POST."
            raise Problem(405, "method_not_allowed", detail, headers={"Allow": "POST"})
        if budget_id in RESERVED_IDS:
            raise Problem(422, "invalid_request", f"A budget cannot have the id {budget_id}. Choose another one.")
        if "id" in self.model_fields_set and self.id != budget_id:
            raise Problem(422, "invalid_request", "id: it must be that of the address, or be left out.")
        # The model fills in a default id where none is given; here it is in the address.
        return BudgetRecord.model_validate(self.model_dump(mode="json") | {"id": budget_id})


class BudgetShown(BudgetRecord):
    """A budget as it is stored, with who changed it last and why."""

    @classmethod
    def of(cls, held: Held) -> Self:
        """What is held, under the id of its key."""
        return cls.model_validate({**held.value, "id": held.key.removeprefix(BUDGET_KEY_PREFIX)})

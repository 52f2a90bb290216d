"""The vocabulary: what it says, and that the records have a field for each dimension."""

import itertools

import msgspec
import pytest

from tollgate.schemas.outputs import PricedEvent
from tollgate.schemas.outputs_codec import PricedRecord
from tollgate.schemas.usage_codec import EventData
from tollgate.schemas.usage_event import UsageData
from tollgate.schemas.vocabulary import BASE_SHAPES, BASE_WINDOWS, CUTS, SLOT_MS, Dimension, Shape, WindowKind

NAMES = ["org", "service", "provider", "model", "agent", "campaign", "feature", "product"]


def test_the_dimensions_have_this_order() -> None:
    assert [dimension.value for dimension in Dimension] == ["user", *NAMES]


def test_an_event_adds_to_each_dimension_and_to_everything() -> None:
    assert [shape.prefix for shape in BASE_SHAPES] == [f"{name}/" for name in ("user", *NAMES)] + [""]


@pytest.mark.parametrize(
    ("dimensions", "is_users"),
    [
        ((), False),
        ((Dimension.USER,), True),
        ((Dimension.MODEL,), False),
        ((Dimension.USER, Dimension.MODEL), True),
        ((Dimension.ORG, Dimension.MODEL), False),
    ],
)
def test_scopes_that_name_the_user_belong_to_the_users_partition(
    dimensions: tuple[Dimension, ...], is_users: bool
) -> None:
    assert Shape(dimensions).is_users is is_users


def test_the_rows_of_the_state_topics_have_the_windows_in_this_order() -> None:
    # Rows of earlier releases are read by position: a new kind goes to the end.
    assert list(BASE_WINDOWS)[:3] == [WindowKind.HOUR, WindowKind.DAY, WindowKind.MONTH]
    assert set(CUTS) == set(WindowKind) - {WindowKind.LIFETIME}


def test_every_window_is_made_of_slots() -> None:
    for cut in CUTS.values():
        assert (cut.length_ms or 0) % SLOT_MS == 0
        assert cut.origin_ms % SLOT_MS == 0


@pytest.mark.parametrize("model", [UsageData, PricedEvent])
def test_the_models_have_a_field_for_each_dimension(model: type[UsageData | PricedEvent]) -> None:
    assert set(NAMES) <= model.model_fields.keys()


def test_the_event_of_the_codec_has_a_field_for_each_dimension() -> None:
    assert set(NAMES) <= {field.name for field in msgspec.structs.fields(EventData)}


def test_in_a_priced_record_the_dimensions_stand_together_in_their_order() -> None:
    fields = [field.name for field in msgspec.structs.fields(PricedRecord)]
    assert list(itertools.islice(fields, fields.index("org"), fields.index("operation"))) == NAMES

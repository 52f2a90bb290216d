"""Ids of events without one: the same content gives the same id, however it is written and asked for."""

import io
import itertools
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.cli.csv_events import CsvMapping, CsvReader
from tollgate.cli.csv_numbers import NumberError, plain_amount, plain_number
from tollgate.cli.exits import UsageError
from tollgate.cli.file_events import Accepted, NdjsonReader, Reader, Refused

ROWS = """time,user,model,input,output,agent
2026-11-20T10:00:00Z,u-csv8,gpt-4o,1200,300,café
2026-11-20T10:00:00Z,u-csv8,gpt-4o,1200,300,café
2026-11-20T10:05:00Z,u-csv8,gpt-4o,10,,x
"""
MAPS = [
    "time=time", "subject=user", "model=model", "usage.input_tokens=input", "usage.output_tokens=output", "agent=agent",
]  # fmt: skip
SETS = ["provider=openai", "org=acme", "metadata.a=1", "metadata.b=2"]


def found(reader: Reader, content: str | bytes, shift_ms: int = 0) -> list[Accepted | Refused]:
    return list(reader.read(io.BytesIO(content.encode() if isinstance(content, str) else content), shift_ms))


def ids(content: str | bytes, maps: list[str] = MAPS, sets: list[str] = SETS, shift_ms: int = 0) -> list[str]:
    lines = found(CsvReader(CsvMapping.parse(maps, sets)), content, shift_ms)
    assert all(isinstance(line, Accepted) for line in lines), lines
    return [json.loads(line.value)["id"] for line in lines if isinstance(line, Accepted)]


FIRST = ids(ROWS)


def test_equal_rows_are_two_events_and_all_have_ids_of_their_own() -> None:
    assert len(set(FIRST)) == 3
    assert [name.rpartition("-")[2] for name in FIRST] == ["1", "2", "1"]


def test_the_order_of_options_and_columns_does_not_matter() -> None:
    for order in itertools.islice(itertools.permutations(MAPS), 0, 720, 37):
        assert ids(ROWS, list(order), SETS[::-1]) == FIRST
    turned = "\n".join(",".join(line.split(",")[::-1]) for line in ROWS.splitlines())
    assert ids(turned) == FIRST
    assert ids(ROWS.replace("time,user", "when,who"), ["time=when", "subject=who", *MAPS[2:]]) == FIRST


@pytest.mark.parametrize(
    "number",
    ["300", "300.0", "3e2", "3E+2", "3.00e2", "30000e-2", "+300", "0300", "300.", " 300 ", '"300"', ' "300" ', "\t300"],
)
def test_the_spelling_of_a_number_does_not_matter(number: str) -> None:
    assert ids(ROWS.replace(",300,", f",{number},")) == FIRST


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-20T10:00:00+00:00", "2026-11-20T10:00:00.000Z", "2026-11-20 10:00:00", "2026-11-20T11:00:00+01:00",
        "2026-11-20 10:00", "2026-11-20t10:00:00.0000000z",
    ],
)  # fmt: skip
def test_the_spelling_of_a_time_does_not_matter(time: str) -> None:
    assert ids(ROWS.replace("2026-11-20T10:00:00Z", time)) == FIRST


def test_times_within_a_millisecond_are_kept_apart() -> None:
    later = ids(ROWS.replace("2026-11-20T10:00:00Z", "2026-11-20T10:00:00.0001Z"))
    assert later[:2] != FIRST[:2]
    assert later[2] == FIRST[2]


@pytest.mark.parametrize(
    "content",
    [
        ROWS.replace("\n", "\r\n"),
        "\ufeff" + ROWS,
        ROWS.replace(",,x", ",0,x"),
        ROWS.replace(",,x", ", ,x"),
        ROWS.rstrip("\n"),
        ROWS.replace("café", '"café"'),
    ],
)
def test_the_same_file_saved_by_another_program_has_the_same_ids(content: str) -> None:
    assert ids(content) == FIRST


def test_a_quoted_line_break_is_the_same_with_either_end_of_line() -> None:
    content = 'time,user,input,note\n2026-11-20T10:00:00Z,u1,1,"a\nb"\n'
    maps = ["time=time", "subject=user", "usage.input_tokens=input", "metadata.note=note"]
    sets = ["provider=openai", "model=gpt-4o"]
    assert ids(content, maps, sets) == ids(content.replace("\n", "\r\n"), maps, sets)


def test_names_are_compared_byte_for_byte_as_the_ledger_compares_them() -> None:
    assert ids(ROWS.replace("café", "cafe\u0301"))[:2] != FIRST[:2]


def test_another_value_is_another_event() -> None:
    assert set(ids(ROWS.replace("300", "301"))[:2]).isdisjoint(FIRST)
    assert set(ids(ROWS, sets=[*SETS[:-1], "metadata.b=3"])).isdisjoint(FIRST)
    assert set(ids(ROWS, sets=[*SETS, "source=other"])).isdisjoint(FIRST)


def test_a_shift_leaves_the_ids() -> None:
    assert ids(ROWS, shift_ms=3_600_000) == FIRST


NDJSON = (
    '{"specversion": "1.0", "type": "tollgate.usage.v1", "source": "publish", "subject": "u-csv8",'
    ' "time": "2026-11-20T10:00:00Z", "data": {"provider": "openai", "model": "gpt-4o", "org": "acme", "agent": "café",'
    ' "usage": {"input_tokens": 1200, "output_tokens": 300}, "metadata": {"a": "1", "b": "2"}}}'
)


def line_ids(*lines: str, shift_ms: int = 0) -> list[str]:
    content = "\n".join(lines)
    return [
        json.loads(line.value)["id"] for line in found(NdjsonReader(), content, shift_ms) if isinstance(line, Accepted)
    ]


@pytest.mark.parametrize(
    "line",
    [
        NDJSON,
        NDJSON.replace(": ", ":"),
        NDJSON.replace('"source": "publish", ', ""),
        NDJSON.replace("300", '"300.0"'),
        NDJSON.replace("300}", '300, "images": 0}'),
        NDJSON.replace("é", "\\u00e9"),
        NDJSON.replace("10:00:00Z", "10:00:00.000+00:00"),
        NDJSON.replace('"org": "acme"', '"feature": null, "org": "acme"'),
        NDJSON.replace('"specversion"', '"id": null, "unknown": [1], "specversion"'),
        json.dumps(dict(reversed(json.loads(NDJSON).items()))),
        json.dumps(json.loads(NDJSON), sort_keys=True),
    ],
)
def test_ids_of_lines_follow_from_their_content_as_those_of_rows_do(line: str) -> None:
    assert line_ids(line, line) == FIRST[:2]
    assert line_ids(line, line, shift_ms=1_000) == FIRST[:2]


@pytest.mark.parametrize(
    ("cell", "cost"),
    [
        ("3.5e-7", "0.00000035"), ("3.5E-07", "0.00000035"), ("1e-12", "0.000000000001"), ("12", "12"), ("1e3", "1000"),
        (".5", "0.5"), ("0.10", "0.1"), ("123456789012.5e-3", "123456789.0125"), ("0e-30", "0"),
    ],
)  # fmt: skip
def test_exponents_are_read_exactly(cell: str, cost: str) -> None:
    (line,) = found(
        CsvReader(CsvMapping.parse(["time=t", "cost_usd=c"], ["subject=u1"])), f"t,c\n2026-11-20T10:00:00Z,{cell}\n"
    )
    assert isinstance(line, Accepted), line
    assert json.loads(line.value)["data"]["cost_usd"] == cost


@pytest.mark.parametrize("cell", ["1e-13", "3.5e-99999", "1e99", "1e9999999", "0x10", "1_000", "NaN", "1e", "e5", "-1"])
def test_what_is_no_exact_cost_is_refused(cell: str) -> None:
    (line,) = found(
        CsvReader(CsvMapping.parse(["time=t", "cost_usd=c"], ["subject=u1"])), f"t,c\n2026-11-20T10:00:00Z,{cell}\n"
    )
    assert isinstance(line, Refused), line


def test_a_thousands_point_is_refused_by_line_with_advice() -> None:
    content = (
        "time;user;tokens\n2026-11-20T10:00:00Z;u-csv10;1.234\n2026-11-20T10:00:01Z;u-csv10;12.500\n"
        "2026-11-20T10:00:02Z;u-csv10;999\n2026-11-20T10:00:02Z;u-csv10;1.000\n"
    )
    maps = ["time=time", "subject=user", "usage.input_tokens=tokens"]
    reader = CsvReader(CsvMapping.parse(maps, ["provider=openai", "model=gpt-4o"]), delimiter=";")
    lines = found(reader, content)
    assert [line.line for line in lines if isinstance(line, Accepted)] == [4]
    refused = [line for line in lines if isinstance(line, Refused)]
    assert [line.line for line in refused] == [2, 3, 5]
    for line in refused:
        assert line.refusal.error == (
            "data.usage.input_tokens: could mean thousands or a fraction, and this dimension has no fractions: "
            "write the number without separators, for example 1234"
        )


@pytest.mark.parametrize("cell", ["1,234", "1.234,50", "1'234", "1 234", "1\u202f234", "0,5", "1,234,567.89"])
def test_separators_in_a_number_are_refused_and_never_guessed(cell: str) -> None:
    with pytest.raises(NumberError, match="without separators of thousands"):
        plain_number(cell)


@pytest.mark.parametrize("cell", ["1.5", "0.1", "15e-1", "1234.5"])
def test_a_fraction_of_a_whole_unit_is_refused(cell: str) -> None:
    for dimension in ("input_tokens", "output_audio_tokens", "images", "requests", "characters"):
        with pytest.raises(NumberError):
            plain_amount(dimension, cell)
    assert plain_amount("video_seconds", cell) == plain_number(cell)
    assert plain_amount("video_seconds", "1.234") == "1.234"


@given(st.decimals(min_value=0, max_value=10**17, places=9, allow_nan=False), st.integers(-20, 20))
def test_a_number_keeps_its_value_in_every_form(value: Decimal, exponent: int) -> None:
    written = f"{value.scaleb(-exponent):f}e{exponent}"
    assert plain_number(written) == plain_number(f"{value:f}")
    assert Decimal(plain_number(written)) == value


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;", "sep=,", "sep=\t"])
def test_a_separator_line_of_excel_is_named(first: str) -> None:
    with pytest.raises(UsageError, match=r"begins with a line `sep=` of Excel: remove that line, and say --delimiter"):
        ids(f"{first}\n{ROWS}")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("byte_order_mark", ["", "\ufeff"])
def test_utf_16_is_named_with_what_to_do(encoding: str, byte_order_mark: str) -> None:
    with pytest.raises(UsageError, match=r"is UTF-16.*iconv -f UTF-16 -t UTF-8"):
        ids((byte_order_mark + ROWS).encode(encoding))
    with pytest.raises(UsageError, match=r"is UTF-16.*iconv -f UTF-16 -t UTF-8"):
        found(NdjsonReader(), (byte_order_mark + NDJSON).encode(encoding))

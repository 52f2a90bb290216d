"""Rows of many days are divided, so that one insert touches a bounded number of partitions."""

from tests.unit.clickhouse.test_rows import arrived

from tollgate.sinks.clickhouse.tables import DEAD_LETTERS, FLAGS, SPEND, USAGE_EVENTS, Rows, Table, split_by_partition


def rows(table: Table, lines: list[bytes]) -> Rows:
    return Rows(table, lines, [arrived(line) for line in lines])


def event(day: str, number: int = 0) -> bytes:
    return b'{"event_id":"%d","source":"s","time":"%sT10:00:00Z","metadata":{"time":"x"}}' % (number, day.encode())


def days_of(number: int, year: int = 2026) -> list[str]:
    return [f"{year}-{1 + day // 28:02d}-{1 + day % 28:02d}" for day in range(number)]


def test_a_hundred_days_are_one_insert_and_one_more_makes_two() -> None:
    together = rows(USAGE_EVENTS, [event(day) for day in days_of(100)] * 2)
    assert split_by_partition(together) == [together]
    assert [len(some.lines) for some in split_by_partition(rows(USAGE_EVENTS, [event(d) for d in days_of(101)]))] == [
        100,
        1,
    ]


def test_old_days_count_as_their_month_or_year() -> None:
    months = [event(day) for year in range(2020, 2026) for day in days_of(336, year)]
    years = [event(day) for year in range(1992, 2020) for day in days_of(336, year)]
    old = rows(USAGE_EVENTS, months + years)
    assert split_by_partition(old) == [old]
    assert len(split_by_partition(rows(USAGE_EVENTS, [*months, *years, event("2026-01-01")]))) == 2


def test_each_row_is_written_once_with_its_record_and_versions_of_a_row_in_their_order() -> None:
    lines = [event(day, number) for number in range(3) for day in days_of(250)]
    inserts = split_by_partition(rows(USAGE_EVENTS, lines))
    assert sorted(line for some in inserts for line in some.lines) == sorted(lines)
    for some in inserts:
        assert [record.value for record in some.records] == some.lines
        of_a_day = [line for line in some.lines if some.lines[0].split(b'"time"')[1] == line.split(b'"time"')[1]]
        assert of_a_day == sorted(of_a_day)


def test_spend_and_dead_letters_are_divided_by_month() -> None:
    months = [f"{year}-{month:02d}" for year in range(1990, 2010) for month in range(1, 13)]
    spend = [b'{"scope":"global","window_start":"%s-01T00:00:00Z"}' % month.encode() for month in months]
    letters = [b"%s-05T00:00:00Z\tnot_json" % month.encode() for month in months]
    for table, lines in ((SPEND, spend), (DEAD_LETTERS, letters)):
        assert [len(some.lines) for some in split_by_partition(rows(table, lines))] == [100, 100, 40]


def test_rows_without_partitions_or_without_a_time_stay_together() -> None:
    for table in (FLAGS, USAGE_EVENTS):
        strange = rows(table, [b"{}"] * 1000)
        assert split_by_partition(strange) == [strange]

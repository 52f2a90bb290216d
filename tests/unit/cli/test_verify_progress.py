"""How far a verification is, in lines."""

from tollgate.cli.verify_progress import Lines, Pace, described


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_is_that_of_the_phase_and_tells_what_is_left() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.of("recomputing", 500, 4_500) == (0.0, None)
    clock.now += 10
    assert pace.of("recomputing", 1_500, 4_500) == (100.0, 30.0)
    assert pace.of("comparing", 0, 16) == (0.0, None)
    clock.now += 2
    assert pace.of("comparing", 4, 0) == (2.0, None)


def test_numbers_are_written_for_people() -> None:
    assert described("recomputing", 1_000, 5_000, 100.4, 3_640.0) == (
        "recomputing: 1,000 of 5,000 records, 100/s, 1:00:40 left"
    )
    assert described("reading the state", 1_000, 0, 7.0, None) == "reading the state: 1,000 records, 7/s"


def test_a_phase_is_told_once_and_its_numbers_every_ten_seconds() -> None:
    clock, lines = Clock(), list[str]()
    show = Lines(lines.append, clock).show
    for second in range(25):
        clock.now = 100.0 + second
        show("recomputing", second * 10, 1_000)
    show("comparing", 0, 16)
    assert lines == [
        "recomputing",
        "recomputing: 100 of 1,000 records, 10/s, 0:01:30 left",
        "recomputing: 200 of 1,000 records, 10/s, 0:01:20 left",
        "comparing",
    ]

"""When schedules fire, across both daylight saving changes."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.errors import Invalid
from chalicelib.domain.schedules import check, due_slots, following

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EARLY, LATE = datetime(2024, 1, 1), datetime(2030, 1, 1)  # noqa: DTZ001 - hypothesis adds the zone
FIVE = timedelta(minutes=5)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 0 0 * * *", "five fields"),
        ("@daily", "five fields"),
        ("R * * * *", "no cron field"),
        ("0 0 30 2 *", "no good"),
        ("* * * * *", "more often"),
        ("*/4 * * * *", "more often"),
        ("61 * * * *", "no good"),
        ("0 0 L * *", "no cron field"),
        ("0 0 * * 1#2", "no cron field"),
        ("", "five fields"),
        ("0 8 * * " + "1," * 60 + "1", "five fields"),
    ],
)
def test_a_schedule_that_is_no_good_is_refused_in_words(expression: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check(expression, "Europe/Berlin", now=NOW, least=FIVE)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "Europe"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(Invalid, match="time zone"):
        check("0 8 * * *", zone, now=NOW, least=FIVE)


def test_one_spelling_is_kept() -> None:
    assert check("0  8 * *   mon-fri", "UTC", now=NOW, least=FIVE) == "0 8 * * MON-FRI"


@pytest.mark.parametrize(
    ("zone", "before", "fires"),
    [
        # Spring forward: 02:30 does not exist, and fires right after the gap.
        ("Europe/Berlin", utc(2026, 3, 28, 12), utc(2026, 3, 29, 1, 0)),
        ("America/New_York", utc(2026, 3, 7, 12), utc(2026, 3, 8, 7, 0)),
        ("Australia/Sydney", utc(2026, 10, 3, 0), utc(2026, 10, 3, 16, 0)),
        # Fall back: 02:30 comes twice, and fires the first time only (01:30 in New York is the doubled one).
        ("Europe/Berlin", utc(2026, 10, 24, 12), utc(2026, 10, 25, 0, 30)),
        ("Australia/Sydney", utc(2026, 4, 4, 0), utc(2026, 4, 4, 15, 30)),
    ],
)
def test_half_past_two_on_the_day_the_clocks_change(zone: str, before: datetime, fires: datetime) -> None:
    first, second = following("30 2 * * *", zone, after=before, count=2)
    assert first == fires
    assert second - first > timedelta(hours=22)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize(
    "day", [utc(2026, 3, 7), utc(2026, 3, 28), utc(2026, 4, 4), utc(2026, 10, 3), utc(2026, 10, 24)]
)
def test_every_hour_follows_elapsed_time(zone: str, day: datetime) -> None:
    slots = following("0 * * * *", zone, after=day, count=72)
    gaps = {later - earlier for earlier, later in pairwise(slots)}
    allowed = {timedelta(hours=1)} | (
        {timedelta(minutes=30), timedelta(minutes=90)} if "Howe" in zone else set()
    )
    assert gaps <= allowed


def test_two_fixed_times_in_one_gap_are_one_slot() -> None:
    slots = following("15,45 2 * * *", "Europe/Berlin", after=utc(2026, 3, 28, 12), count=3)
    assert slots == [utc(2026, 3, 29, 1, 0), utc(2026, 3, 30, 0, 15), utc(2026, 3, 30, 0, 45)]


def test_due_slots_begin_with_the_first_and_end_by_now() -> None:
    slots = due_slots(
        "*/10 * * * *", "UTC", first=utc(2026, 1, 1, 0, 0), now=utc(2026, 1, 1, 0, 35), most=100
    )
    assert [slot.minute for slot in slots] == [0, 10, 20, 30]
    assert (
        due_slots("*/10 * * * *", "UTC", first=utc(2026, 1, 1, 0, 0), now=utc(2026, 1, 1, 0, 35), most=2)
        == slots[-2:]
    )


@given(
    after=st.datetimes(EARLY, LATE, timezones=st.just(UTC)),
    expression=st.sampled_from(
        ["30 2 * * *", "*/7 1-3 * * *", "0 0 29 2 *", "5 4 * * SUN", "15,45 2 * 3,10 *"]
    ),
    zone=st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
    ),
)
def test_slots_only_go_forward_and_do_not_depend_on_where_one_begins(
    after: datetime, expression: str, zone: str
) -> None:
    slots = following(expression, zone, after=after, count=6)
    assert all(earlier < later for earlier, later in zip([after, *slots], slots, strict=False))
    assert following(expression, zone, after=slots[2], count=3) == slots[3:]

"""Instants on the wire and in storage."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_common.times import from_micros, from_rfc3339, to_micros, to_rfc3339, utc_now

zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(timezones=zones, min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1))
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(instants)
@unhurried
def test_the_wire_keeps_every_instant(instant: datetime) -> None:
    text = to_rfc3339(instant)
    assert text.endswith("Z")
    assert from_rfc3339(text) == instant


@given(instants)
@unhurried
def test_storage_keeps_every_instant(instant: datetime) -> None:
    assert from_micros(to_micros(instant)) == instant


def test_forms() -> None:
    instant = datetime(2025, 1, 31, 10, 30, tzinfo=timezone(timedelta(hours=1)))
    assert to_rfc3339(instant) == "2025-01-31T09:30:00.000000Z"
    assert from_rfc3339("2025-01-31T10:30:00+01:00").utcoffset() == timedelta(0)
    assert to_micros(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)) == 1_000_005
    assert utc_now().tzinfo is UTC


@pytest.mark.parametrize("text", ["", "now", "2025-01-31", "2025-01-31T09:30:00", "2025-02-30T09:30:00Z", "1738315800"])
def test_refuses_what_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it as in 2025-01-31T09:30:00Z"):
        from_rfc3339(text)


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59-23:59"]
)
def test_refuses_what_utc_has_no_year_for(text: str) -> None:
    with pytest.raises(ValueError, match="is outside of the years 1 to 9999 in UTC"):
        from_rfc3339(text)


def test_does_not_repeat_long_texts() -> None:
    with pytest.raises(ValueError, match="is not an instant") as caught:
        from_rfc3339("2025-01-31T09:30:00." + "0" * 100_000 + "Z")
    assert len(str(caught.value)) < 300

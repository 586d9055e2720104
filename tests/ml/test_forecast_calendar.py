"""Holidays, weekends that are worked and the lunar new year on days that history knows."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from ml.forecast import ForecastError
from ml.forecast.calendar import CELEBRATES_NEW_YEAR, calendar_of, day_features, known_countries, lunar_new_year


def features(country: str, first: str, last: str, **options) -> pd.DataFrame:
    return day_features([country], pd.date_range(first, last).date, **options).set_index("date")


def days_where(frame: pd.DataFrame, column: str) -> list[str]:
    return [f"{day:%m-%d}" for day in frame.index[frame[column] == 1]]


def test_the_lunar_new_year_is_that_of_the_library_for_every_year_it_knows():
    import holidays

    # Hong Kong gives the day itself, or the day after it where it falls on a Sunday.
    for year in range(1990, 2100):
        days = holidays.country_holidays("HK", years=year, language="en_US", observed=False)
        named = {day for day, name in days.items() if "Lunar New Year" in name or "Chinese New Year" in name}
        assert named & {lunar_new_year(year), lunar_new_year(year) + dt.timedelta(days=1)}, year


@pytest.mark.parametrize(
    ("year", "day"),
    # 2034 follows a leap month after the solstice; 1990, 2000 and 2100 as almanacs have them.
    [(1990, "1990-01-27"), (2000, "2000-02-05"), (2024, "2024-02-10"), (2025, "2025-01-29"), (2034, "2034-02-19"),
     (2100, "2100-02-09")],
)  # fmt: skip
def test_known_lunar_new_years(year, day):
    assert lunar_new_year(year) == dt.date.fromisoformat(day)


def test_outside_the_table_there_is_no_lunar_new_year():
    assert lunar_new_year(1989) is None
    assert lunar_new_year(2101) is None
    assert not features("CN", "2110-01-01", "2110-03-31")["new_year_ahead"].any()


def test_china_is_off_for_the_whole_stretch_and_works_the_weekends_announced_for_it():
    spring = features("CN", "2024-02-01", "2024-02-29")
    assert days_where(spring, "makeup_day") == ["02-04", "02-18"]
    assert days_where(spring, "holiday") == [f"02-{day}" for day in range(10, 18)]
    autumn = features("CN", "2024-09-20", "2024-10-20")
    assert days_where(autumn, "makeup_day") == ["09-29", "10-12"]
    assert days_where(autumn, "holiday") == [f"10-0{day}" for day in range(1, 8)]


def test_a_year_not_announced_yet_has_the_holidays_by_law_and_says_so():
    known, unknown = calendar_of("CN", 2024, 2025), calendar_of("CN", 2024, 2041)
    assert known.notes == ()
    (note,) = unknown.notes
    assert "2041" in note
    assert "upgrade chinesecalendar" in note
    assert dt.date(2041, 10, 1) in unknown.holidays
    assert not any(day.year == 2041 for day in unknown.makeup_days)
    assert {day for day in unknown.makeup_days if day.year == 2024} == {
        day for day in known.makeup_days if day.year == 2024
    }
    assert features("CN", "2041-06-01", "2041-06-30").attrs["notes"] == [
        note.replace(_years(note), "2041") for note in unknown.notes
    ]


def _years(note: str) -> str:
    return note.split("weekends of ")[1].split(":")[0]


def test_only_years_that_a_holiday_of_the_days_could_lie_in_are_missed():
    assert features("CN", "2024-12-01", "2024-12-20").attrs["notes"] == []


def test_other_countries_have_their_own_and_some_work_weekends_too():
    assert days_where(features("HU", "2024-08-01", "2024-08-31"), "makeup_day") == ["08-03"]
    christmas = features("DE", "2025-12-15", "2025-12-31")
    assert days_where(christmas, "holiday") == ["12-25", "12-26"]
    assert christmas.loc["2025-12-17":"2025-12-24", "holiday_ahead"].to_numpy() == pytest.approx(
        [0, *(n / 7 for n in range(1, 8))]
    )
    assert christmas.loc["2025-12-25":, "holiday_ahead"].iloc[:2].to_list() == [0, 0]
    assert christmas.loc["2025-12-27":"2025-12-29", "holiday_behind"].to_numpy() == pytest.approx([1, 2 / 3, 1 / 3])


def test_the_lunar_new_year_is_felt_three_weeks_before_and_two_after_where_it_is_celebrated():
    year = features("VN", "2024-01-01", "2024-03-15")
    ahead, behind = year["new_year_ahead"], year["new_year_behind"]
    assert ahead[ahead > 0].index[0] == pd.Timestamp("2024-01-20")
    assert ahead.idxmax() == pd.Timestamp("2024-02-09")
    assert behind.idxmax() == pd.Timestamp("2024-02-11")
    assert behind[behind > 0].index[-1] == pd.Timestamp("2024-02-25")
    assert not features("DE", "2024-01-01", "2024-03-15")["new_year_ahead"].any()
    assert features("DE", "2024-01-01", "2024-03-15", new_year=True)["new_year_ahead"].equals(ahead)
    assert not features("VN", "2024-01-01", "2024-03-15", new_year=False)["new_year_ahead"].any()


def test_countries_that_celebrate_have_a_calendar_and_others_are_refused():
    assert known_countries() >= CELEBRATES_NEW_YEAR
    with pytest.raises(ForecastError, match="'XX'"):
        calendar_of("XX", 2024, 2024)


def test_no_days_and_no_countries_are_nothing_special():
    assert len(day_features(["CN"], [])) == 0
    assert not day_features([], pd.date_range("2024-02-01", "2024-02-20").date).drop(columns="date").any(axis=None)

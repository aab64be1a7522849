"""Statistics see what they are told to and no more, and normalize is undone exactly."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made import DIMS
from made import ensemble as make

from latentkit.normalization import denormalize, normalize, statistics


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.sampled_from(DIMS), min_size=1),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["standard", "noleap", "360_day"]),
    st.booleans(),
)
def test_denormalize_undoes_normalize(dims, by, scale, calendar, lazy):
    a = make((3, 24, 3, 4), calendar=calendar)
    a[:, :, 1, 1] = 273.15  # constant: std 0
    a = a.where(a["region"] > 0)
    a = a.chunk(time=5) if lazy else a
    by = "month" if by and "time" in dims else None
    stats = statistics(a, sorted(dims), members="all", by=by)
    normal = normalize(a, stats, scale=scale)
    assert normal.attrs["units"] == ("1" if scale else "K") and normal.dims == a.dims
    assert (normal.chunks is not None) == lazy
    assert np.isfinite(normal).sum() == np.isfinite(a).sum()
    back = denormalize(normal, stats, scale=scale)
    xr.testing.assert_allclose(back, a, rtol=2e-6)
    assert back.attrs == a.attrs and back.dtype == a.dtype and back.name == a.name


def test_statistics_are_those_of_the_stated_members_and_period():
    a = make((4, 36, 3, 4), dtype=np.float64)
    stats = statistics(a, ("member", "time"), members=np.array([0, 20]), period=("1979", "1980"), by="month")
    part = a.sel(member=[0, 20], time=slice("1979-01-01", "1980-12-31"))
    grouped = part.groupby("time.month")
    np.testing.assert_allclose(stats["tas"].sel(statistic="mean"), grouped.mean(("member", "time")))
    np.testing.assert_allclose(stats["tas"].sel(statistic="std"), grouped.std(("member", "time")), rtol=1e-9)
    assert stats.attrs["period"] == "1979-01-01 to 1980-12-01" and stats.attrs["members"] == "0 20"
    wild = a.where(a["member"].isin([0, 20]), 1e6)  # what was left out cannot matter
    again = statistics(wild, ("member", "time"), members=[0, 20], period=("1979", "1980"), by="month")
    xr.testing.assert_identical(again, stats)


def test_statistics_of_a_large_float32_field_keep_their_digits():
    values = 101325 + np.random.default_rng(0).standard_normal((200, 50_000)).astype(np.float32)
    a = xr.DataArray(values, dims=("time", "lat"), name="psl")
    stats = statistics(a, ("time", "lat"))["psl"]
    np.testing.assert_allclose(stats, [values.mean(dtype=float), values.std(dtype=float)], rtol=1e-6)


def test_by_month_of_yearly_fields_is_the_plain_mean():
    a = make((2, 60, 2, 2)).isel(time=slice(0, None, 12))
    monthly = statistics(a, ("member", "time"), members="all", by="month")
    plain = statistics(a, ("member", "time"), members="all")
    xr.testing.assert_equal(monthly["tas"].isel(month=0, drop=True), plain["tas"])


def test_statistics_fit_parts_of_the_field_and_no_others():
    a = make((3, 24, 3, 4))
    stats = statistics(a, ("member", "time"), members=[0, 10], by="month")
    whole = normalize(a, stats)
    for part in ({"lat": 2, "time": slice(3, 5)}, {"time": 7}, {"member": [1]}):
        xr.testing.assert_equal(normalize(a.isel(part), stats), whole.isel(part))
    both = xr.Dataset({"tas": a, "pr": a.rename("pr").assign_attrs(units="mm day-1") - 280})
    stats = statistics(both, ("member", "time"), members="all")
    xr.testing.assert_allclose(denormalize(normalize(both, stats), stats), both, rtol=1e-4)
    assert stats["pr"].attrs["units"] == "mm day-1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: statistics(a, "time"), "members=..... .those for training. or members='all'"),
        (lambda a: statistics(a, "time", members=[5]), "members .5. are not there; found .0, 10, 20."),
        (lambda a: statistics(a.isel(member=0), "time", members=[0]), "no dim member"),
        (lambda a: statistics(a, "time", members="all", period=("2050", "2060")), "period 2050 to 2060"),
        (lambda a: statistics(a, "lat", members="all", by="month"), "with time among the dims"),
        (lambda a: statistics(a, "day", members="all"), "cannot reduce"),
        (lambda a: statistics(a.rename(None), "time", members="all"), "has no name"),
        (lambda a: statistics(a.assign_coords(time=[1, 2, 3, 4]), "time", members="all", by="month"), "int64"),
        (lambda a: normalize(a.rename("ts"), statistics(a, "time", members="all")), "of 'ts'; they hold"),
        (lambda a: normalize(a, statistics(a, "time", members=[0])), r"at member \[10, 20\]"),
        (lambda a: normalize(a.assign_attrs(units="degC"), statistics(a, "time", members="all")), "degC"),
        (lambda a: denormalize(a, statistics(a, "time", members="all")), "units 'K', expected '1'"),
        (
            lambda a: normalize(a, statistics(a[:, :2], ("member", "time"), members="all", by="month")),
            r"at month \[3, 4\]",
        ),
    ],
)
def test_statistics_say_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        change(make())

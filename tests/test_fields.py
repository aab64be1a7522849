"""Statistics see what they are told to and no more, normalize is undone exactly, areas add up to the sphere."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made import DIMS
from made import ensemble as make

from latentkit import fields


def test_condition_has_no_seam():
    lon = [-180.0, 180.0, 0.0, 359.9]
    a = make((1, 2, 3, 4)).assign_coords(lon=lon, lat=[-90.0, 0.0, 90.0])
    _, layout = fields.pack(a, ("member", "lat", "lon"), ("time",))
    x = fields.condition(layout, dtype=torch.float64).reshape(3, 4, 3)
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(3, 4, dtype=torch.float64))
    torch.testing.assert_close(x[1, 0], x[1, 1])
    torch.testing.assert_close(x[1, 2], torch.tensor([1.0, 0, 0], dtype=torch.float64))
    assert (x[1, 2] - x[1, 3]).norm() < 2e-3
    torch.testing.assert_close(x[2], torch.tensor([0.0, 0, 1], dtype=torch.float64).expand(4, 3))


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
    stats = fields.statistics(a, sorted(dims), members="all", by=by)
    normal = fields.normalize(a, stats, scale=scale)
    assert normal.attrs["units"] == ("1" if scale else "K") and normal.dims == a.dims
    assert (normal.chunks is not None) == lazy
    assert np.isfinite(normal).sum() == np.isfinite(a).sum()
    back = fields.denormalize(normal, stats, scale=scale)
    xr.testing.assert_allclose(back, a, rtol=2e-6)
    assert back.attrs == a.attrs and back.dtype == a.dtype and back.name == a.name


def test_statistics_are_those_of_the_stated_members_and_period():
    a = make((4, 36, 3, 4), dtype=np.float64)
    stats = fields.statistics(a, ("member", "time"), members=np.array([0, 20]), period=("1979", "1980"), by="month")
    part = a.sel(member=[0, 20], time=slice("1979-01-01", "1980-12-31"))
    grouped = part.groupby("time.month")
    np.testing.assert_allclose(stats["tas"].sel(statistic="mean"), grouped.mean(("member", "time")))
    np.testing.assert_allclose(stats["tas"].sel(statistic="std"), grouped.std(("member", "time")), rtol=1e-9)
    assert stats.attrs["period"] == "1979-01-01 to 1980-12-01" and stats.attrs["members"] == "0 20"
    wild = a.where(a["member"].isin([0, 20]), 1e6)  # what was left out cannot matter
    again = fields.statistics(wild, ("member", "time"), members=[0, 20], period=("1979", "1980"), by="month")
    xr.testing.assert_identical(again, stats)


def test_statistics_of_a_large_float32_field_keep_their_digits():
    values = 101325 + np.random.default_rng(0).standard_normal((200, 50_000)).astype(np.float32)
    a = xr.DataArray(values, dims=("time", "lat"), name="psl")
    stats = fields.statistics(a, ("time", "lat"))["psl"]
    np.testing.assert_allclose(stats, [values.mean(dtype=float), values.std(dtype=float)], rtol=1e-6)


def test_by_month_of_yearly_fields_is_the_plain_mean():
    a = make((2, 60, 2, 2)).isel(time=slice(0, None, 12))
    monthly = fields.statistics(a, ("member", "time"), members="all", by="month")
    plain = fields.statistics(a, ("member", "time"), members="all")
    xr.testing.assert_equal(monthly["tas"].isel(month=0, drop=True), plain["tas"])


def test_statistics_fit_parts_of_the_field_and_no_others():
    a = make((3, 24, 3, 4))
    stats = fields.statistics(a, ("member", "time"), members=[0, 10], by="month")
    whole = fields.normalize(a, stats)
    for part in ({"lat": 2, "time": slice(3, 5)}, {"time": 7}, {"member": [1]}):
        xr.testing.assert_equal(fields.normalize(a.isel(part), stats), whole.isel(part))
    both = xr.Dataset({"tas": a, "pr": a.rename("pr").assign_attrs(units="mm day-1") - 280})
    stats = fields.statistics(both, ("member", "time"), members="all")
    xr.testing.assert_allclose(fields.denormalize(fields.normalize(both, stats), stats), both, rtol=1e-4)
    assert stats["pr"].attrs["units"] == "mm day-1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: fields.statistics(a, "time"), "members=..... .those for training. or members='all'"),
        (lambda a: fields.statistics(a, "time", members=[5]), "members .5. are not there; found .0, 10, 20."),
        (lambda a: fields.statistics(a.isel(member=0), "time", members=[0]), "no dim member"),
        (lambda a: fields.statistics(a, "time", members="all", period=("2050", "2060")), "period 2050 to 2060"),
        (lambda a: fields.statistics(a, "lat", members="all", by="month"), "with time among the dims"),
        (lambda a: fields.statistics(a, "day", members="all"), "cannot reduce"),
        (lambda a: fields.statistics(a.rename(None), "time", members="all"), "has no name"),
        (lambda a: fields.statistics(a.assign_coords(time=[1, 2, 3, 4]), "time", members="all", by="month"), "int64"),
        (lambda a: fields.normalize(a.rename("ts"), fields.statistics(a, "time", members="all")), "of 'ts'; they hold"),
        (lambda a: fields.normalize(a, fields.statistics(a, "time", members=[0])), r"at member \[10, 20\]"),
        (lambda a: fields.normalize(a.assign_attrs(units="degC"), fields.statistics(a, "time", members="all")), "degC"),
        (lambda a: fields.denormalize(a, fields.statistics(a, "time", members="all")), "units 'K', expected '1'"),
        (
            lambda a: fields.normalize(a, fields.statistics(a[:, :2], ("member", "time"), members="all", by="month")),
            r"at month \[3, 4\]",
        ),
    ],
)
def test_statistics_say_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        change(make())


def grid(lat, lon=None):
    lon = np.arange(36) * 10.0 if lon is None else lon
    return xr.DataArray(np.zeros((len(lat), len(lon))), {"lat": lat, "lon": lon}, ("lat", "lon"))


@settings(max_examples=100, deadline=None)
@given(st.sets(st.floats(-90, 90), min_size=1, max_size=9), st.sets(st.floats(0, 359), min_size=1, max_size=9))
def test_area_weights_are_positive_and_sum_to_one(lat, lon):
    lat, lon = sorted(lat), sorted(lon)
    if min([1, *np.diff(lat), *np.diff(lon)]) < 1e-3:
        return
    w = fields.area_weights(grid(lat, lon))
    assert (w > 0).all() and abs(float(w.sum()) - 1) < 1e-12
    xr.testing.assert_allclose(fields.area_weights(grid(lat[::-1], lon)).sortby("lat"), w)


def test_area_weights_are_exact_where_bounds_are_known():
    edges = np.linspace(-90, 90, 37)
    w = fields.area_weights(grid((edges[1:] + edges[:-1]) / 2))
    np.testing.assert_allclose(w.sum("lon"), np.diff(np.sin(np.deg2rad(edges))) / 2, rtol=1e-12)
    with_poles = fields.area_weights(grid(np.linspace(-90, 90, 19))).sum("lon")
    assert float(with_poles[0]) == pytest.approx((1 - np.sin(np.deg2rad(85))) / 2)
    region = fields.area_weights(grid([40.0, 42.0, 44.0], [350.0, 355.0, 0.0, 5.0]))
    exact = np.diff(np.sin(np.deg2rad([39, 41, 43, 45])))
    np.testing.assert_allclose(region.sum("lon"), exact / exact.sum())
    np.testing.assert_allclose(region.sum("lat"), 0.25)  # a region across Greenwich is no gap of 345 degrees
    sorted_region = fields.area_weights(grid([40.0, 42.0, 44.0], [0.0, 5.0, 350.0, 355.0]))
    np.testing.assert_allclose(sorted_region.sum("lat"), 0.25)
    np.testing.assert_allclose(fields.area_weights(grid([12.0])).values, 1 / 36)


def test_area_weights_integrate_smooth_functions_to_second_order():
    # The mean over the sphere of sin(lat)^2 is 1/3, of exp(sin(lat)) it is sinh(1).
    errors = []
    for n in (16, 32, 64, 128):
        lat = (np.arange(n) + 0.5) * 180 / n - 90
        w = fields.area_weights(grid(lat)).sum("lon")
        s = np.sin(np.deg2rad(w["lat"]))
        errors.append([abs(float((w * s**2).sum()) - 1 / 3), abs(float((w * np.exp(s)).sum()) - np.sinh(1))])
    rates = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (rates > 1.9).all()


@pytest.mark.parametrize("n", [32, 64])
def test_area_weights_are_close_to_gaussian_ones(n):
    # Gaussian weights are no areas: the rows at the poles differ by 6 percent, the others by less than 0.2 percent.
    points, gauss = np.polynomial.legendre.leggauss(n)
    w = fields.area_weights(grid(np.rad2deg(np.arcsin(points)))).sum("lon")
    off = abs(w.values / (gauss / 2) - 1)
    assert off.max() < 0.06 and off[1:-1].max() < 0.002


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: fields.area_weights(make().isel(lat=0, lon=0)), "need lat or lon among the dims"),
        (lambda: fields.area_weights(grid([0.0, 10.0, 5.0])), "sort it"),
        (lambda: fields.area_weights(grid([0.0, 95.0])), "between -90 and 90"),
        (lambda: fields.coarsen(make(), 0), "expected 1 or more"),
    ],
)
def test_grids_say_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        change()


def test_coarsening_keeps_area_means_and_skips_what_is_missing():
    a = make((2, 3, 8, 12), dtype=np.float64)
    w = fields.area_weights(a)
    coarse = fields.coarsen(a, 4)
    assert coarse.sizes == {"member": 2, "time": 3, "lat": 2, "lon": 3} and coarse.attrs == a.attrs
    assert "forcing" in coarse.coords
    block = w.coarsen(lat=4, lon=4).sum()  # area of each block of fine cells
    np.testing.assert_allclose((coarse * block).sum(("lat", "lon")), (a * w).sum(("lat", "lon")))
    holed = a.where(a["lon"] > 10)
    rest = {"lat": slice(4), "lon": slice(1, 4)}
    expected = (a * w).isel(rest).sum(("lat", "lon")) / w.isel(rest).sum()
    np.testing.assert_allclose(fields.coarsen(holed, 4).isel(lat=0, lon=0), expected)
    assert fields.coarsen(a.where(a["lon"] > 150), 4).isnull().sum() == 2 * 3 * 2
    odd = fields.coarsen(a, 5)
    assert odd.sizes["lat"] == 2 and odd.sizes["lon"] == 3 and odd.notnull().all()
    assert fields.coarsen(a, 1) is a


def test_bridge_carries_a_real_ensemble(shared_data):
    path = shared_data / "pcm-20c-tas-ensemble" / "pcm_b06_tas_annual_8member.nc"
    a = xr.open_dataset(path)["tas"].rename(realization="member").load()
    tensor, layout = fields.pack(a, ("member", "lat", "lon"), ("time",))
    xr.testing.assert_identical(fields.unpack(tensor, layout), a)
    assert set(layout.sample_coords()["forcing"]) == {"all", "natural"}
    stats = fields.statistics(a, ("member", "time"), members=[0, 1, 2])
    back = fields.denormalize(fields.normalize(a, stats), stats)
    assert float(abs(back - a).max()) < 1e-4  # K

"""The bridge: pack and unpack undo each other for any split of dims, statistics see what they should, areas add up."""

from itertools import permutations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from latentkit import fields

DIMS = ("member", "time", "lat", "lon")


def make(sizes=(3, 4, 5, 6), seed=0, calendar="standard", dtype=np.float32):
    rng = np.random.default_rng(seed)
    coords = {
        "member": [10 * i for i in range(sizes[0])],
        "time": xr.date_range("1979-01-01", periods=sizes[1], freq="MS", calendar=calendar, use_cftime=None),
        "lat": np.linspace(-70, 70, sizes[2]) if sizes[2] > 1 else [12.0],
        "lon": np.arange(sizes[3]) * 360 / sizes[3],
        "forcing": ("member", ["all" if i % 2 else "natural" for i in range(sizes[0])]),
        "region": (("lat", "lon"), np.random.default_rng(7).integers(0, 4, sizes[2:])),
        "height": 2.0,
    }
    values = 280 + 10 * rng.standard_normal(sizes)
    attrs = {"units": "K", "long_name": "near-surface air temperature", "identity": "{}"}
    return xr.DataArray(values.astype(dtype), coords, DIMS, "tas", attrs)


@st.composite
def split_fields(draw):
    """Return a field of any order, a split of its dims into samples and features, and a mask of either side."""
    sizes = draw(st.tuples(*[st.integers(1, 4)] * 4))
    a = make(sizes, draw(st.integers(0, 99))).transpose(*draw(st.permutations(DIMS)))
    order, cut = draw(st.permutations(DIMS)), draw(st.integers(0, 4))
    sample, feature = order[:cut], order[cut:]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    for side in (sample, feature):
        mask = xr.DataArray(rng.random([a.sizes[d] for d in side]) < 0.3, dims=side)
        masked = a.where(~mask)
        a = masked if masked.notnull().any() else a
    return a, tuple(sample), tuple(feature)


@settings(max_examples=150, deadline=None)
@given(split_fields(), st.booleans())
def test_unpack_undoes_pack(split, flatten):
    a, sample, feature = split
    tensor, layout = fields.pack(a, sample, feature, flatten=flatten)
    assert not tensor.isnan().any()
    xr.testing.assert_identical(fields.unpack(tensor, layout), a)
    assert fields.unpack(tensor, layout).dims == a.dims


@settings(max_examples=60, deadline=None)
@given(split_fields())
def test_rows_are_the_samples_they_say_they_are(split):
    a, sample, feature = split
    tensor, layout = fields.pack(a, sample, feature)
    rows, columns = layout.sample_coords(), layout.feature_coords()
    assert all(len(v) == tensor.shape[0] for v in rows.values())
    for n in range(0, tensor.shape[0], 3):
        for p in range(0, tensor.shape[1], 3):
            where = {d: rows[d][n] for d in sample} | {d: columns[d][p] for d in feature}
            assert tensor[n, p] == float(a.sel(where))
    if "member" in sample:
        assert all((m // 10) % 2 == (f == "all") for m, f in zip(rows["member"], rows["forcing"], strict=True))


def test_order_of_samples_and_features_is_the_one_asked_for():
    a = make()
    for sample in permutations(("member", "lat", "lon")):
        tensor, _ = fields.pack(a, sample, ("time",))
        np.testing.assert_array_equal(tensor, a.transpose(*sample, "time").values.reshape(-1, 4))


def test_variables_and_levels_become_channels():
    ta = xr.concat([make(seed=i) for i in range(3)], xr.Variable("level", [0.2, 0.5, 0.9])).rename("ta")
    stack = xr.Dataset({"ta": ta, "pr": make(seed=9).assign_attrs(units="mm day-1")}, attrs={"title": "two"})
    stack = stack.assign_coords(lat_bounds=(("lat", "side"), np.zeros((5, 2))))
    images, layout = fields.pack(stack, ("member", "time"), ("lat", "lon"), channel="level", flatten=False)
    assert images.shape == (12, 4, 5, 6)
    assert layout.channels() == ["ta 0.2", "ta 0.5", "ta 0.9", "pr"]
    np.testing.assert_array_equal(images[:, 3], stack["pr"].values.reshape(12, 5, 6))
    xr.testing.assert_identical(fields.unpack(images, layout), stack)
    table, layout = fields.pack(stack, ("member", "time"), ("lat", "lon"), channel="level")
    assert table.shape == (12, 4, 30)
    xr.testing.assert_identical(fields.unpack(table, layout), stack)
    pair = (make(), make(seed=1).rename("other").transpose("lon", ...))
    table, layout = fields.pack(pair, ("member", "time"), ("lat", "lon"))
    for found, expected in zip(fields.unpack(table, layout), pair, strict=True):
        xr.testing.assert_identical(found, expected)
    images, layout = fields.pack(make(), ("member", "time"), ("lat", "lon"), flatten=False)
    assert images.shape == (12, 1, 5, 6)


def test_a_channel_may_miss_what_another_has():
    ocean = make().where(make()["lon"] > 100)
    both = xr.Dataset({"sst": ocean, "tas": make(seed=1)})
    tensor, layout = fields.pack(both, ("member", "time"), ("lat", "lon"))
    assert tensor.shape == (12, 2, 30) and not tensor.isnan().any()
    assert (tensor[:, ~torch.from_numpy(layout.present)] == 0).all()
    xr.testing.assert_identical(fields.unpack(tensor, layout), both)


def test_ocean_mask_is_dropped_and_restored_for_draws_and_codes():
    a = make()
    a = a.where(a["region"] > 1)
    tensor, layout = fields.pack(a, ("member", "lat", "lon"), ("time",))
    places = int((a["region"] > 1).sum())
    assert tensor.shape == (3 * places, 4)
    draws = fields.unpack(torch.ones(7 * places, 4), layout, member={"draw": range(7)})
    assert draws.dims == ("draw", "time", "lat", "lon") and draws.attrs == a.attrs and "forcing" not in draws.coords
    xr.testing.assert_equal(draws.notnull().all(("draw", "time")), a["region"] > 1)
    codes = fields.unpack(torch.ones(3 * places, 2), layout, feature={"mode": [1, 2]})
    assert codes.dims == ("member", "lat", "lon", "mode") and codes.name is None and not codes.attrs
    assert list(codes["forcing"].values) == ["natural", "all", "natural"]
    mean = fields.unpack(torch.ones(places, 4), layout, member={})
    assert mean.dims == ("time", "lat", "lon") and "member" not in mean.coords
    longer = fields.unpack(torch.ones(3 * places, 9), layout, time={"time": np.arange(9)})
    assert longer.name == "tas" and longer.sizes["time"] == 9
    plain = fields.unpack(torch.ones(5, 4), layout, sample={"draw": np.arange(5)})
    assert plain.dims == ("draw", "time")


def test_replacing_a_dim_that_the_mask_depends_on_is_refused():
    a = make()
    a = a.where((a["member"] > 0) | (a["lat"] > 0))
    tensor, layout = fields.pack(a, ("member", "lat", "lon"), ("time",))
    with pytest.raises(ValueError, match="cannot replace member: other points"):
        fields.unpack(tensor, layout, member={"draw": range(3)})


def test_pack_copies_and_keeps_double_precision():
    a = make(dtype=np.float64)
    tensor, layout = fields.pack(a, DIMS[:2], DIMS[2:], dtype=torch.float64)
    xr.testing.assert_identical(fields.unpack(tensor, layout), a)
    tensor += 1
    back = fields.unpack(tensor.requires_grad_(), layout)
    assert float(abs(back - a - 1).max()) < 1e-12
    half = fields.unpack(*fields.pack(a, DIMS[:2], DIMS[2:], dtype=torch.bfloat16))
    assert half.dtype == np.float32


def test_missing_in_part_is_refused_or_let_through():
    a = make()
    a[1, 2, 3, 4] = np.nan
    with pytest.raises(ValueError, match=r"1 of 360 values .* in 1 samples and 1 features, .*member=10.*time=1979-03"):
        fields.pack(a, ("member", "lat", "lon"), ("time",))
    tensor, layout = fields.pack(a, ("member", "lat", "lon"), ("time",), missing="keep")
    assert tensor.isnan().sum() == 1
    xr.testing.assert_identical(fields.unpack(tensor, layout), a)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: fields.pack(a, ("member", "lat"), ("time",)), "left over: .'lon'."),
        (lambda a: fields.pack(a, ("member", "lat", "lon"), ("time", "day")), "absent: .'day'."),
        (lambda a: fields.pack(a, DIMS[:2], DIMS[2:], missing="fill"), "expected 'drop' or 'keep'"),
        (lambda a: fields.pack(a * np.nan, DIMS[:2], DIMS[2:]), "every value is missing"),
        (lambda a: fields.pack(a * np.inf, DIMS[:2], DIMS[2:]), "360 values are infinite"),
        (lambda a: fields.pack((a, a.assign_coords(lat=a["lat"] + 1)), DIMS[:2], DIMS[2:]), "do not share"),
        (lambda a: fields.pack([], DIMS[:2], DIMS[2:]), "no variables"),
        (lambda a: fields.unpack(torch.ones(3, 3), fields.pack(a, DIMS[:2], DIMS[2:])[1]), r"\(3, 3\).*\(12, 30\)"),
        (lambda a: fields.unpack(a, fields.pack(a, DIMS[:2], DIMS[2:])[1], day={}), "cannot replace .'day'."),
        (lambda a: fields.condition(fields.pack(a, DIMS[:2], DIMS[2:])[1]), "needs lat and lon"),
    ],
)
def test_pack_says_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        change(make())


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

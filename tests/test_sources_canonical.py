"""Canonical form: one field written in many ways opens as the same array; what cannot be believed is refused."""

import numpy as np
import pytest
import xarray as xr
from made_files import field, opened, units, west

from latentkit.sources.axes import SourceError
from latentkit.sources.variables import VARIABLES, conversion, parse


def habits(data):
    return data.rename(member="number", time="valid_time", lat="latitude", lon="longitude", tas="t2m")


def cyclic(data):
    last = data.isel(lon=[0])
    return xr.concat([data, last.assign_coords(lon=last.lon + 360)], "lon")


def months_as_numbers(data):
    stamp = data.time.dt
    return data.assign_coords(time=(stamp.year * 100 + stamp.month).values.astype(np.int32))


def plain_dims(data):
    lat, lon = data.lat.values, data.lon.values
    data = data.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
    return data.assign_coords(latitude=("y", lat, {"units": "degrees_north"}),
                              longitude=("x", lon, {"standard_name": "longitude"}))


def preliminary(data):
    """Split into the final part and the later, preliminary one, as ERA5 does."""
    early, late = data.tas[:, :20], data.tas[:, 20:]
    both = xr.concat([early.reindex(time=data.time), late.reindex(time=data.time)], "expver")
    return both.assign_coords(expver=[1, 5]).to_dataset(name="tas")


WRITINGS = {
    "as it is": lambda data: data,
    "latitude descending": lambda data: data.isel(lat=slice(None, None, -1)),
    "longitudes -180 to 180": west,
    "rolled": lambda data: data.roll(lon=5, roll_coords=True),
    "a cyclic column": cyclic,
    "names by habit": habits,
    "dims in another order": lambda data: data.transpose("lon", "time", "lat", "member"),
    "degrees Celsius": lambda data: units(data.assign(tas=data.tas - 273.15), "tas", "degC"),
    "float64": lambda data: data.astype(np.float64),
    "a scalar height": lambda data: data.assign_coords(height=2.0),
    "a height axis": lambda data: data.expand_dims(height=[2.0], axis=2),
    "YYYYMM": months_as_numbers,
    "dims without names": plain_dims,
    "expver": preliminary,
    "alone by its standard name": lambda data: data.rename(tas="zxw"),
    "ensemble named by its standard name": lambda data: data.rename(member="e").assign_coords(
        e=("e", data.member.values, {"standard_name": "realization"})),
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_one_field_however_written_opens_as_the_same(writing, tmp_path):
    truth = field()
    da = opened(WRITINGS[writing](field()), tmp_path)
    assert da.dims == ("member", "time", "lat", "lon") and da.dtype == np.float32 and da.name == "tas"
    assert {k: da.attrs[k] for k in ("units", "standard_name")} == {"units": "K", "standard_name": "air_temperature"}
    for axis in da.dims:
        assert np.array_equal(da[axis].values, truth[axis].values), axis
    assert np.abs(da.values - truth.tas.values).max() < 1e-4  # K
    assert bool(da.attrs["opened"])


def test_packed_values_and_declared_and_undeclared_missing_ones(tmp_path):
    data = field()
    data.tas[0, :, 2, 3] = np.nan
    packing = {"tas": {"dtype": "int16", "scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -32768}}
    packed = opened(data, tmp_path, encoding=packing)
    assert np.isnan(packed[0, :, 2, 3]).all() and int(np.isnan(packed).sum()) == 24
    assert float(abs(packed - data.tas).max()) < 0.006
    declared = opened(data, tmp_path, encoding={"tas": {"_FillValue": np.float32(-999)}})
    undeclared = opened(data.fillna(1e20), tmp_path, encoding={"tas": {"_FillValue": None}})
    for da in (declared, undeclared):
        xr.testing.assert_equal(da.drop_attrs(), data.tas.drop_attrs())
    assert "24 values beyond 1e+15 taken as missing" in undeclared.attrs["opened"]
    assert "% of the values are missing" in declared.attrs["opened"]


def test_netcdf3_opens_as_netcdf4(tmp_path):
    old = opened(field(), tmp_path, format="NETCDF3_CLASSIC", engine="scipy")
    new = opened(field(), tmp_path)
    xr.testing.assert_equal(old, new)


def test_a_region_across_greenwich_stays_in_one_piece(tmp_path):
    region = west(field()).sel(lon=slice(-50, 50))
    da = opened(region, tmp_path)
    assert da.lon.values.tolist() == [315.0, 337.5, 360.0, 382.5, 405.0]
    assert np.array_equal(da.values, region.tas.values)
    torn = opened(field().sel(lon=[0.0, 22.5, 45.0, 315.0, 337.5]), tmp_path)
    assert np.array_equal(torn.values, da.values) and torn.lon.equals(da.lon)


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "standard"])
def test_calendars_stay(calendar, tmp_path):
    data = field()
    stamps = xr.date_range("0101-01-16", periods=24, freq="MS", calendar=calendar, use_cftime=True)
    da = opened(data.assign_coords(time=stamps), tmp_path)
    assert da.time.dt.calendar in (calendar, "gregorian")
    assert da.time.dt.month.values[:3].tolist() == [2, 3, 4] and np.array_equal(da.values, data.tas.values)


def test_years_as_numbers_and_names_of_runs_are_kept(tmp_path):
    data = field().isel(time=slice(0, 5)).assign_coords(time=np.arange(1990, 1995, dtype=np.int32))
    data = data.rename(member="run").assign_coords(run=["B06.57", "B06.59", "B06.60"])
    data = data.assign_coords(forcing=("run", ["all", "all", "natural"]))
    da = opened(data, tmp_path)
    assert da.member.values.tolist() == [0, 1, 2] and da.run.values.tolist() == ["B06.57", "B06.59", "B06.60"]
    assert da.forcing.values.tolist() == ["all", "all", "natural"] and da.forcing.dims == ("member",)
    assert [str(t)[:10] for t in da.time.values[[0, -1]]] == ["1990-01-01", "1994-01-01"]


def test_pressure_levels_become_hpa_and_ascend(tmp_path):
    data = field(name="ta")
    data = xr.concat([data, data + 5], "plev").assign_coords(plev=("plev", [85000.0, 50000.0], {"units": "Pa"}))
    data.ta.attrs["units"] = "K"
    da = opened(data, tmp_path, "ta")
    assert da.dims == ("member", "time", "level", "lat", "lon") and da.level.values.tolist() == [500.0, 850.0]
    assert da.level.attrs["units"] == "hPa" and np.allclose(da.sel(level=500) - da.sel(level=850), 5)


@pytest.mark.parametrize("unit, name, step, factor", [
    ("kg m-2 s-1", "pr", 30.4, 86400), ("kg m**-2 s**-1", "pr", 1, 86400), ("kg/m^2/s", "pr", 1, 86400),
    ("kg m-2s-1", "pr", 1, 86400), ("m s-1", "pr", 30.4, 86400e3), ("mm/day", "pr", 30.4, 1), ("mm d-1", "pr", None, 1),
    ("mm", "pr", 1, 1), ("m", "pr", 1, 1000), ("m", "pr", 30.4, 1000), ("m of water equivalent", "pr", 1, 1000),
    ("kg m-2", "pr", 1, 1), ("inches/day", "pr", 1, 25.4), ("mm h-1", "pr", 1, 24),
    ("hPa", "psl", 1, 100), ("mb", "psl", 1, 100), ("millibars", "psl", 1, 100), ("kPa", "psl", 1, 1000),
    ("W/m^2", "rlut", 1, 1), ("W m**-2", "rlut", 1, 1), ("J m**-2", "rsds", 1, 1 / 86400),
    ("m**2 s**-2", "zg", None, 1 / 9.80665), ("m2/s2", "zg", None, 1 / 9.80665), ("gpm", "zg", None, 1),
    ("km", "zg", None, 1000), ("g m-2 day-1", "gpp", 1, 1e-3 / 86400), ("gC m-2 d-1", "gpp", 1, 1e-3 / 86400),
])
def test_conversions_of_units(unit, name, step, factor):
    found, offset, words = conversion(unit, VARIABLES[name], step)
    assert found == pytest.approx(factor, rel=1e-12) and offset == 0
    assert bool(words) == (factor != 1 or unit in ("mm", "kg m-2"))


def test_temperatures_shift_and_every_canonical_unit_is_its_own():
    assert conversion("degC", VARIABLES["tas"], 1)[:2] == (1, 273.15)
    assert conversion("K", VARIABLES["tos"], 1)[:2] == (1, -273.15)
    for canon in VARIABLES.values():
        assert conversion(canon.units, canon, 1) == (1, 0, "")
    assert parse("J s-1 m-2") == parse("W/m2") == (1.0, {"J": 1, "s": -1, "m": -2})


def test_radiation_counted_downward_changes_its_sign(tmp_path):
    data = field(name="rlut", low=100, high=300)
    turned = (-data).rename(rlut="mtnlwrf")
    turned.mtnlwrf.attrs["units"] = "W m**-2"
    da = opened(turned, tmp_path, "rlut")
    assert np.array_equal(da.values, data.rlut.values) and "sign turned" in da.attrs["opened"]


def test_without_members_there_is_no_member_axis_unless_the_file_has_one(tmp_path):
    assert opened(field().isel(member=0, drop=True), tmp_path, members=False).dims == ("time", "lat", "lon")
    assert opened(field(), tmp_path, members=False).dims == ("member", "time", "lat", "lon")


def test_another_variable_is_kept_in_its_own_units(tmp_path):
    data = field().rename(tas="chl")
    data.chl.attrs = {"units": "mg m-3"}
    da = opened(data, tmp_path, "chl")
    assert da.attrs["units"] == "mg m-3" and "not judged" in da.attrs["opened"]


def curvilinear(data):
    two = np.ones((8, 16))
    data = data.drop_vars(["lat", "lon"]).rename(lat="j", lon="i")
    return data.assign_coords(latitude=(("j", "i"), two), longitude=(("j", "i"), two))


def renamed(data):
    data = data.rename(tas="prcp")
    data.prcp.attrs = {"units": "mm"}
    return data


REFUSED = {
    "no member axis": (lambda d: d.isel(member=0, drop=True), "tas has no member axis.*number, realization.*glob"),
    "one member": (lambda d: d.isel(member=1), "no member axis, only member 1.*members=False"),
    "no time axis": (lambda d: d.isel(time=0, drop=True), "no time axis.*valid_time or date was expected"),
    "unknown unit": (lambda d: units(d, "tas", "furlong"), "'furlong' in the units.*taken in K, degC.*attrs"),
    "a unit of something else": (lambda d: units(d, "tas", "Pa"), "'Pa' are no temperature.*wanted in K"),
    "no unit": (lambda d: units(d, "tas", ""), "tas has no units; K .*was expected"),
    "unsorted time": (lambda d: d.isel(time=[0, 2, 1]), r"unsorted \(2001-03-01 is followed by 2001-02-01\).*sortby"),
    "descending time": (lambda d: d.isel(time=slice(None, None, -1)), "time is unsorted.*sortby"),
    "duplicate time": (lambda d: d.isel(time=[0, 1, 1, 2]), "duplicate stamps.*2001-02-01.*drop_duplicates"),
    "time without dates": (lambda d: d.assign_coords(time=np.arange(24) / 7),
                           "time cannot be read as dates.*'days since 1979-01-01' were expected"),
    "time without coordinate": (lambda d: d.drop_vars("time"), "time axis has no coordinate"),
    "Celsius called Kelvin": (lambda d: units(d - 273.15, "tas", "K"), "units 'K' in the file.*150 to 350 is"),
    "Kelvin called Celsius": (lambda d: units(d, "tas", "degC"), "units 'degC' in the file.*150 to 350 is plausible"),
    "undeclared missing": (lambda d: d.where(d.lat < 80, -999.0), "-999.*missing value undeclared"),
    "nothing but missing": (lambda d: d.where(d.lat > 100), "no value that is not missing"),
    "two-dimensional grid": (curvilinear, r"not on a regular.*\(member 3, time 24, j 8, i 16\).*two-dimensional "
                                          "latitude and longitude.*remapbil"),
    "unstructured grid": (lambda d: d.stack(cell=("lat", "lon")).reset_index("cell", drop=True),
                          "not on a regular.*cell 128"),
    "another axis": (lambda d: xr.concat([d, d], "band"), "axis band of length 2.*isel"),
    "another variable": (renamed, r"no variable 'tas' \(the file has prcp \[mm\]\)"),
    "latitudes out of order": (lambda d: d.isel(lat=[0, 2, 1]), "latitudes .* neither ascend nor descend.*sortby"),
    "latitudes beyond the poles": (lambda d: d.assign_coords(lat=d.lat * 2), "latitudes -168.75 to 168.75"),
    "longitudes twice": (lambda d: xr.concat([d, d], "lon"), "longitudes .* more than once"),
    "members twice": (lambda d: d.assign_coords(member=[1, 1, 2]), "member numbers come twice"),
    "two time axes": (lambda d: xr.concat([d, d], "date").assign_coords(date=[1, 2]), "two time axes, time and date"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_believed_is_refused_in_words(case, tmp_path):
    change, words = REFUSED[case]
    data = change(field())
    if case != "no unit":
        for each in data.data_vars.values():
            each.attrs.setdefault("units", "K")
    with pytest.raises(SourceError, match=r"(?s)^made\.nc: .*" + words):
        opened(data, tmp_path)


def test_amounts_over_unknown_times_are_refused(tmp_path):
    data = units(field(name="pr", low=0, high=90), "pr", "mm")
    with pytest.raises(SourceError, match=r"'mm' are an amount, and with steps of 31 days.*divide"):
        opened(data, tmp_path, "pr")
    data.pr.attrs["units"] = "mm day-1"
    with pytest.raises(SourceError, match="pr .*nowhere exceeds .* at least 0.02 is plausible"):
        opened(units(data / 86400, "pr", "mm day-1"), tmp_path, "pr")


def test_two_variables_of_one_standard_name_are_not_guessed_between(tmp_path):
    data = field().rename(tas="one")
    data["two"] = data.one
    with pytest.raises(SourceError, match="one, two all have the standard_name 'air_temperature'; rename"):
        opened(data, tmp_path)

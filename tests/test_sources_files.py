"""Fields from files: many put together, broken ones refused, their identity; and real data sets."""

import importlib.util
import json
import re
import shutil

import numpy as np
import pytest
import xarray as xr
from made_files import field, opened, units, west

from latentkit import sources
from latentkit.sources import files
from latentkit.sources.axes import SourceError
from latentkit.sources.variables import VARIABLES

ENSEMBLE = "pcm-20c-tas-ensemble/pcm_b06_tas_annual_8member.nc"


def test_members_in_files_and_spans_in_files(tmp_path):
    truth = field()
    for m in range(3):
        for i, span in enumerate((slice(0, 10), slice(10, 24))):
            part = truth.isel(member=m, drop=True, time=span)
            part.to_netcdf(tmp_path / f"tas_model_r{m + 1}i1p1f1_{i}.nc")
    both = sources.open_field(tmp_path / "tas_*.nc", "tas")
    assert both.member.values.tolist() == [1, 2, 3] and both.run.values.tolist()[0] == "r1i1p1f1"
    assert np.array_equal(both.values, truth.tas.values) and np.array_equal(both.time, truth.time)
    first = sources.open_field(tmp_path / "tas_*_0.nc", "tas")
    assert np.array_equal(first.values, truth.tas.values[:, :10])
    single = sources.open_field(tmp_path / "tas_*_r2*.nc", "tas", members=False)
    assert single.dims == ("time", "lat", "lon") and np.array_equal(single.values, truth.tas.values[1])
    assert "2 files joined along time" in single.attrs["opened"]
    with pytest.raises(SourceError, match="no member axis"):
        sources.open_field(tmp_path / "tas_*_r2*.nc", "tas")
    assert sources.identity(both)["files"] == 6 and sources.identity(both)["period"] == ["2001-01-01", "2002-12-01"]


def test_files_without_numbers_are_members_in_the_order_of_their_names(tmp_path):
    truth = field()
    for m, name in enumerate(("a_first", "b_second", "c_third")):
        truth.isel(member=m, drop=True).isel(lat=slice(None, None, -1)).to_netcdf(tmp_path / f"{name}.nc")
    da = sources.open_field(str(tmp_path / "*.nc"), "tas")
    assert da.run.values.tolist() == ["a_first", "b_second", "c_third"] and np.array_equal(da.values, truth.tas.values)
    assert "3 files taken as 3 members, numbered from 0 in the order of the file names" in da.attrs["opened"]


def test_files_that_do_not_fit_together_are_named(tmp_path):
    whole = field(members=1).isel(member=0, drop=True)
    whole.isel(time=slice(0, 12)).to_netcdf(tmp_path / "x_a.nc")
    whole.isel(time=slice(11, 24)).to_netcdf(tmp_path / "x_b.nc")
    with pytest.raises(SourceError, match=r"x_b\.nc: its times .* overlap those of x_a\.nc"):
        sources.open_field(tmp_path / "x_*.nc", "tas", members=False)
    whole.isel(time=slice(12, 24), lat=slice(0, 4)).to_netcdf(tmp_path / "x_b.nc")
    with pytest.raises(SourceError, match=r"x_b\.nc: its lat axis is not that of x_a\.nc"):
        sources.open_field(tmp_path / "x_*.nc", "tas", members=False)
    whole.isel(time=slice(0, 12)).to_netcdf(tmp_path / "y_r1i1p1f1.nc")
    whole.isel(time=slice(12, 24)).to_netcdf(tmp_path / "y_r2i1p1f1.nc")
    with pytest.raises(SourceError, match=r"y_r2i1p1f1\.nc: its times .* are not those of y_r1i1p1f1\.nc"):
        sources.open_field(tmp_path / "y_*.nc", "tas")


def test_what_is_no_such_file_is_said(tmp_path):
    field().to_netcdf(tmp_path / "good.nc")
    for name, content, words in (
        ("page.nc", b"<html>404", "starts with b'<html>40'; NetCDF"),
        ("empty.nc", b"", "found an empty file"),
        ("cut.nc", (tmp_path / "good.nc").read_bytes()[:9000], "cannot be read.*truncated"),
        ("cut.grib", b"GRIB" + bytes(60), "GRIB message 1 at byte 0 of 64 is broken"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=f"^{re.escape(name)}: .*{words}"):
            sources.open_field(tmp_path / name, "tas")
    with pytest.raises(FileNotFoundError, match=r"god\.nc: there is no such file, nearest: 'good\.nc'"):
        sources.open_field(tmp_path / "god.nc", "tas")
    with pytest.raises(FileNotFoundError, match=r"none\*\.nc: no file matches"):
        sources.open_field(tmp_path / "none*.nc", "tas")
    with pytest.raises(SourceError, match=r"a folder that is no Zarr store.*/\*\.nc"):
        sources.open_field(tmp_path, "tas")


def test_truncated_netcdf3_and_damaged_chunks_are_not_half_read(tmp_path):
    path = tmp_path / "old.nc"
    field().to_netcdf(path, format="NETCDF3_CLASSIC", engine="scipy")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SourceError, match=r"old\.nc: found what cannot be read"):
        sources.open_field(path, "tas")
    path = tmp_path / "new.nc"
    field().to_netcdf(path, encoding={"tas": {"zlib": True}})
    content = bytearray(path.read_bytes())
    content[len(content) // 2: len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"new\.nc: found what cannot be read"):
        sources.open_field(path, "tas")


def test_identity_is_of_the_contents_not_of_the_folder(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    field().to_netcdf(tmp_path / "a" / "one.nc")
    shutil.copy(tmp_path / "a" / "one.nc", tmp_path / "b")
    first = sources.open_field(tmp_path / "a" / "one.nc", "tas")
    found = sources.identity(first)
    assert found == sources.identity(sources.open_field(tmp_path / "b" / "one.nc", "tas"))
    assert found["name"] == "one.nc" and found["sha256_of"] == "contents" and str(tmp_path) not in json.dumps(found)
    units(field() + 1, "tas", "K").to_netcdf(tmp_path / "b" / "one.nc")
    assert found["sha256"] != sources.identity(sources.open_field(tmp_path / "b" / "one.nc", "tas"))["sha256"]
    monkeypatch.setattr(files, "HASHED", 1000)
    short = sources.identity(sources.open_field(tmp_path / "a" / "one.nc", "tas"))
    assert short["sha256_of"] == "names, sizes, heads and tails" and short["sha256"] != found["sha256"]


def test_large_fields_stay_on_disk(tmp_path, monkeypatch):
    truth = opened(west(field()), tmp_path)
    monkeypatch.setattr(files, "LOADED", 1000)
    lazy = opened(west(field()), tmp_path)
    assert lazy.chunks is not None and truth.chunks is None
    assert "left on disk" in lazy.attrs["opened"] and "first and last time judged only" in lazy.attrs["opened"]
    assert np.array_equal(lazy.values, truth.values)


def test_what_was_done_is_printed_once(tmp_path, capsys):
    opened(west(field()).rename(tas="printed"), tmp_path)
    first = capsys.readouterr().out
    opened(west(field()).rename(tas="printed"), tmp_path)
    assert "longitudes -180 ... 157.5 taken to 0 ... 337.5" in first and capsys.readouterr().out == ""


def test_zarr(tmp_path):
    pytest.importorskip("zarr", reason="extra era5 is not installed")
    truth = field()
    west(truth).to_zarr(tmp_path / "store.zarr")
    da = sources.open_field(tmp_path / "store.zarr", "tas")
    assert np.array_equal(da.values, truth.tas.values) and sources.identity(da)["name"] == "store.zarr"


@pytest.mark.parametrize("package, name", [("cfgrib", "x.grib"), ("zarr", "x.zarr")])
def test_a_missing_extra_is_named(package, name, tmp_path):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    if package == "zarr":
        (tmp_path / name).mkdir()
        (tmp_path / name / "zarr.json").write_text("{}")
    else:
        (tmp_path / name).write_bytes(b"GRIB" + (24).to_bytes(3, "big") + b"\1" + bytes(12) + b"7777")
    told = rf"{re.escape(name)}: .*needs the package {package}.*pip install -e \"\.\[era5\]"
    with pytest.raises(ImportError, match=told):
        sources.open_field(tmp_path / name, "tas")


# Real data sets

def test_coupled_model_ensemble(shared_data):
    da = sources.open_field(shared_data / ENSEMBLE, "tas")
    assert dict(da.sizes) == {"member": 8, "time": 110, "lat": 64, "lon": 128} and da.dtype == np.float32
    assert da.forcing.values.tolist() == ["all"] * 4 + ["natural"] * 4 and str(da.run.values[0]).endswith("57")
    assert str(da.time.values[0])[:10] == "1890-01-01" and str(da.time.values[-1])[:10] == "1999-01-01"
    weighted = da.weighted(np.cos(np.deg2rad(da.lat))).mean(("lat", "lon"))
    first, last = (weighted.sel(time=slice(f"{y}", f"{y + 9}")).mean("time") for y in (1890, 1990))
    change = last - first
    assert change[:4].min() > 0.6 and change[:4].max() < 0.77 and change[4:].max() < 0.25  # K, as its README says


def test_reanalysis_members_in_grib(shared_data):
    pytest.importorskip("cfgrib", reason="extra era5 is not installed")
    path = shared_data / "era5-eda-10member" / "era5-levels-members.grib"
    before = set(path.parent.iterdir())
    ta, zg = sources.open_field(path, "ta"), sources.open_field(path, "zg")
    assert dict(ta.sizes) == {"member": 10, "time": 4, "level": 2, "lat": 61, "lon": 120}
    assert ta.level.values.tolist() == [500, 850] and ta.lat[0] == -90 and zg.attrs["units"] == "m"
    assert ta.std("member", ddof=1).mean(("time", "lat", "lon")).values == pytest.approx([0.19, 0.31], abs=0.03)  # K
    assert 5000 < zg.sel(level=500).mean() < 5700 and set(path.parent.iterdir()) == before
    with pytest.raises(SourceError, match=r"no variable 'pr'.*t \[K\]"):
        sources.open_field(path, "pr")


def test_iberian_winters(shared_data):
    folder = shared_data / "iberia-djf-slp-precip"
    psl = sources.open_field(folder / "ncep_psl_2.5deg.nc", "psl", members=False)
    assert psl.lon.values.tolist() == [350, 352.5, 355, 357.5, 360, 362.5, 365] and psl.dims == ("time", "lat", "lon")
    pr = sources.open_field(folder / "eobs_pr_0.5deg.nc", "pr", members=False)
    assert 0.40 < float(np.isnan(pr).mean()) < 0.42 and pr.attrs["units"] == "mm day-1"
    tas = sources.open_field(folder / "eobs_tas_0.5deg.nc", "tas", members=False)
    assert tas.attrs["units"] == "K" and 270 < tas.mean() < 285
    nine = sources.open_field(folder / "cfsv2_pr_9member.nc", "pr")
    assert nine.sizes["member"] == 9 and "taken as daily totals" in nine.attrs["opened"]
    with pytest.raises(SourceError, match=r"eobs_tas_0\.5deg\.nc: tas has no member axis \(its axes: time, lat, lon\)"):
        sources.open_field(folder / "eobs_tas_0.5deg.nc", "tas")
    with pytest.raises(SourceError, match=r"\(time 1805, rlat 28, rlon 30\), with two-dimensional lat and lon"):
        sources.open_field(folder / "cordex_racmo22e_eur44_pr_historical.nc", "pr", members=False)


def test_monthly_files_of_a_coupled_model(shared_data):
    folder = shared_data / "access-esm15-monthly"
    for variable in ("tas", "pr", "rlut", "rsdt", "rsut", "gpp"):
        da = sources.open_field(folder / f"{variable}_*historical_r1*.nc", variable, members=False)
        assert dict(da.sizes) == {"time": 180, "lat": 19, "lon": 36} and da.attrs["units"] == VARIABLES[variable].units
    two = sources.open_field(folder / "ts_*_historical_r?i1p1f1_*.nc", "ts")
    assert two.member.values.tolist() == [1, 2] and two.run.values.tolist() == ["r1i1p1f1", "r2i1p1f1"]
    with xr.open_dataset(folder / "ts_Amon_ACCESS-ESM1-5_historical_r2i1p1f1_gn_200001-201412.nc") as data:
        assert np.array_equal(two.sel(member=2).values, data.ts.values)
    with pytest.raises(SourceError, match="overlap those of"):
        sources.open_field(folder / "ts_*.nc", "ts")
    with pytest.raises(SourceError, match=r"tos_.*\(time 180, j 30, i 36\).*two-dimensional latitude and longitude"):
        sources.open_field(folder / "tos_*.nc", "tos", members=False)
    control = sources.open_field(folder / "tas_*piControl*.nc", "tas", members=False)
    assert control.sizes["time"] == 960 and control.time.dt.year.values[[0, -1]].tolist() == [101, 180]
    with pytest.raises(SourceError, match="one kind was expected"):
        sources.open_field(folder / "tas_*.nc", "tas", members=False)


def test_old_climatologies(shared_data):
    june = shared_data / "multilevel-climatology" / "NCEP_06_climo.nc"
    ta = sources.open_field(june, "ta", members=False)
    assert dict(ta.sizes) == {"time": 1, "level": 17, "lat": 64, "lon": 128} and ta.level[[0, -1]].values.tolist() == [
        10, 1000]
    psl, rlut = (sources.open_field(june, v, members=False) for v in ("psl", "rlut"))
    assert 98000 < psl.min() and psl.attrs["units"] == "Pa" and 90 < rlut.min() < rlut.max() < 350
    year = sources.open_field(june.parent / "pr_GPCP_annual_cycle.nc", "pr", members=False)
    assert year.time.dt.month.values.tolist() == list(range(1, 13)) and 2 < float(year.mean()) < 3

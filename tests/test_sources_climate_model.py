"""The recipe of the archive, builds in pieces, their files, the comparison; the model itself where it is installed."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from latentkit.sources import archive, climate_build, climate_check, climate_files, climate_model

FIELDS = ("tas", "psl", "pr", "rlut", "rsds")


class Tiny:
    """Step a small chaotic map on a 4 x 6 grid: fields that depend on every step before."""

    lat, lon, level = np.array([-60.0, -20, 20, 60]), np.arange(6) * 60.0, np.array([0.2, 0.9])

    @staticmethod
    def identity():
        return {"recipe": "tiny", "version": "1"}

    def start(self, member):
        return {"x": np.linspace(0.1, 0.9, 24).reshape(4, 6) ** (1 + 0.1 * member), "day": np.array(0)}

    def advance(self, state, days):
        x, days_done, made = state["x"], int(state["day"]), []
        for _ in range(days):
            x = 3.9 * x * (1 - x)
            made.append(x)
        x10 = np.array(made, np.float32)
        fields = {"tas": 250 + 30 * x10, "psl": 1e5 + 1000 * x10, "pr": 5 * x10, "rlut": 200 + x10, "rsds": 100 + x10,
                  "ta": np.stack([220 + x10, 260 + x10], 1)}
        return {"x": x, "day": np.array(days_done + days)}, fields


class Killed(Tiny):
    """Die at the start of the piece that the file `when` names."""

    when: Path = None

    def advance(self, state, days):
        if int(state["day"]) == int(self.when.read_text()):
            raise KeyboardInterrupt
        return super().advance(state, days)


class Blown(Tiny):
    """Blow up in the second piece."""

    def advance(self, state, days):
        reached, fields = super().advance(state, days)
        if int(state["day"]):
            fields["psl"][3, 0, 0] = np.nan
        return reached, fields


class Later(Tiny):
    """Be of another version."""

    @staticmethod
    def identity():
        return {"recipe": "tiny", "version": "2"}


def tiny(out, members=2, stepper=Tiny, **length):
    return climate_model.build(out, members, progress=False, stepper=stepper, **length)


@pytest.mark.parametrize(
    "members, length, words",
    [
        (0, {"days": 3}, "members=0: a whole number of at least 1"),
        (2.0, {"days": 3}, "members=2.0"),
        (True, {"days": 3}, "members=True"),
        (2, {}, "give the length as one of the two"),
        (2, {"days": 3, "years": 1}, "give the length as one of the two"),
        (2, {"days": -1}, "days=-1"),
        (2, {"years": 18}, "the forcing ends on 1995-12-31; ask for at most 17 years"),
        (2, {"days": 7000}, "the forcing ends on 1995-12-31"),
        (38, {"days": 3}, "would start on 1979-01-02"),
        (2, {"days": 3, "processes": 0}, "processes=0"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_made(tmp_path, members, length, words):
    with pytest.raises(ValueError, match=words):
        climate_model.build(tmp_path / "out", members, **length)
    assert not (tmp_path / "out").exists()


def test_without_the_model_the_extra_is_named(tmp_path, monkeypatch):
    def missing(name):
        raise climate_model.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(climate_model.metadata, "version", missing)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[gcm\]"'):
        climate_model.build(tmp_path / "out", 1, days=1)
    monkeypatch.setattr(climate_model.metadata, "version", lambda name: "2.9")
    with pytest.raises(ImportError, match="of jcm 3.0.0, and 2.9 is installed"):
        climate_model.build(tmp_path / "out", 1, days=1)
    assert not (tmp_path / "out").exists()


def test_folders_of_something_else_are_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ValueError, match="no recipe.json.*not empty; choose a new folder"):
        tiny(tmp_path / "mine", days=3)
    tiny(tmp_path / "out", days=3)
    with pytest.raises(ValueError, match=r"another recipe \(version: '1' there, '2' here\).*choose a new folder"):
        tiny(tmp_path / "out", days=3, stepper=Later)


def test_pressure_at_sea_level_of_one_column():
    # by hand: T0 = 280 (1 + 0.05 * 0.190257) = 282.664 K; 1 + 6.5 / T0 = 1.0229956; to the power 5.255: 1.12693
    column = climate_model.sea_level_pressure(np.array([[9e4]]), np.array([[280.0]]), np.array([[1000.0]]))
    assert abs(column.item() - 9e4 * 1.12693) < 2
    level = climate_model.sea_level_pressure(np.array([[9e4]]), np.array([[280.0]]), np.array([[0.0]]))
    assert level.item() == 9e4
    # hydrostatic: over a small hill, dp/dz = p g / (R T0)
    hill = climate_model.sea_level_pressure(1e5, 280.0, 0.1)
    t0 = 280 * (1 + 0.05 * climate_model.LAPSE * climate_model.GAS / climate_model.GRAVITY)
    assert abs((hill - 1e5) / 0.1 - 1e5 * climate_model.GRAVITY / (climate_model.GAS * t0)) < 1e-3


@pytest.fixture
def inputs(tmp_path):
    """Write files laid out as the model's own: latitudes up in one and down in the other."""
    lat, lon = np.array([-30.0, 30]), np.array([0.0, 180])
    months = np.arange("1981-01", "1982-01", dtype="datetime64[M]").astype("datetime64[ns]")
    (tmp_path / "t30/clim").mkdir(parents=True)
    (tmp_path / "t30/anom").mkdir(parents=True)
    level = {"lev": 0.0}
    sst = 280 + np.arange(12.0) + 100 * np.arange(2)[None, :, None] + np.zeros((2, 1, 1))
    xr.Dataset({"sst": (("lon", "lat", "time"), sst), "alb": (("lon", "lat"), np.ones((2, 2)))},
               {"lat": lat, "lon": lon, "time": months, **level}).to_netcdf(tmp_path / "t30/clim/forcing.nc")
    times = np.arange("1979-01", "2014-01", dtype="datetime64[M]").astype("datetime64[ns]")
    ssta = np.arange(times.size) + 1.0 + 1000 * np.arange(2)[None, :, None] + np.zeros((2, 1, 1))
    xr.Dataset({"ssta": (("time", "lat", "lon"), ssta.transpose(2, 1, 0))},
               {"lat": lat[::-1], "lon": lon, "time": times, **level}).to_netcdf(
        tmp_path / "t30/anom/sea_surface_temperature_anomaly.nc")
    return tmp_path


def test_forcing_is_laid_out_by_calendar_month(inputs):
    laid = climate_model.forcing(inputs)
    assert laid.sst.dims == ("lon", "lat", "time") and laid.alb.dims == ("lon", "lat") and "lev" not in laid
    assert laid.sizes["time"] == 18 * 12
    assert str(laid.time.values[0])[:10] == "1978-01-15" and str(laid.time.values[-1])[:10] == "1995-12-15"
    assert (np.diff(laid.lat) > 0).all()
    south = laid.sst.sel(lat=-30, lon=0)
    assert south.values[:12].tolist() == (280 + np.arange(12.0)).tolist()  # no anomaly before 1979
    assert south.sel(time="1979-01-15") == 280 + 1001 and south.sel(time="1980-03-15") == 282 + 1015
    assert laid.sst.sel(lat=30, lon=180, time="1980-03-15") == 382 + 15


def test_days_are_written_as_the_archive_has_them(tmp_path):
    (path,) = tiny(tmp_path / "out", days=12)
    with xr.open_dataset(path) as ours, xr.open_dataset(archive.folder() / "check_days.nc") as check:
        assert {n: (v.dims, v.dtype) for n, v in ours.data_vars.items()} == {
            n: (v.dims, v.dtype) for n, v in check.data_vars.items()}
        assert ours.day.values[:10].tolist() == check.day.values.tolist()
        assert ours.sizes["day"] == 12 and "member 1: 1978-07-06" in ours.day.long_name
        assert all(ours[n].units == check[n].units for n in check.data_vars)


def test_a_killed_build_goes_on_to_the_same_numbers(tmp_path):
    (straight,) = tiny(tmp_path / "straight", days=100)
    Killed.when = tmp_path / "when"
    for day in (0, 60, 90):
        Killed.when.write_text(str(day))
        with pytest.raises(KeyboardInterrupt):
            tiny(tmp_path / "out", days=100, stepper=Killed)
        states = sorted(p.name for p in (tmp_path / "out").rglob("*.state.npz"))
        assert states == ([f"{day // 30 - 1:04d}.state.npz"] if day else [])  # the last one only
    (tmp_path / "out/pieces/member_00/0003.npz.part").write_bytes(b"half a piece")
    Killed.when.write_text("-1")
    (resumed,) = tiny(tmp_path / "out", days=100, stepper=Killed)
    with xr.open_dataset(straight) as a, xr.open_dataset(resumed) as b:
        xr.testing.assert_identical(a, b)


def test_a_longer_build_and_more_processes_give_the_same_numbers(tmp_path):
    tiny(tmp_path / "out", members=1, days=10)
    (grown,) = tiny(tmp_path / "out", members=3, days=65, processes=2)
    (straight,) = tiny(tmp_path / "straight", members=3, days=65)
    with xr.open_dataset(straight) as a, xr.open_dataset(grown) as b:
        xr.testing.assert_identical(a, b)


def test_values_that_are_not_finite_stop_the_build(tmp_path):
    with pytest.raises(RuntimeError, match="member 0: psl is not finite in the 30 days from 1978-07-31"):
        tiny(tmp_path / "out", days=60, stepper=Blown)
    assert [p.name for p in (tmp_path / "out").rglob("0001*")] == []


def test_years_are_written_as_the_archive_has_them(tmp_path):
    paths = tiny(tmp_path / "out", years=2)
    assert [p.name for p in paths] == ["monthly.nc", "winter_days.nc", "column_days.nc", "check_days.nc"]
    days = {n: climate_build.series(tmp_path / "out", 1, n, "1979-01-01", "1981-01-01") for n in FIELDS}
    for name, dims in (("monthly", "member time lat lon"), ("winter_days", "member time lat lon"),
                       ("column_days", "time lat lon")):
        kept = {"mask_and_scale": False, "decode_times": False}
        with (xr.open_dataset(tmp_path / f"out/{name}.nc", **kept) as ours,
              xr.open_dataset(archive.folder() / f"{name}.nc", **kept) as theirs):
            assert set(ours.data_vars) == set(theirs.data_vars)
            for v in ours.data_vars:
                same = ("scale_factor", "add_offset", "_FillValue", "units", "standard_name", "long_name")
                assert {k: ours[v].attrs[k] for k in same} == {k: theirs[v].attrs[k] for k in same}
                assert ours[v].dtype == np.int16 and (ours[v].dims == theirs[v].dims)
            assert ours.pr.dims == tuple(dims.split())
            n = {"monthly": 24, "winter_days": 59 + 31 + 60 + 31, "column_days": 731}[name]
            assert ours.time.values.tolist() == theirs.time.values[:n].tolist()
    with (xr.open_dataset(tmp_path / "out/monthly.nc") as monthly,
          xr.open_dataset(tmp_path / "out/winter_days.nc") as winter):
        leap = monthly.psl.sel(member=1, time="1980-02").values[0]
        assert np.allclose(leap, days["psl"][396 : 396 + 29].mean(0), atol=1.25 + 0.01)
        assert winter.lat.values.tolist() == [20, 60]
        assert np.allclose(winter.pr.sel(member=1, time="1979-12-01"), days["pr"][334][2:], atol=0.0051)


def test_packing_returns_the_stored_integers():
    for collection, names in (("monthly", FIELDS), ("column_days", ("ta",))):
        with xr.open_dataset(archive.folder() / f"{collection}.nc", mask_and_scale=False) as stored:
            for name in names:
                some = stored[name].isel(time=slice(0, 12))
                opened = archive.open_field(name, collection).isel(time=slice(0, 12)).values.reshape(some.shape)
                assert np.array_equal(climate_files.pack(opened, name), some.values)
    with pytest.raises(ValueError, match="tas from 200 to 700 does not fit"):
        climate_files.pack(np.array([200.0, 700]), "tas")


@pytest.fixture
def rebuilt(tmp_path):
    """Return a function that writes the archive's check days, changed, as if they were a rebuild, and compares."""

    def compare(change):
        (tmp_path / "out").mkdir(exist_ok=True)
        with xr.open_dataset(archive.folder() / "check_days.nc") as stored:
            days = stored.load()
        change(days).to_netcdf(tmp_path / "out" / "check_days.nc")
        return climate_check.compare(tmp_path / "out")

    return compare


def noise(days, size, since=1, seed=0):
    rng = np.random.default_rng(seed)
    late = days.day >= since
    return days + xr.Dataset({n: (v.dims, size[n] * rng.standard_normal(v.shape)) for n, v in days.items()}) * late


def test_the_same_days_are_the_same_numbers(rebuilt):
    report = rebuilt(lambda days: days)
    assert report.verdict == "same numbers" and "bit for bit" in report.why
    assert len(report.rows) == 30 and report.members == (0, 1)
    assert all(row["largest"] == row["rms"] == row["mean"] == 0 for row in report.rows)
    assert all(abs(row["correlation"] - 1) < 1e-12 and row["std"] == 0 for row in report.rows)
    other_digits = rebuilt(lambda days: days.assign_coords(lat=days.lat + 1e-8))
    assert other_digits.rows == report.rows


def test_the_numbers_of_a_comparison():
    a, b = np.array([[[3.0, 1], [0, 0]]]), np.array([[[1.0, 1], [0, 2]]])  # less their means 2 0 -1 -1 and 0 0 -1 1
    found = climate_check._numbers(a, b, np.full((2, 2), 0.25))
    assert found["largest"] == 2 and found["rms"] == 2**0.5 and found["mean"] == 0
    assert found["correlation"] == 0 and abs(found["std"] - (3**0.5 - 1)) < 1e-12
    found = climate_check._numbers(a, b, np.array([[0.5, 0.5], [0.0, 0.0]]))
    assert found["rms"] == 2**0.5 and found["mean"] == 1 and found["std"] == np.inf  # b has no spread there


def test_rounding_and_chaos_are_told_from_another_recipe(rebuilt):
    rounding = {"tas": 3e-5, "psl": 0.01, "pr": 1e-5}
    chaos = {"tas": 0.02, "psl": 2.0, "pr": 0.05}
    assert rebuilt(lambda days: noise(days, rounding)).verdict == "same numbers"
    report = rebuilt(lambda days: noise(days, chaos, since=5))
    assert report.verdict == "same runs" and "days 1 to 4" in report.why
    late = [row for row in report.rows if row["variable"] == "tas" and row["day"] > 4]
    assert all(abs(row["rms"] - 0.02) < 0.002 for row in late)
    report = rebuilt(lambda days: noise(days, {n: 20 * v for n, v in chaos.items()}))
    assert report.verdict == "not the recipe" and "tas of day 1: rms" in report.why
    report = rebuilt(lambda days: days.assign(psl=days.psl + (days.day > 6)))  # 1 Pa everywhere
    assert report.verdict == "not the recipe" and "psl of day 7: mean 1 where at most 0.25" in report.why
    report = rebuilt(lambda days: days.assign(tas=days.tas.where(days.day != 9)))
    assert report.verdict == "not the recipe" and "tas of day 9" in report.why
    swapped = rebuilt(lambda days: days.isel(member=[1, 0]).assign_coords(member=days.member))
    assert swapped.verdict == "not the recipe"  # runs that start five days apart


def test_fewer_members_and_days_are_compared_too(rebuilt):
    report = rebuilt(lambda days: days.isel(member=[1], day=slice(2)))
    assert report.members == (1,) and len(report.rows) == 6 and report.verdict == "same numbers"


def test_the_comparison_reads_as_a_table(rebuilt):
    text = str(rebuilt(lambda days: noise(days, {"tas": 0.02, "psl": 2.0, "pr": 0.05}, since=5)))
    lines = text.splitlines()
    assert "members 0, 1" in lines[0] and lines[2 + 30].startswith("rule: same numbers, if")
    assert lines[-1].startswith("same runs: ")


def test_what_cannot_be_compared_is_said(tmp_path, rebuilt):
    with pytest.raises(FileNotFoundError, match="build the days first"):
        climate_check.compare(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no member or no day in common"):
        rebuilt(lambda days: days.assign_coords(member=[5, 6]))
    with pytest.raises(ValueError, match="on another grid"):
        rebuilt(lambda days: days.isel(lat=slice(16)))


def test_the_model_gives_the_archive_again(tmp_path):
    pytest.importorskip("jcm", reason="the climate model is not installed (extra gcm)")
    climate_model.build(tmp_path / "out", 1, days=10)
    report = climate_check.compare(tmp_path / "out")
    assert report.verdict in ("same numbers", "same runs"), str(report)

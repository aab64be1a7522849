"""Pairs of fields: days that match, splits that share none, points without values, and the way back."""

import numpy as np
import pytest
import torch
import xarray as xr

from latentkit import pairs


def made(name, members=4, days=10, y=8, x=12, low=0.0):
    rng = np.random.default_rng(len(name))
    dims = ("member", "time", "lat", "lon")
    values = (rng.random((members, days, y, x)) + low).astype("f4")
    coords = {"member": range(members), "lat": np.linspace(10, 70, y), "lon": np.arange(x) * 5.0}
    coords["time"] = np.datetime64("2001-01-01", "ns") + np.arange(days) * np.timedelta64(1, "D")
    units = {"psl": "Pa", "pr": "mm day-1"}[name]
    names = {"psl": "air_pressure_at_mean_sea_level", "pr": "lwe_precipitation_rate"}
    return xr.DataArray(values, coords, dims, name, {"units": units, "standard_name": names[name]})


def stored(tmp_path, **changes):
    paths = []
    for name in ("psl", "pr"):
        field = made(name)
        field = field * 1e3 + 1e5 if name == "psl" else field
        field.attrs = made(name).attrs
        path = tmp_path / f"{name}.nc"
        changes.get(name, lambda f: f)(field).to_netcdf(path)
        paths.append(str(path))
    return "; ".join(paths)


def test_two_files_are_a_pair(tmp_path):
    x, y = pairs.open_pair(stored(tmp_path))
    assert (x.name, y.name, x.sizes) == ("psl", "pr", y.sizes)


def test_negative_precipitation_is_set_to_zero_and_counted(tmp_path, capsys):
    def wrong(field):
        field = field.copy()
        field[0, 0, 0, :3] = -0.5
        return field

    _, y = pairs.open_pair(stored(tmp_path, pr=wrong))
    assert float(y.min()) == 0
    assert "pr: 3 values below 0, of 3840, the least -0.5; set to 0" in capsys.readouterr().out


def test_days_that_do_not_match_are_named(tmp_path):
    with pytest.raises(ValueError, match="differ along time: 10 and 8 values, the first that differ, number 0"):
        pairs.open_pair(stored(tmp_path, pr=lambda f: f.isel(time=slice(2, None))))


@pytest.mark.parametrize("source", ["a.nc; b.nc; c.nc", "a.nc;", ""])
def test_other_than_one_or_two_sources_are_refused(source):
    with pytest.raises(ValueError, match="expected 'archive', one path, or two with a semicolon"):
        pairs.open_pair(source)


def test_splits_hold_out_members_of_their_own():
    x, y = made("psl"), made("pr")
    found = pairs.split(x, y, (0, 1), members=8, tested=1)
    assert found.held_out == ("members 3", "members 0")
    assert found.field.shape == (2, 30, 8, 12) and found.tested_proxy.shape == (2, 10, 96)
    assert not found.circular
    torch.testing.assert_close(found.field[1][:10] ** 2, torch.tensor(y.values[1]))
    torch.testing.assert_close(found.tested_field[1] ** 2, torch.tensor(y.values[0]))


def test_members_beyond_those_asked_for_are_left_out():
    found = pairs.split(made("psl"), made("pr"), (0,), members=1, tested=2)
    assert found.field.shape[1] == 10 and found.held_out == ("members 2, 3",)


def test_one_member_is_split_in_time():
    x, y = made("psl", 1), made("pr", 1)
    assert pairs.split(x, y, (0,), members=6).tested_field.shape[1] == 2
    found = pairs.split(x, y, (0, 1), members=6, days=3)
    assert found.tested_field.shape[1] == 3 and found.held_out == ("the last 3 days",) * 2
    with pytest.raises(ValueError, match="10 days held out of 10; expected fewer"):
        pairs.split(x, y, (0,), members=6, days=10)


def test_points_without_a_value_have_no_area_and_come_back_missing():
    x, y = made("psl"), made("pr")
    y[:, :, 0] = np.nan
    y[0, 3, 1, 1] = np.nan  # on one day alone
    found = pairs.split(x, y, (0,), members=2)
    assert (found.area == 0).sum() == 13 and found.field.isfinite().all()
    torch.testing.assert_close(found.area[found.area > 0].mean(), torch.tensor(1.0))
    back = found.labelled(found.tested_field[0], 0)
    kept = found.area.numpy() > 0
    np.testing.assert_allclose(back.values[..., kept] ** 2, y.values[2:][..., kept], rtol=1e-5)
    assert np.isnan(back.values[..., 0, :]).all() and back.attrs["units"] == "mm0.5 day-0.5"


def test_no_point_with_a_value_on_every_day_is_an_error():
    y = made("pr")
    y[0, 0] = np.nan
    with pytest.raises(ValueError, match="no point of pr has a value on every day"):
        pairs.split(made("psl"), y, (0,), members=2)


def test_a_globe_is_a_circle():
    field = made("pr", x=12)
    assert not pairs.around(field)
    assert pairs.around(field.assign_coords(lon=np.arange(12) * 30.0))


def test_the_share_explained_is_bounded_and_its_mean_is_by_area():
    field = made("pr")
    split = pairs.split(made("psl"), field, [0, 1], members=2)
    truth = split.tested_field
    mean = truth.mean(1, keepdim=True).expand_as(truth)
    told = torch.stack([truth[0], mean[1]])
    found = split.averaged(pairs.explained(told, truth))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0]), atol=1e-5, rtol=0)
    assert (pairs.explained(truth + 9, truth) == -1).all()
    row = torch.zeros_like(split.area)
    row[0] = 1
    weights = np.cos(np.deg2rad(field["lat"].values))
    torch.testing.assert_close(split.averaged(row[None])[0].item(), weights[0] / weights.sum(), atol=1e-3, rtol=0)

"""Columns of the archive as channels: cycles, scales, years apart, the way back, and a user's files."""

import numpy as np
import pytest
import torch

from latentkit import columns


@pytest.fixture(scope="module")
def opened():
    return columns.open_columns("archive")


@pytest.fixture(scope="module")
def made(opened):
    return columns.split(*opened)


def test_years_are_apart(opened, made):
    ta, _, _ = opened
    years = [made.layouts[part].arrays[0].time.dt.year.values for part in ("train", "valid", "tested")]
    assert [np.unique(y).tolist() for y in years] == [[1979, 1980], [1981], [1982]]
    assert len(made.train) + len(made.valid) + len(made.tested) == ta.sizes["time"]
    assert made.names[0] == "ta 0.025" and made.levels == 8
    assert made.circular


def test_departures_have_no_cycle_and_unit_variance(made):
    weight = made.there * made.area
    square = ((made.train.square() * weight).sum((2, 3)) / weight.sum((1, 2))).mean(0)
    assert torch.allclose(square, torch.ones(10), atol=1e-3)
    assert made.train.mean(0).abs().max() < 1e-3
    days = torch.arange(731) * 2 * torch.pi / 365.25
    assert torch.einsum("t,tcyx->cyx", days.cos(), made.train).div(731).abs().max() < 0.02


def test_gauges_stand_on_land(made):
    assert 0.2 < made.there[8].float().mean() < 0.45
    assert (made.train[:, 8][:, ~made.there[8]] == 0).all()
    assert made.there[:8].all() and made.there[9].all()


def test_the_way_back(opened, made):
    ta, pr, _ = opened
    back = made.labelled(made.tested[3:6], "tested", 3)
    assert back[0].attrs["units"] == "K" and back[1].attrs["units"] == "mm0.5 day-0.5"
    assert abs(back[0] - ta.sel(time=back[0].time)).max() < 1e-2
    assert np.allclose(back[1] ** 2, pr.sel(time=back[1].time), atol=1e-3, equal_nan=True)
    draws = made.labelled(made.tested[3:6].expand(4, -1, -1, -1, -1), "tested", 3)[0]
    assert draws.dims == ("draw", "time", "level", "lat", "lon")
    assert np.array_equal(draws.isel(draw=2), back[0])


def test_fewer_days_are_the_first_ones(opened, made):
    few = columns.split(*opened, most=50)
    assert [len(part) for part in (few.train, few.valid, few.tested)] == [50, 50, 50]
    assert few.layouts["tested"].arrays[0].time[0] == made.layouts["tested"].arrays[0].time[0]


def test_as_published_the_mean_of_a_level_is_one_number(opened):
    made = columns.split(*opened, cycle=False)
    assert (made.cycles["tested"] == made.cycles["tested"][:1, :, :1, :1]).all()
    assert made.scale[0] > 4  # most of the variance is between equator and poles


def test_three_files_of_ones_own(opened, tmp_path):
    paths = []
    for field in opened:
        path = tmp_path / f"{field.name}.nc"
        field.isel(time=slice(0, 1100, 100), lat=slice(8, 16), lon=slice(0, 8)).drop_attrs().assign_attrs(
            units=field.attrs["units"], standard_name=field.attrs["standard_name"]
        ).to_netcdf(path)
        paths.append(str(path))
    ta, pr, rlut = columns.open_columns("; ".join(paths))
    assert ta.sizes["time"] == 11 and pr.notnull().any() and rlut.name == "rlut"
    made = columns.split(ta, pr, rlut)
    assert not made.circular and len(made.valid) == 4


def test_bad_input(opened):
    ta, pr, rlut = opened
    with pytest.raises(ValueError, match="three with semicolons"):
        columns.open_columns("a.nc; b.nc")
    with pytest.raises(ValueError, match="expected three years or more"):
        columns.split(*(a.isel(time=slice(400)) for a in (ta, pr, rlut)))


def test_precipitation_below_zero_is_counted(opened, capsys):
    ta, pr, rlut = opened
    columns.split(ta, pr.where(pr["lon"] > 10, pr - 1e3), rlut, most=20)
    assert "values below 0, of" in capsys.readouterr().out
    columns.split(ta, pr, rlut, most=20)
    assert not capsys.readouterr().out

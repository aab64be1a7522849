"""The bridge at the size of the packaged archive: 10 members, 96 months, 32 x 64 cells."""

import numpy as np
import pytest
import xarray as xr

from latentkit import fields, normalization, scores

SERIES = {"sample": ("member", "lat", "lon"), "feature": ("time",)}


@pytest.fixture(scope="module")
def field():
    time = np.arange("1979-01", "1987-01", dtype="datetime64[M]").astype("datetime64[ns]")
    lat, lon = np.linspace(-85, 85, 32), np.arange(0, 360, 5.625)
    values = np.random.default_rng(0).normal(280, 5, (10, 96, 32, 64)).astype(np.float32)
    coords = {"member": range(10), "time": time, "lat": lat, "lon": lon}
    return xr.DataArray(values, coords, tuple(coords), "tas", {"units": "K"})


def test_pack(benchmark, field):
    benchmark(fields.pack, field, **SERIES)


def test_unpack(benchmark, field):
    benchmark(fields.unpack, *fields.pack(field, **SERIES))


def test_monthly_statistics(benchmark, field):
    benchmark(normalization.statistics, field, ("member", "time"), members="all", by="month")


def test_crps(benchmark, field):
    benchmark(scores.crps, field[1:], field[0], fair=True)

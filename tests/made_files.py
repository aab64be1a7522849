"""A made ensemble in canonical form, for the tests of sources to write in other ways."""

import numpy as np
import xarray as xr

from latentkit import sources
from latentkit.sources.variables import VARIABLES


def field(members=3, months=24, name="tas", low=250.0, high=300.0) -> xr.Dataset:
    """Make a smooth ensemble on a small global grid, in canonical form."""
    rng = np.random.default_rng(7)
    lat, lon = np.linspace(-84.375, 84.375, 8), np.arange(0.0, 360.0, 22.5)
    time = xr.date_range("2001-01-01", periods=months, freq="MS").values.astype("datetime64[ns]")
    values = rng.uniform(low, high, (members, months, lat.size, lon.size)).astype(np.float32)
    attrs = {"units": VARIABLES[name].units, "standard_name": VARIABLES[name].standard_name}
    return xr.Dataset(
        {name: (("member", "time", "lat", "lon"), values, attrs)},
        {"member": np.arange(members, dtype=np.int32), "time": time, "lat": lat, "lon": lon},
    )


def opened(data, tmp_path, variable="tas", members=True, **writing):
    path = tmp_path / "made.nc"
    data.to_netcdf(path, **writing)
    return sources.open_field(path, variable, members=members)


def units(data, name, unit):
    data[name].attrs["units"] = unit
    return data


def west(data):
    return data.assign_coords(lon=(data.lon + 180) % 360 - 180).sortby("lon")

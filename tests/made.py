"""A small ensemble of made-up temperatures, with every kind of coordinate that a field may carry."""

import numpy as np
import xarray as xr

DIMS = ("member", "time", "lat", "lon")


def ensemble(sizes=(3, 4, 5, 6), seed=0, calendar="standard", dtype=np.float32) -> xr.DataArray:
    """Return tas [K] (member, time, lat, lon) of the given sizes."""
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

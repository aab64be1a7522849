"""A region's map ends where its field ends."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from latentkit.regional import region_panel


def test_axes_end_with_the_field():
    coords = {"lat": [40.0, 50.0, 60.0], "lon": [350.0, 360.0, 370.0, 380.0]}
    field = xr.DataArray(np.arange(12.0).reshape(3, 4), coords, ("lat", "lon"), "pr", {"units": "mm day-1"})
    fig, ax = plt.subplots()
    mesh = region_panel(ax, field)
    assert ax.get_xlim() == (345.0, 385.0) and ax.get_ylim() == (35.0, 65.0)
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).ravel(), np.arange(12.0))
    plt.close(fig)

"""A map of a part of the globe, in plain degrees, within the borders of its field."""

import numpy as np

from latentkit import plots


def region_panel(ax, field, **style):
    """Draw a field (lat, lon) with coastlines in plain axes that end where it ends; return the mesh.

    style: as of `plots.map_panel`. Axes inside a figure share labels: set them there.
    """
    mesh = plots.map_panel(ax, field, **style)
    lat, lon = (np.asarray(field[dim], dtype=float) for dim in ("lat", "lon"))
    ends = [(a[0] - (a[1] - a[0]) / 2, a[-1] + (a[-1] - a[-2]) / 2) for a in (lon, lat)]
    ax.set(xlim=ends[0], ylim=(max(-90, ends[1][0]), min(90, ends[1][1])))
    return mesh

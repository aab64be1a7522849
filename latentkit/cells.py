"""Cells of latitude and longitude: their shares of the area, and means over blocks of them."""

import numpy as np
import xarray as xr


def area_weights(data: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return each cell's share of the grid's area [1], on those of lat and lon that are dims; they sum to 1.

    Cells end midway between centers. The outermost reach half a cell out, or to the pole where no further center fits;
    longitudes go round unless the widest gap exceeds 1.5 others, where a regional grid ends. Area is width in longitude
    times the difference of the sine of latitude.

    Raises ValueError without 1-D lat or lon, or for latitudes that are not sorted.
    """
    found = [d for d in ("lat", "lon") if d in data.dims and d in data.coords]
    if not found:
        raise ValueError(f"area weights need lat or lon among the dims; found {tuple(data.dims)} (2-D grids: regrid)")
    weights = xr.DataArray(1.0, name="area_weight")
    for d in found:
        weights = weights * xr.DataArray(_widths(data[d].values.astype(float), d), {d: data[d].variable}, [d])
    weights = weights / weights.sum()
    weights.attrs = {"units": "1", "long_name": "share of the area of the grid"}
    return weights


def coarsen(data: xr.DataArray | xr.Dataset, cells: int):
    """Return area-weighted means over blocks of cells x cells along lat and lon; 1 returns the field as it is.

    Missing points do not count. Where the grid is no multiple of cells, the last block of a row or column is smaller.
    """
    if cells < 1:
        raise ValueError(f"cells is {cells}; expected 1 or more")

    def mean(a):
        a = a if a.dtype.kind == "f" else a.astype(np.float32)
        w = area_weights(a).astype(a.dtype)
        share = w.where(a.notnull()).coarsen(lat=cells, lon=cells, boundary="pad").sum()
        total = (a * w).coarsen(lat=cells, lon=cells, boundary="pad").sum()
        return (total / share.where(share > 0)).transpose(*a.dims).rename(a.name).assign_attrs(a.attrs)

    if cells == 1:
        return data
    return mean(data) if isinstance(data, xr.DataArray) else data.map(mean, keep_attrs=True)


def _widths(centers: np.ndarray, dim: str) -> np.ndarray:
    """Return the widths of cells by their centers [degrees]: of longitude, or of the sine of latitude."""
    if len(centers) == 1:
        return np.ones(1)
    if dim == "lon":
        order = np.argsort(centers % 360)
        gap = np.diff(centers[order] % 360, append=centers[order[0]] % 360 + 360)  # behind each cell
        left, right = np.roll(gap, 1), gap.copy()
        outside = int(np.argmax(gap))
        if gap[outside] > 1.5 * np.median(np.delete(gap, outside)):  # part of the circle: the grid ends here
            right[outside] = left[outside]
            left[(outside + 1) % len(gap)] = gap[(outside + 1) % len(gap)]
        return ((left + right) / 2)[np.argsort(order)]
    gaps = np.diff(centers)
    if np.abs(centers).max() > 90 or not ((gaps > 0).all() or (gaps < 0).all()):
        raise ValueError(f"lat is {centers[:4]} ... {centers[-2:]}; expected steady, between -90 and 90: sort it")
    ends = np.array([centers[0] - gaps[0] / 2, centers[-1] + gaps[-1] / 2])
    closed = np.abs([centers[0] - gaps[0], centers[-1] + gaps[-1]]) > 90
    low, high = np.where(closed, 90 * np.sign(ends), ends)
    return np.abs(np.diff(np.sin(np.deg2rad([low, *(centers[1:] + centers[:-1]) / 2, high]))))

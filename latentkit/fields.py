"""The bridge between labelled fields and tensors: the only module that imports both xarray and torch.

`pack` lays a field out as one row a sample and one column a feature, and returns a `Layout` that remembers names,
coordinates, attributes, order and missing points; `unpack` goes back. For a field A and any split of its dims into
samples and features, unpack(*pack(A)) is A: values to the tensor's precision, all else exactly.

    series of a place   sample=("member", "lat", "lon"), feature=("time",)        (n, p)
    map of a day        sample=("member", "time"), feature=("lat", "lon")         (n, p)
    maps as images      the same with flatten=False                               (n, c, y, x)

Missing points are NaN above the bridge. A sample or a feature that is missing everywhere (an ocean mask) is dropped
below and NaN again above. Where a feature cannot be dropped, because maps stay images or another channel has it, it
holds 0 below and NaN above. What is missing in part is an error, or stays NaN with missing="keep".

Statistics come from a stated period and stated members, so that a climatology never sees held-out data.
"""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from latentkit import sphere
from latentkit.layout import Labelled, Layout, bare, check_dims, find_missing, relabel, swap, variables


def pack(
    data: Labelled,
    sample: Sequence[str],
    feature: Sequence[str],
    *,
    channel: str | None = None,
    flatten: bool = True,
    missing: str = "drop",
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Layout]:
    """Return a field as a tensor, and the layout that leads back.

    data: a DataArray, or several variables as a Dataset or sequence, whose order becomes the axis c; sample, feature:
    dims in the order wanted, last one fastest, which together name every dim once; channel: a dim, such as `level`,
    that becomes the axis c too (a variable without it is one channel); flatten: features as one axis, or as they are;
    missing: "drop" or "keep" (see the head of this module).

    Returns the tensor (n, p), or (n, c, p) with several variables or a channel dim, or (n, c, *features) with
    flatten=False, and the layout.

    Raises ValueError for dims left over or unknown, coordinates that differ, infinite values, points missing in part.
    """
    sample, feature, arrays = _names(sample), _names(feature), variables(data)
    if missing not in ("drop", "keep"):
        raise ValueError(f"missing is {missing!r}; expected 'drop' or 'keep'")
    check_dims(arrays, sample, feature, channel)
    widths = [a.sizes.get(channel, 1) for a in arrays]
    rows, columns = ([arrays[0].sizes[d] for d in dims] for dims in (sample, feature))
    values = np.empty((*rows, sum(widths), *columns), np.float64 if dtype == torch.float64 else np.float32)
    parts = np.split(values, np.cumsum(widths)[:-1], axis=len(rows))
    for a, part in zip(arrays, parts, strict=True):
        middle = [channel] if channel in a.dims else []
        part[...] = a.transpose(*sample, *middle, *feature).values.reshape(part.shape)
    values = values.reshape(int(np.prod(rows)), sum(widths), int(np.prod(columns)))
    keep, present = np.ones(len(values), bool), np.ones(values.shape[1:], bool)
    if not np.isfinite(values).all():
        keep, present = find_missing(values, missing, arrays, sample, feature, channel)
    layout = Layout(sample, feature, channel, flatten, bare(data), keep, present)
    if not (keep.all() and present.all()):
        values = values[keep][:, :, layout.columns]
        values[:, ~present[:, layout.columns]] = 0
    if not flatten:
        values = values.reshape(*values.shape[:2], *columns)
    return torch.from_numpy(values if layout.stacked else values[:, 0]).to(dtype), layout


def unpack(tensor: Tensor, layout: Layout, **replace) -> Labelled:
    """Return a tensor as what was packed: dims in their order, coordinates, attributes, missing points as NaN.

    replace: a dim of the layout, with the dims and coordinates that stand in its place, as in
    `member={"draw": range(20)}`, or `member={}` if it is gone; `sample=` and `feature=` replace all of either at once,
    as in `feature={"mode": range(3)}`. With `feature=` the numbers are no longer the field: the result is one
    DataArray with the new dims last, without name, attributes or axis c.

    Raises ValueError if the shape does not fit, or if a dim is replaced along which other points were missing.
    """
    known = ["sample", "feature", *layout.sample, *layout.feature]
    if not set(replace) <= set(known):
        raise ValueError(f"cannot replace {sorted(set(replace) - set(known))}; expected some of {known}")
    codes = "feature" in replace
    arrays = layout.arrays[: 1 if codes else None]
    keep, rows = swap(layout.keep[None], layout.sample, arrays[0].sizes, replace, "sample")
    present, columns = swap(layout.present[: 1 if codes else None], layout.feature, arrays[0].sizes, replace, "feature")
    keep, grid, present = keep.ravel(), present.shape[1:], present.reshape(len(present), -1)
    used = present.any(0) if layout.flatten else np.ones(present.shape[1], bool)
    expected = (int(keep.sum()), *[len(present)] * (layout.stacked and not codes), *grid)
    if layout.flatten and not codes:
        expected = (*expected[: -len(grid) or None], int(used.sum()))
    values = torch.as_tensor(tensor).detach().cpu()
    if tuple(values.shape) != expected:
        raise ValueError(f"tensor of shape {tuple(values.shape)}; the layout expects {expected}")
    values = values.to(torch.float64 if values.dtype == torch.float64 else torch.float32).numpy()
    values = values.reshape(expected[0], len(present), -1)
    if keep.all() and present.all():
        full = values.copy()
    else:
        full = np.full((len(keep), *present.shape), np.nan, values.dtype)
        full[np.ix_(keep, np.arange(len(present)), used)] = values
        full[:, ~present] = np.nan
    full = full.reshape(*(len(v) for v in rows.values()), len(present), *grid)
    widths = [1 if codes else a.sizes.get(layout.channel, 1) for a in arrays]
    parts = np.split(full, np.cumsum(widths)[:-1], axis=len(rows))
    result = [relabel(p, a, rows, columns, layout.channel, replace) for p, a in zip(parts, arrays, strict=True)]
    if codes or isinstance(layout.template, xr.DataArray):
        return result[0]
    if isinstance(layout.template, tuple):
        return tuple(result)
    gone = set(replace) | {n for new in replace.values() for n in new} | set(layout.sample * ("sample" in replace))
    coords = {n: c for n, c in layout.template.coords.items() if not gone & {n, *c.dims}}
    return xr.Dataset({a.name: a for a in result}, attrs=layout.template.attrs).assign_coords(coords)


def condition(layout: Layout, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the place of each sample as a unit vector (n, 3): no seam at the date line, no end at the poles."""
    coords = layout.sample_coords()
    if not {"lat", "lon"} <= set(coords):
        raise ValueError(f"the samples have coordinates {sorted(coords)}; a place needs lat and lon among them")
    return torch.from_numpy(sphere.unit(coords["lat"], coords["lon"])).to(dtype)


def statistics(
    data: xr.DataArray | xr.Dataset,
    dims: Sequence[str],
    *,
    period: tuple | None = None,
    members: Sequence | str | None = None,
    by: str | None = None,
) -> xr.Dataset:
    """Return mean and standard deviation of each variable, under its name, on the dim `statistic` [the field's].

    dims: reduced away; period: first and last time, None for all times; members: labels, or "all", and never left
    out where there are members; by: "month" for one mean and deviation a calendar month (on yearly fields this is the
    plain mean). Deviations divide by the count, skip missing values, and are 0 where they do not exceed rounding.

    Raises ValueError for members not stated or unknown, an empty period, a missing dim or name, times without months.
    """
    dims, data = _names(dims), _named(data)
    if by not in (None, "month") or (by and "time" not in dims):
        raise ValueError(f"by is {by!r} over dims {dims}; expected None, or 'month' with time among the dims")
    if members is None and "member" in data.dims:
        raise ValueError("statistics of an ensemble need members=[...] (those for training) or members='all'")
    if members is not None and "member" not in data.dims:
        raise ValueError(f"members are stated, and there is no dim member; found {tuple(data.dims)}")
    if members is not None and str(members) != "all":
        absent = sorted({*members} - set(data["member"].values.tolist()))
        if absent:
            raise ValueError(f"members {absent} are not there; found {data['member'].values.tolist()}")
        data = data.sel(member=list(members))
    if period is not None:
        data = data.sel(time=slice(*period))
        if not data.sizes["time"]:
            raise ValueError(f"no time lies in the period {period[0]} to {period[1]}")
    for name, a in data.items():
        if not set(dims) <= set(a.dims):
            raise ValueError(f"{name} has dims {a.dims}; cannot reduce {dims}")
    if by:
        month = _months(data).values
        each = {int(m): _moments(data.isel(time=np.flatnonzero(month == m)), dims) for m in np.unique(month)}
        result = xr.concat(each.values(), xr.Variable("month", list(each)))
    else:
        result = _moments(data, dims)
    result = result.compute()
    result.attrs = {"dims": " ".join(dims), "by": by or "none"}
    for dim, words in (("time", " to "), ("member", " ")):
        if dim in data.dims:
            labels = data[dim].values[[0, -1]] if dim == "time" else data[dim].values
            result.attrs["period" if dim == "time" else "members"] = words.join(str(v)[:10] for v in labels)
    constant = {n: int((a.sel(statistic="std") == 0).sum()) for n, a in result.items()}
    result.attrs["constant"] = ", ".join(f"{n}: {c} deviations of 0, divided by 1" for n, c in constant.items() if c)
    for name, a in data.items():
        result[name].attrs = dict(a.attrs)
    return result


def normalize(data: xr.DataArray | xr.Dataset, stats: xr.Dataset, *, scale: bool = True):
    """Return (data - mean) / std [1] by variable name, or anomalies data - mean [the field's] with scale=False.

    A std of 0 counts as 1. Raises ValueError where stats lack the variable, a place or a month, or differ in units.
    """
    return _each(data, lambda a: _shift(a, stats, scale, inverse=False))


def denormalize(data: xr.DataArray | xr.Dataset, stats: xr.Dataset, *, scale: bool = True):
    """Return data std + mean, or data + mean with scale=False, under the attributes of the field behind stats."""
    return _each(data, lambda a: _shift(a, stats, scale, inverse=True))


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

    return data if cells == 1 else _each(data, mean)


def _names(dims) -> tuple[str, ...]:
    return (dims,) if isinstance(dims, str) else tuple(dims)


def _named(data) -> xr.Dataset:
    if isinstance(data, xr.DataArray) and data.name is None:
        raise ValueError("the field has no name, and statistics go by name; give it one, as in .rename('tas')")
    return data.to_dataset() if isinstance(data, xr.DataArray) else data


def _each(data, function):
    if isinstance(data, xr.DataArray):
        return function(data)
    return xr.Dataset({name: function(a) for name, a in data.items()}, attrs=data.attrs)


def _months(data) -> xr.DataArray:
    time = data["time"]
    if time.dtype.kind not in "MO":
        raise ValueError(f"time holds {time.dtype}, not dates, and so no months: use by=None, or decode the times")
    return time.dt.month


def _moments(data: xr.Dataset, dims) -> xr.Dataset:
    """Return mean and std over dims, summed in float64, in the precision of the data."""

    def both(a):
        a = a if a.dtype.kind == "f" else a.astype(np.float32)
        mean = a.mean(dims, dtype=np.float64).astype(a.dtype)
        std = np.sqrt(np.square(a - mean).mean(dims, dtype=np.float64)).astype(a.dtype)
        rounding = 4 * np.finfo(a.dtype).eps * abs(mean)
        return xr.concat([mean, std.where(~(std <= rounding), 0)], xr.Variable("statistic", ["mean", "std"]))

    return xr.Dataset({name: both(a) for name, a in data.items()})


def _shift(a: xr.DataArray, stats: xr.Dataset, scale: bool, inverse: bool) -> xr.DataArray:
    """Return a normalized or, if inverse, denormalized."""
    if a.name not in stats:
        raise ValueError(f"no statistics of {a.name!r}; they hold {list(stats)}")
    s, units = stats[a.name], a.attrs.get("units")
    expected = "1" if inverse and scale else s.attrs.get("units")
    if None not in (units, expected) and units != expected:
        raise ValueError(f"{a.name} has units {units!r}, expected {expected!r}: convert it, or use its own statistics")
    where = {}
    for d in [d for d in s.dims if d != "statistic"]:
        if d != "month" and d not in a.dims and d not in a.coords:
            raise ValueError(f"{a.name} has no {d}, and its statistics vary along it; found dims {a.dims}")
        where[d] = _months(a) if d == "month" else a[d]
        absent = np.setdiff1d(where[d].values, s[d].values).tolist()
        if absent:
            raise ValueError(f"no statistics of {a.name} at {d} {absent[:4]}; they hold {s[d].values.tolist()[:12]}")
    s = s.sel(where).astype(a.dtype if a.dtype.kind == "f" else s.dtype)
    s = s.drop_vars([c for c in s.coords if c not in a.coords])
    mean, std = s.isel(statistic=0), s.isel(statistic=1)
    std = std.where(std != 0, 1) if scale else 1
    result = (a * std + mean if inverse else (a - mean) / std).rename(a.name)
    attrs = {k: v for k, v in a.attrs.items() if k != "normalized"}
    if inverse:
        result.attrs = {**attrs, **s.attrs}
    else:
        how = ", ".join(f"{k} {v}" for k, v in stats.attrs.items() if v)
        how = f"{'standardized' if scale else 'anomaly'}; {how}"
        result.attrs = {**attrs, "normalized": how, **({"units": "1"} if scale else {})}
    return result


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

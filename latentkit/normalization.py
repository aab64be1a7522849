"""Mean and deviation of fields over stated dims, and fields in units of them: above the bridge, labels kept.

Statistics come from a stated period and stated members, so that a climatology never sees held-out data.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from latentkit.layout import names


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
    dims, data = names(dims), _named(data)
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

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
"""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from latentkit import sphere
from latentkit.layout import Labelled, Layout, bare, check_dims, find_missing, names, relabel, swap, variables


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
    sample, feature, arrays = names(sample), names(feature), variables(data)
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

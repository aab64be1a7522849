"""What `fields.pack` remembers of a field, so that `fields.unpack` can go back: labels, order and missing points."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

Labelled = xr.DataArray | xr.Dataset | Sequence[xr.DataArray]


@dataclass(frozen=True, eq=False)
class Layout:
    """Hold the labels of a packed field. Made by `fields.pack`."""

    sample: tuple[str, ...]
    feature: tuple[str, ...]
    channel: str | None
    flatten: bool
    template: xr.DataArray | xr.Dataset | tuple = field(repr=False)  # the packed field without its values
    keep: np.ndarray = field(repr=False)  # of all samples (n), those in the tensor
    present: np.ndarray = field(repr=False)  # of all channels and features (c, p), those with values

    def sample_coords(self) -> dict[str, np.ndarray]:
        """Return every coordinate along the samples by name, each (n): member, lat, lon, forcing, ..."""
        return _along(self.arrays[0], self.sample, self.keep)

    def feature_coords(self) -> dict[str, np.ndarray]:
        """Return every coordinate along the flattened features by name, each (p)."""
        return _along(self.arrays[0], self.feature, self.columns)

    def channels(self) -> list[str]:
        """Return a label for each channel (c): the variable's name, and its place on the channel dim if it has it."""
        return _labels(self.arrays, self.channel)

    @property
    def arrays(self) -> list[xr.DataArray]:
        """Return the variables, without values."""
        return variables(self.template)

    @property
    def columns(self) -> np.ndarray:
        """Return which of all features (p) are in the tensor."""
        return self.present.any(0) if self.flatten else np.ones(self.present.shape[1], bool)

    @property
    def stacked(self) -> bool:
        """Return whether the tensor has an axis c."""
        return not (self.flatten and self.channel is None and isinstance(self.template, xr.DataArray))


def names(dims: str | Sequence[str]) -> tuple[str, ...]:
    """Return dims as a tuple, where one may be given by its name alone."""
    return (dims,) if isinstance(dims, str) else tuple(dims)


def variables(data: Labelled) -> list[xr.DataArray]:
    """Return the arrays of a DataArray, Dataset or sequence."""
    if isinstance(data, xr.DataArray):
        return [data]
    arrays = list(data.values()) if isinstance(data, xr.Dataset) else list(data)
    if not arrays:
        raise ValueError("nothing to pack: no variables")
    return arrays


def bare(data: Labelled) -> Labelled:
    """Return labels without values: one number seen from all points, which takes no memory."""
    if isinstance(data, xr.DataArray):
        return data.copy(data=np.broadcast_to(np.float32(np.nan), data.shape))
    if isinstance(data, xr.Dataset):
        return data.assign({name: bare(a) for name, a in data.items()})
    return tuple(bare(a) for a in data)


def check_dims(arrays, sample, feature, channel) -> None:
    """Refuse dims that are not each named once, and variables whose coordinates differ."""
    for a in arrays:
        wanted, found = [*sample, *feature], [d for d in a.dims if d != channel]
        if len(set(wanted)) < len(wanted) or channel in wanted or set(wanted) != set(found):
            raise ValueError(
                f"{a.name or 'the field'} has dims {a.dims}; sample={sample}, feature={feature} and "
                f"channel={channel!r} must name each once (left over: {sorted(set(found) - set(wanted))}, absent: "
                f"{sorted(set(wanted) - set(found))}): select, reduce or broadcast first"
            )
    try:
        xr.align(*arrays, join="exact", exclude=[channel] if channel else [])
    except ValueError as error:
        raise ValueError(f"the variables do not share their coordinates; select or regrid first ({error})") from error


def find_missing(values, missing, arrays, sample, feature, channel) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples (n) and the channels' features (c, p) that have values; refuse what is missing in part."""
    if np.isinf(values).any():
        raise ValueError(f"{int(np.isinf(values).sum())} values are infinite; mask them (`where`) or mend the source")
    gone = np.isnan(values)
    keep, present = ~gone.all((1, 2)), ~gone.all(0)
    if not keep.any():
        raise ValueError("every value is missing; nothing to pack")
    part = gone & keep[:, None, None] & present
    if missing == "drop" and part.any():
        n, c, p = (int(i[0]) for i in np.nonzero(part))
        spot = [_labels(arrays, channel)[c]]
        for dims, i in ((sample, n), (feature, p)):
            place = np.unravel_index(i, [arrays[0].sizes[d] for d in dims])
            spot += [f"{d}={arrays[0][d].values[j]}" for d, j in zip(dims, place, strict=True)]
        raise ValueError(
            f"{int(part.sum())} of {part.size} values are missing in part, in {int(part.any((1, 2)).sum())} samples "
            f"and {int(part.any((0, 1)).sum())} features, the first at {', '.join(spot)}. What is missing everywhere "
            "is dropped and restored, this is not: fill it, select around it, or let NaN through with missing='keep'"
        )
    return keep, present


def swap(mask, dims, sizes, replace, whole) -> tuple[np.ndarray, dict]:
    """Return a mask (lead, *sizes) and the labels of each dim after replacement (a range where it stays)."""
    if whole in replace:
        labels = dict(replace[whole])
        return np.ones((len(mask), *(len(v) for v in labels.values())), bool), labels
    mask = mask.reshape(len(mask), *(sizes[d] for d in dims))
    labels = {}
    for d in dims:
        axis = 1 + len(labels)
        if d not in replace:
            labels[d] = range(sizes[d])
            continue
        if (mask.any(axis) != mask.all(axis)).any():
            raise ValueError(f"cannot replace {d}: other points are missing along it; unpack as packed, then select")
        mask = mask.any(axis)
        for name, values in replace[d].items():
            axis = 1 + len(labels)
            mask = np.repeat(np.expand_dims(mask, axis), len(values), axis)
            labels[name] = values
    return mask, labels


def relabel(values, a: xr.DataArray, rows, columns, channel, replace) -> xr.DataArray:
    """Return values (*rows, c, *columns) under the name, coordinates and order of a, with dims replaced."""
    codes = "feature" in replace
    middle = [channel] if channel in a.dims and not codes else []
    dims = [*rows, *middle, *columns]
    fresh = {n: v for new in replace.values() for n, v in new.items()}
    kept = set(dims) - set(fresh)
    coords = {n: c.variable for n, c in a.coords.items() if set(c.dims) <= kept and n not in fresh}
    coords |= {n: (n, np.asarray(v), getattr(v, "attrs", {})) for n, v in fresh.items()}
    values = values if middle else values.squeeze(len(rows))
    result = xr.DataArray(values, coords, dims, None if codes else a.name, None if codes else a.attrs)
    if codes or "sample" in replace:
        return result
    return result.transpose(*(new for d in a.dims for new in replace.get(d, [d])))


def _along(a: xr.DataArray, dims, keep) -> dict[str, np.ndarray]:
    sizes = {d: a.sizes[d] for d in dims}
    coords = {d: a[d].variable for d in dims}
    coords |= {n: c.variable for n, c in a.coords.items() if c.dims and set(c.dims) <= set(dims)}
    return {n: c.set_dims(sizes).transpose(*dims).values.reshape(-1)[keep] for n, c in coords.items()}


def _labels(arrays, channel) -> list[str]:
    places = [[f" {v}" for v in a[channel].values] if channel in a.dims else [""] for a in arrays]
    return [f"{a.name}{place}" for a, each in zip(arrays, places, strict=True) for place in each]

r"""Columns of the atmosphere and what else is seen of them: temperature on levels, rain over land, radiation to space.

A day is a stack of channels (c, y, x): temperature on each level, the root of precipitation, outgoing long-wave
radiation. Below the bridge they are departures in units of their channel,

    z = (v - cycle) / scale,   cycle = a_0 + sum_h=1,2 (a_h cos h w + b_h sin h w),   w = 2 pi day of year / 365.25

with the cycle fitted at each point, by least squares over training days, and scale the standard deviation of v - cycle
over them, by area, one number a channel. Without the cycle, as published, a_0 is the mean of the channel by area, one
number for all points, and the rest is 0: most of the variance is then that between equator and poles.

Training, validation and test days are whole years apart, the last year being tested and the one before validated.
"""

from dataclasses import dataclass

import numpy as np

from latentkit import cells, fields
from latentkit.pairs import around, clipped, matching, root
from latentkit.sources import archive, open_field

VARIABLES = ("ta", "pr", "rlut")
LAND = 0.5  # of a cell, from which on it has gauges


@dataclass(frozen=True)
class Columns:
    """Hold days as channels, split in three.

    train, valid, tested (n, c, y, x): tensors [1], 0 where there is nothing; there (c, y, x): whether there is
    something; area (y, x): shares, of mean 1; scale (c) [the field's]; levels: how many channels are temperature;
    names: of the channels; circular: whether longitudes go around; layouts, cycles: by part, for `labelled`.
    """

    train: object
    valid: object
    tested: object
    there: object
    area: object
    scale: object
    levels: int
    names: tuple[str, ...]
    circular: bool
    layouts: dict
    cycles: dict

    def labelled(self, z, part: str, first: int = 0):  # (t, c, y, x) or (m, t, c, y, x)
        """Return channels of consecutive days of a part, from `first` on, as fields (ta, pr, rlut) with their units.

        Members, if any, lie along the dim `draw`. Precipitation comes back as its root.
        """
        t = z.shape[-4]
        cycle = self.cycles[part][first : first + t].to(z.device)
        values = (z * self.scale.to(z.device)[:, None, None] + cycle).cpu()
        layout = self.layouts[part]
        time = layout.arrays[0]["time"].values[first : first + t]
        dims = {"draw": np.arange(len(z)), "time": time} if z.ndim == 5 else {"time": time}
        return fields.unpack(values.reshape(-1, *z.shape[-3:]), layout, sample=dims)


def open_columns(source: str):
    """Open temperature (time, level, lat, lon), precipitation over land and outgoing radiation (time, lat, lon).

    source: "archive" (days of one run), one path or glob that has all three, or three with semicolons between them:
    "ta.nc; pr.nc; rlut.nc". Of an ensemble the first member is taken. The archive's precipitation is kept over land.

    Raises ValueError for another number of sources, days or places that do not match, and missing temperatures.
    """
    parts = [part.strip() for part in source.split(";")]
    if len(parts) not in (1, 3) or not all(parts):
        raise ValueError(f"SOURCE is {source!r}; expected 'archive', one path, or three with semicolons: ta; pr; rlut")
    parts = ["archive:column_days" if part == "archive" else part for part in parts]
    found = []
    for part, name in zip(parts * (3 // len(parts)), VARIABLES, strict=True):
        field = open_field(part, name, members=False)
        found.append(field.isel(member=0, drop=True) if "member" in field.dims else field)
    if "level" not in found[0].dims:
        raise ValueError(f"temperature has dims {found[0].dims}; expected a dim `level` among them")
    for other in found[1:]:
        for dim in ("time", "lat", "lon"):
            matching(found[0], other, dim)
    gone = int(found[0].isnull().sum())
    if gone:
        raise ValueError(f"temperature lacks {gone} values; expected each level of each day at each point: fill them")
    if parts[1 % len(parts)] == "archive:column_days":
        found[1] = found[1].where(archive.fixed()["lsm"] >= LAND).assign_attrs(found[1].attrs)
    return tuple(found)


def split(ta, pr, rlut, *, cycle: bool = True, most: int | None = None) -> Columns:
    """Split days into years to train with, one to validate with, and one to test with.

    cycle: whether the cycle of the seasons is taken out (the head of this module); most: days of each part, from its
    first one on, all if None.

    Precipitation below 0 becomes 0, and how many values is printed. Raises ValueError for fewer than three years.
    """
    import torch

    years = ta["time"].dt.year.values
    names = np.unique(years)
    if len(names) < 3:
        raise ValueError(f"days of the years {names.tolist()}; expected three years or more: train, validate, test")
    arrays = (ta, root(clipped(pr)), rlut)
    rows = {"train": years <= names[-3], "valid": years == names[-2], "tested": years == names[-1]}
    rows = {part: which & (which.cumsum() <= (most or len(which))) for part, which in rows.items()}
    how = {"sample": ("time",), "feature": ("lat", "lon"), "channel": "level", "flatten": False}
    packed = {
        part: fields.pack([a.isel(time=np.flatnonzero(which)) for a in arrays], **how) for part, which in rows.items()
    }
    area = torch.from_numpy(cells.area_weights(ta).transpose("lat", "lon").values).float()
    values, layout = packed["train"]
    there = torch.from_numpy(layout.present).reshape(layout.present.shape[0], *values.shape[2:])
    weight = there * area
    waves = {part: torch.from_numpy(_waves(ta["time"][which])) for part, which in rows.items()}
    if cycle:
        found = torch.linalg.lstsq(waves["train"], values.double().flatten(1)).solution.unflatten(1, values.shape[1:])
    else:
        found = torch.zeros(waves["train"].shape[1], *values.shape[1:], dtype=torch.double)
        found[0] = ((values * weight).sum((2, 3)) / weight.sum((1, 2))).mean(0)[:, None, None]
    cycles = {part: torch.tensordot(w, found, 1).float() for part, w in waves.items()}
    left = values - cycles["train"]
    scale = ((left.square() * weight).sum((2, 3)) / weight.sum((1, 2))).mean(0).sqrt()
    made = [((packed[p][0] - cycles[p]) / scale[:, None, None]) * there for p in rows]
    told = tuple(f"ta {v:g}" for v in ta["level"].values) + ("root of pr", "rlut")
    return Columns(
        *made, there, area / area.mean(), scale, ta.sizes["level"], told, around(ta),
        {part: packed[part][1] for part in rows}, cycles,
    )  # fmt: skip


def _waves(time) -> np.ndarray:  # (n, 5)
    """Return a constant and two waves of the year at each day."""
    w = 2 * np.pi * time.dt.dayofyear.values / 365.25
    return np.stack([np.ones(len(w)), np.cos(w), np.sin(w), np.cos(2 * w), np.sin(2 * w)], 1)

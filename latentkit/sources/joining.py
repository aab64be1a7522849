"""Many files as one field: members, spans of time, or both, by what the files hold.

Files whose attributes or names say which realization they are (r1i1p1f1, realization_index) are gathered by it; files
with the same times are one member each, in the order of their names; files with different times follow one another.
"""

import re
from pathlib import Path

import numpy as np
import xarray as xr

from latentkit.sources.axes import SourceError, text

VARIANT = re.compile(r"(?<![a-z0-9])r(\d+)i\d+p\d+(f\d+)?(?![a-z0-9])")


def together(parts: list[tuple]) -> tuple[xr.DataArray, list[str]]:
    """Put the fields of several files together along time, member, or both."""
    name, da, steps, _ = parts[0]
    if len(parts) == 1:
        return da, steps
    for other, each, _, _ in parts[1:]:
        if _calendar(each) != _calendar(da):
            raise SourceError(f"{other}: its times are {_calendar(each)} ({period(each)}) and those of {name} are "
                              f"{_calendar(da)} ({period(da)}); one kind was expected; open them apart")
        for axis in ("lat", "lon", "level", "member"):
            ours, theirs = axis in da.dims, axis in each.dims
            if ours != theirs or axis != "member" and ours and not _same(da[axis], each[axis]):
                raise SourceError(f"{other}: its {axis} axis is not that of {name}; one grid was expected in all "
                                  "files; regrid them first, or open them apart")
    said = sorted({s for _, _, each, _ in parts for s in each})
    labels = [_variant(part) for part in parts]
    if all("member" in part[1].dims for part in parts) or None in labels:
        labels = [None] * len(parts)
    same_time = all(part[1].time.equals(da.time) for part in parts)
    if None not in labels and len(set(labels)) == 1 and same_time or None in labels and same_time:
        groups = [[part] for part in parts]
    elif None in labels:
        groups = [parts]
    else:
        marked = list(zip(parts, labels, strict=True))
        groups = [[part for part, mark in marked if mark == label] for label in dict.fromkeys(labels)]
    spans = [_follow(group) for group in groups]
    if len(spans) == 1:
        return spans[0], [*said, f"{len(parts)} files joined along time"]
    for group, span in zip(groups[1:], spans[1:], strict=True):
        if not span.time.equals(spans[0].time):
            raise SourceError(
                f"{group[0][0]}: its times ({period(span)}, {span.sizes['time']}) are not those of {name} "
                f"({period(spans[0])}, {spans[0].sizes['time']}); members need the same ones; choose files of one "
                "period, or cut them to it")
    if "member" in spans[0].dims:
        joined = xr.concat(spans, "member", coords="minimal", compat="override", join="override")
        if np.unique(joined.member).size < joined.member.size:
            raise SourceError(f"{name} and others hold the same member numbers ({joined.member.values.tolist()}); "
                              "number them apart")
        return joined, [*said, f"{len(parts)} files joined along member"]
    numbers = [_number(group[0]) for group in groups]
    numbered = None not in numbers and len(set(numbers)) == len(numbers)
    how = "numbered by their realization" if numbered else "numbered from 0 in the order of the file names"
    spans = [span.drop_vars("member", errors="ignore") for span in spans]
    joined = xr.concat(spans, "member", coords="minimal", compat="override", join="override")
    label = {id(part): mark for part, mark in zip(parts, labels, strict=True)}
    runs = np.array([label[id(g[0])] or Path(g[0][0]).stem for g in groups])
    if np.unique(runs).size < runs.size:
        runs = np.array([Path(g[0][0]).stem for g in groups])
    values = np.array(numbers if numbered else range(len(groups)), np.int32)
    joined = joined.assign_coords(member=("member", values), run=("member", runs)).sortby("member")
    joined.member.attrs = {"standard_name": "realization", "long_name": "run of the ensemble"}
    return joined, [*said, f"{len(parts)} files taken as {len(groups)} members, {how}, their names kept as run"]


def _follow(group: list[tuple]) -> xr.DataArray:
    """Join the spans of one run along time."""
    if len(group) == 1:
        return group[0][1]
    group = sorted(group, key=lambda part: part[1].time.values[0])
    for (a, one, *_), (b, two, *_) in zip(group, group[1:], strict=False):
        if two.time.values[0] <= one.time.values[-1]:
            raise SourceError(f"{b}: its times ({period(two)}) overlap those of {a} ({period(one)}), so stamps would "
                              "be duplicate or unsorted; choose files that follow one another, or of one experiment")
        if "member" in one.dims and not one.member.equals(two.member):
            raise SourceError(f"{b}: its members {two.member.values.tolist()} are not those of {a}, which it follows "
                              f"in time ({one.member.values.tolist()}); the same were expected; open them apart")
    return xr.concat([part[1] for part in group], "time", coords="minimal", compat="override", join="override")


def _same(a: xr.DataArray, b: xr.DataArray) -> bool:
    return a.size == b.size and bool(np.allclose(a.values, b.values, rtol=0, atol=1e-4))


def _calendar(da: xr.DataArray) -> str:
    """Say what kind of dates the times are: those of two kinds can be neither compared nor joined."""
    if da.time.dtype.kind not in "MO":
        return "numbers, no dates"
    return f"{'dates' if da.time.dtype.kind == 'M' else 'long dates'} of the calendar {da.time.dt.calendar}"


def _variant(part: tuple) -> str | None:
    name, da, _, attrs = part
    match = VARIANT.search(str(attrs.get("variant_label", ""))) or VARIANT.search(name)
    if match:
        return match[0]
    number = _number(part)
    return None if number is None else f"r{number}"


def _number(part: tuple) -> int | None:
    name, da, _, attrs = part
    if "member" in da.coords and da.member.ndim == 0:
        return int(da.member)
    match = VARIANT.search(str(attrs.get("variant_label", ""))) or VARIANT.search(name)
    if match:
        return int(match[1])
    for key in ("realization_index", "realization"):
        try:
            return int(np.ravel(attrs[key])[0])
        except (KeyError, ValueError, TypeError):
            continue
    return None


def period(da: xr.DataArray) -> str:
    """Return the first and last time as text."""
    return f"{text(da.time.values[0])} to {text(da.time.values[-1])}"

"""Canonical form: one variable as (member, time, [level], lat, lon) in CF names and units, from what files hold.

`canonicalize` finds the variable, names its axes by what their coordinates say (standard_name, units) or by habit
(valid_time, number, isobaricInhPa, ...; see `axes`), turns latitudes and longitudes to ascend, converts units, and
refuses values that the units cannot have. Every change is returned in words.
"""

import re

import numpy as np
import xarray as xr

from latentkit.sources import axes
from latentkit.sources.axes import SourceError
from latentkit.sources.variables import VARIABLES, conversion, implausible, nearest

HUGE = 1e15  # 1e20, 1e36 and their like stand for missing, declared or not


def canonicalize(obj, variable: str, file: str) -> tuple[xr.DataArray, list[str]]:
    """Bring one variable of a Dataset, or a DataArray, into canonical form.

    variable: a canonical name (`variables.VARIABLES`), or the name of another variable of the file, whose units are
    then kept and its values not judged. file: the name that messages give.

    Return the array (time, [level], lat, lon), with member first where the file has such an axis, and what was done,
    one phrase a step. Coordinates along member, such as a run's name or forcing, stay.

    Raises SourceError.
    """
    steps: list[str] = []
    da = pick(obj, variable, file, steps) if isinstance(obj, xr.Dataset) else obj
    found = da.name if da.name is not None else variable
    canon = VARIABLES.get(variable)
    da = _masked(da, steps)
    da = axes.rename(da, file, steps)
    if "level" in da.dims and da.sizes["level"] == 1 and not (canon and canon.level):
        da = da.squeeze("level")
    da, step_days = axes.time(da, file, steps)
    da = axes.latitude(da, file, steps)
    da = axes.longitude(da, file, steps)
    da = axes.level(da, steps)
    da = axes.members(da, file, steps)
    da = _units(da, variable, str(found), step_days, file, steps)
    keep = {"member", "time", "level", "lat", "lon"}
    extra = [c for c in da.coords if c not in keep and da[c].dims != ("member",)]
    if extra:
        steps.append(f"left out coordinates {', '.join(map(str, sorted(extra)))}")
    da = da.drop_vars(extra).rename(variable)
    attrs = {k: v for k, v in da.attrs.items() if k in ("units", "long_name", "standard_name", "cell_methods")}
    if canon:
        attrs |= {"units": canon.units, "long_name": canon.long_name, "standard_name": canon.standard_name}
    da.attrs = attrs
    for name, unit in (("lat", "degrees_north"), ("lon", "degrees_east")):
        full = {"lat": "latitude", "lon": "longitude"}[name]
        da[name].attrs = {"standard_name": full, "long_name": full, "units": unit}
    order = [d for d in ("member", "time", "level", "lat", "lon") if d in da.dims]
    return da.transpose(*order), steps


def _on_levels(v: xr.DataArray) -> bool:
    """Return whether a variable lies on levels in the air, one of them or many; 2 or 10 m above the ground is none."""
    return any(axes.is_axis("level", c, v) for c in v.coords if v[c].attrs.get("standard_name") != "height")


def pick(data: xr.Dataset, variable: str, file: str, steps: list[str]) -> xr.DataArray:
    """Return the variable of a Dataset that is `variable`: by its name, a usual alias, or alone by standard_name."""
    canon = VARIABLES.get(variable)
    if variable in data.data_vars:
        return data[variable]
    if canon:
        for alias in canon.aliases:
            if alias in data.data_vars:
                steps.append(f"{alias} taken as {variable}")
                return data[alias]
        named = {canon.standard_name} | ({"precipitation_flux"} if variable == "pr" else set())
        fit = [n for n, v in data.data_vars.items() if v.attrs.get("standard_name") in named
               and canon.level == _on_levels(v) and not re.search("maximum|minimum", v.attrs.get("cell_methods", ""))]
        if len(fit) == 1:
            steps.append(f"{fit[0]} taken as {variable}, alone in having the standard_name {canon.standard_name!r}")
            return data[fit[0]]
        if fit:
            raise SourceError(f"{file}: {', '.join(map(str, fit))} all have the standard_name {canon.standard_name!r}; "
                              f"rename the one that is {variable} to {variable}")
    held = {str(n): v.attrs.get("units", "no units") for n, v in data.data_vars.items() if v.ndim > 1}
    listed = ", ".join(f"{n} [{u}]" for n, u in held.items() if not n.endswith(("_bnds", "_bounds"))) or "no field"
    known = "" if canon else f"; canonical names are {', '.join(VARIABLES)}"
    raise SourceError(f"{file}: no variable {variable!r} (the file has {listed}{nearest(variable, held)}){known}; "
                      "ask for one of these or rename it")


def _masked(da: xr.DataArray, steps: list[str]) -> xr.DataArray:
    if da.dtype.kind not in "fiu":
        return da
    da = da.astype(np.float32)
    missing = abs(da) > HUGE
    if da.chunks is None and not bool(missing.any()):
        return da
    if da.chunks is None:
        steps.append(f"{int(missing.sum())} values beyond {HUGE:g} taken as missing")
    return da.where(~missing)


def _units(da, variable: str, found: str, step_days: float | None, file: str, steps: list[str]) -> xr.DataArray:
    canon = VARIABLES.get(variable)
    units = da.attrs.get("units")
    remedy = f"set them in the file, as by ds[{found!r}].attrs['units'] = {canon.units if canon else 'K'!r}"
    if units is None or not str(units).strip():
        expected = f"; {canon.units} or what converts to it was expected" if canon else ""
        raise SourceError(f"{file}: {found} has no units{expected}; {remedy}")
    if canon is None:
        steps.append(f"{variable} is no canonical variable: its units {units} are kept, its values not judged")
        return da
    try:
        factor, offset, words = conversion(str(units), canon, step_days)
    except ValueError as error:
        raise SourceError(f"{file}: {error}; if the file's units are wrong, {remedy}") from None
    if found in canon.negative:
        factor, words = -factor, f"{words or units}, sign turned (positive upward)"
    if words:
        steps.append(words)
        da = (da * np.float32(factor) + np.float32(offset)).astype(np.float32).assign_attrs(da.attrs)
    seen = da if da.chunks is None else da.isel(time=[0, -1])
    if da.chunks is not None:
        steps.append("too large to load: values of the first and last time judged only")
    if not bool(seen.notnull().any()):
        raise SourceError(f"{file}: {found} has no value that is not missing")
    why = implausible(float(seen.min()), float(seen.max()), canon, str(units))
    if why:
        raise SourceError(f"{file}: {why}; if the units are wrong, {remedy}")
    share = float(seen.isnull().mean())
    if share:
        empty = int(seen.isnull().all(("lat", "lon")).sum())
        maps = f", {empty} of {seen.size // (seen.sizes['lat'] * seen.sizes['lon'])} maps wholly" if empty else ""
        steps.append(f"{100 * share:.3g} % of the values are missing (NaN){maps}")
    return da

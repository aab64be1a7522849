"""The axes of a field: which dimension is which, and each of them in canonical order and units.

Longitudes ascend within 0 to 360; a region that crosses Greenwich stays in one piece and runs on beyond 360.
Levels ascend, pressures in hPa. Time must ascend as it is given. Each function appends what it did to `steps`.
"""

import re

import numpy as np
import xarray as xr

from latentkit.sources.variables import parse

AXES = {  # role: (names by habit, standard names)
    "member": ({"member", "number", "realization", "realisation", "ensemble", "ensemble_member", "ens", "run", "runs"},
               {"realization"}),
    "time": ({"time", "valid_time", "date", "dates"}, {"time"}),
    "level": ({"level", "levels", "lev", "plev", "isobaricinhpa", "pressure", "pressure_level", "plevel", "sigma"},
              {"air_pressure", "atmosphere_sigma_coordinate", "atmosphere_hybrid_sigma_pressure_coordinate"}),
    "lat": ({"lat", "latitude"}, {"latitude"}),
    "lon": ({"lon", "longitude"}, {"longitude"}),
}
DEGREES = {"lat": r"degrees?[_ ]?n(orth)?", "lon": r"degrees?[_ ]?e(ast)?"}


class SourceError(ValueError):
    """Name a file, what was found in it, what was expected, and the remedy."""


def is_axis(role: str, name, da: xr.DataArray) -> bool:
    """Say whether a dimension or coordinate plays a role: by its standard_name, else its units, else its name."""
    names, standard = AXES[role]
    attrs = da[name].attrs if name in da.coords else {}
    units = str(attrs.get("units", "")).strip().lower()
    said = attrs.get("standard_name")
    if said in set().union(*(s for _, s in AXES.values())):
        return said in standard
    if role in DEGREES and re.fullmatch(DEGREES[role], units):
        return True
    if role == "level" and units in ("millibars", "millibar", "hpa", "mb", "pa"):
        return True
    return str(name).lower() in names


def rename(da: xr.DataArray, file: str, steps: list[str]) -> xr.DataArray:
    """Rename the dimensions by their role; refuse what is on no regular grid; remove dimensions of length 1."""
    if "expver" in da.dims:  # ERA5: final data and, for the latest months, preliminary ones
        parts = [da.isel(expver=i, drop=True) for i in range(da.sizes["expver"])]
        da = parts[0]
        for other in parts[1:]:
            da = da.fillna(other)
        steps.append("merged along expver, the first that has a value")
    for role in AXES:
        dims = [d for d in da.dims if is_axis(role, d, da)]
        if len(dims) > 1 and role in dims:
            dims = [role, *(d for d in dims if d != role and da.sizes[d] > 1)]
        if len(dims) > 1:
            raise SourceError(f"{file}: {da.name} has two {role} axes, {dims[0]} and {dims[1]}; select one entry of "
                              f"one of them first, as by ds.isel({dims[1]}=0)")
        if not dims:  # a coordinate of that role along a dimension of another name, as valid_time along step
            lines = [c for c in da.coords if da[c].ndim == 1 and c not in da.dims and is_axis(role, c, da)
                     and not any(is_axis(r, da[c].dims[0], da) for r in AXES)]
            if lines:
                da = da.swap_dims({da[lines[0]].dims[0]: lines[0]})
                dims = [lines[0]]
        if dims and dims[0] != role:
            steps.append(f"axis {dims[0]} named {role}")
            da = (da.drop_vars(role) if role in da.coords else da).rename({dims[0]: role})
        elif not dims and role in ("time", "member"):
            da = _scalar(da, role)
    flat = [c for c in da.coords if da[c].ndim == 2 and any(is_axis(r, c, da) for r in ("lat", "lon"))]
    if "lat" not in da.dims or "lon" not in da.dims:
        what = f"two-dimensional {' and '.join(map(str, flat))}" if flat else "no latitude and longitude along them"
        raise SourceError(
            f"{file}: {da.name} is not on a regular latitude-longitude grid: its axes are "
            f"({', '.join(f'{d} {n}' for d, n in da.sizes.items())}), with {what}. Regrid it first, for instance "
            "`cdo remapbil,r180x90 in.nc out.nc`, or with the package xesmf")
    for name in [d for d in da.dims if d not in AXES]:
        if da.sizes[name] > 1:
            raise SourceError(f"{file}: {da.name} has an axis {name} of length {da.sizes[name]} that is none of "
                              f"{', '.join(AXES)}; select or average first, as by ds.isel({name}=0)")
        da = da.squeeze(name)
    if "time" not in da.dims:
        raise SourceError(f"{file}: {da.name} has no time axis (its axes: {', '.join(map(str, da.dims))}; one named "
                          "time, valid_time or date was expected); give it one, as by ds.expand_dims(time=[...])")
    return da


def _scalar(da: xr.DataArray, role: str) -> xr.DataArray:
    """Make a single time an axis; keep a single member as a scalar coordinate, for files that hold one run each."""
    found = [c for c in da.coords if da[c].ndim == 0 and is_axis(role, c, da)]
    if not found:
        return da
    name = "valid_time" if "valid_time" in found else found[0]
    da = da.drop_vars([c for c in found if c != name]).rename({name: role} if name != role else {})
    return da.expand_dims("time") if role == "time" else da


def time(da: xr.DataArray, file: str, steps: list[str]) -> tuple[xr.DataArray, float | None]:
    """Make time stamps dates that ascend; return also the usual step [day]."""
    if "time" not in da.coords:
        raise SourceError(f"{file}: the time axis has no coordinate; dates were expected along it")
    time = da.time
    if time.dtype.kind in "iuf":
        dates = _dates(time)
        if dates is not None:
            steps.append(f"time {text(time.values[0])} ... read as dates, {text(dates[0])} ...")
            da = da.assign_coords(time=dates)
        elif time.size == 1:
            steps.append(f"the one time stamp ({text(time.values[0])}) is no date and is left as it is")
            return da, None
        else:
            raise SourceError(
                f"{file}: time cannot be read as dates (it starts {time.values[:3].tolist()}, units "
                f"{time.attrs.get('units', 'none')!r}); units such as 'days since 1979-01-01' were expected, or whole "
                "years, YYYYMM or YYYYMMDD; set them, as by ds['time'].attrs['units']")
    values = da.time.values
    if values.dtype.kind == "M":
        if np.isnat(values).any():
            raise SourceError(f"{file}: {int(np.isnat(values).sum())} time stamps are missing; remove them first")
        da = da.assign_coords(time=values.astype("datetime64[ns]"))
    late = np.flatnonzero(values[1:] <= values[:-1])
    if late.size:
        i = int(late[0])
        pair = f"{text(values[i])} is followed by {text(values[i + 1])}"
        if len(set(values.tolist())) < len(values):
            raise SourceError(f"{file}: time has duplicate stamps, or comes twice ({pair}); each once was expected; "
                              "keep one, as by ds.drop_duplicates('time')")
        raise SourceError(f"{file}: time is unsorted ({pair}); sort it first, as by ds.sortby('time')")
    da.time.attrs = {"standard_name": "time", "long_name": "time"}
    gaps = np.diff(values)
    if not gaps.size:
        return da, None
    gap = np.sort(gaps)[gaps.size // 2]
    days = gap / np.timedelta64(1, "D") if isinstance(gap, np.timedelta64) else gap.total_seconds() / 86400
    return da, float(days)


def _dates(time: xr.DataArray) -> np.ndarray | None:
    """Return dates from numbers: years, YYYYMM, YYYYMMDD, or days since a year 0; None for others."""
    units = str(time.attrs.get("units", ""))
    if re.match(r"days since 0+(\D|$)", units):  # a climatology's way to say that the year means nothing
        leap = time.assign_attrs(units="days since 0004-01-01")  # as the year 0 would be, were it a year
        return xr.decode_cf(xr.Dataset(coords={"time": leap})).time.values
    v = time.values
    if "since" in units or not np.all(v == np.round(v)):
        return None
    v = v.astype(np.int64)
    for low, high, split in ((1678, 2261, (10**0, 0)), (167801, 226112, (100, 1)), (16780101, 22611231, (10**4, 2))):
        if not np.all((low <= v) & (v <= high)):
            continue
        year, rest = v // split[0], v % split[0]
        month = np.ones_like(v) if split[1] == 0 else rest if split[1] == 1 else rest // 100
        day = rest % 100 if split[1] == 2 else np.ones_like(v)
        if not np.all((1 <= month) & (month <= 12) & (1 <= day) & (day <= 31)):
            return None
        text = [f"{y:04d}-{m:02d}-{d:02d}" for y, m, d in zip(year, month, day, strict=True)]
        return np.array(text, "datetime64[ns]")
    return None


def latitude(da: xr.DataArray, file: str, steps: list[str]) -> xr.DataArray:
    """Make latitude ascend within -90 to 90 degrees."""
    if "lat" not in da.coords or "lon" not in da.coords:
        raise SourceError(f"{file}: an axis of latitude or longitude has no coordinate; degrees along it were expected")
    lat = da.lat.values.astype(np.float64)
    slope = np.diff(lat)
    if np.abs(lat).max() > 90.01 or not (np.all(slope > 0) or np.all(slope < 0)):
        raise SourceError(f"{file}: latitudes {lat.min():g} to {lat.max():g}, starting {lat[:3].tolist()}, neither "
                          "ascend nor descend within -90 to 90 degrees; sort them first, as by ds.sortby('lat')")
    da = da.assign_coords(lat=lat)
    if slope.size and slope[0] < 0:
        steps.append("latitude turned to ascend")
        da = da.isel(lat=slice(None, None, -1))
    return da


def longitude(da: xr.DataArray, file: str, steps: list[str]) -> xr.DataArray:
    """Make longitude ascend from 0 to 360 degrees, a region in one piece, a cyclic column left out."""
    given = da.lon.values.astype(np.float64)
    lon = np.mod(given, 360)
    lon[lon > 360 - 1e-6] = 0.0
    order = np.argsort(lon, kind="stable")
    twice = np.flatnonzero(np.diff(lon[order]) < 1e-6)
    if twice.size > 1 or given.max() - given.min() > 360 + 1e-6:
        raise SourceError(f"{file}: longitudes {given.min():g} to {given.max():g} come more than once around the "
                          "globe; each once was expected")
    if twice.size:  # a cyclic column
        steps.append(f"the second column at longitude {lon[order][twice[0]]:g} left out")
        order = np.delete(order, twice[0] + 1)
    lon = lon[order]
    if lon.size > 1:
        gaps = np.diff(lon, append=lon[0] + 360)
        widest = int(np.argmax(gaps))
        if widest < lon.size - 1 and gaps[widest] > 1.5 * np.median(gaps) and gaps[widest] > gaps[-1] + 1e-6:
            lon = np.concatenate([lon[widest + 1:], lon[: widest + 1] + 360])
            order = np.concatenate([order[widest + 1:], order[: widest + 1]])
    if given.shape != lon.shape or np.any(np.abs(given - lon) > 1e-9):
        steps.append(f"longitudes {given[0]:g} ... {given[-1]:g} taken to {lon[0]:g} ... {lon[-1]:g}")
        da = da.isel(lon=order)
    return da.assign_coords(lon=lon)


def level(da: xr.DataArray, steps: list[str]) -> xr.DataArray:
    """Make level ascend, pressures in hPa."""
    if "level" not in da.dims:
        return da
    level = da["level"] if "level" in da.coords else xr.DataArray(np.arange(da.sizes["level"]), dims="level")
    attrs = {k: v for k, v in level.attrs.items() if k in ("units", "standard_name", "long_name", "positive")}
    values, units = level.values.astype(np.float64), str(attrs.get("units", ""))
    try:
        size, powers = parse(units)
    except ValueError:
        size, powers = 1.0, {}
    if powers == {"Pa": 1}:
        values = np.round(values * size / 100, 6)
        steps.append("levels in hPa" if size == 100 else f"levels turned from {units} to hPa")
        attrs = {"units": "hPa", "standard_name": "air_pressure", "long_name": "pressure", "positive": "down"}
    da = da.assign_coords(level=("level", values, attrs))
    return da if np.all(np.diff(values) > 0) else da.sortby("level")


def members(da: xr.DataArray, file: str, steps: list[str]) -> xr.DataArray:
    """Number the members; keep their names, and other coordinates along them, as text."""
    if "member" not in da.dims:
        return da
    values = da.member.values if "member" in da.coords else np.arange(da.sizes["member"])
    if values.dtype.kind not in "iuf" or not np.all(values == np.round(values.astype(np.float64))):
        steps.append(f"members {values[0]}, ... numbered from 0, their names kept as run")
        da = da.assign_coords(run=("member", values.astype(str)))
        values = np.arange(values.size)
    if np.unique(values).size < values.size:
        raise SourceError(f"{file}: member numbers come twice ({values.tolist()}); each once was expected")
    da = da.assign_coords(member=values.astype(np.int32))
    da.member.attrs = {"standard_name": "realization", "long_name": "run of the ensemble"}
    texts = [c for c in da.coords if da[c].dims == ("member",) and da[c].dtype.kind in "OS"]
    return da.assign_coords({c: ("member", da[c].values.astype(str)) for c in texts})


def text(moment) -> str:
    """Return a time stamp as a reader writes it: the date, with the hour where it is not midnight."""
    if isinstance(moment, np.datetime64):
        words = str(moment.astype("datetime64[s]"))
    else:
        words = moment.isoformat() if hasattr(moment, "isoformat") else f"{moment:g}"
    return words.removesuffix("T00:00:00")

"""The files of the archive, written from the days of whole pieces: CF names and units, 16-bit integers, compressed."""

from pathlib import Path

import numpy as np
import xarray as xr

from latentkit.atomic import replacing
from latentkit.sources.climate_build import SPINUP_ENDS, SURFACE, Plan, folder, series, start_date
from latentkit.sources.variables import VARIABLES

PACKING = {  # variable: step and offset of its 16-bit integers
    "tas": (0.01, 273.15),
    "psl": (2.5, 105000.0),
    "pr": (0.01, 300.0),
    "rlut": (0.05, 200.0),
    "rsds": (0.05, 300.0),
    "ta": (0.02, 250.0),
}
FILL = -32768
AXES = {
    "member": {"standard_name": "realization"},
    "time": {"standard_name": "time", "axis": "T", "units": "days since 1979-01-01", "calendar": "standard"},
    "level": {"standard_name": "atmosphere_sigma_coordinate", "long_name": "sigma at the middle of the layer",
              "positive": "down", "units": "1"},
    "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}


def write(out: Path, plan: Plan) -> list[Path]:
    """Write the files of a plan whose pieces are whole; return their paths.

    Days: check_days.nc. Years: monthly.nc, winter_days.nc (northern half, members 0 to 7), column_days.nc (member 0)
    and check_days.nc (ten days of two runs).
    """
    if plan.days is not None:
        return [_check_days(out, plan.members, plan.days)]
    with np.load(folder(out, 0) / "0000.npz") as piece:
        lat, lon, level = (piece[name] for name in ("lat", "lon", "level"))
    days = np.arange(SPINUP_ENDS, plan.end(0))
    months = days.astype("datetime64[M]")
    firsts, month = np.unique(months, return_inverse=True)
    winter = np.isin(months.astype(int) % 12, (0, 1, 11))
    north, some = lat > 0, min(plan.members, 8)
    means = {name: np.empty((plan.members, firsts.size, lat.size, lon.size)) for name in SURFACE}
    winters = {name: np.empty((some, winter.sum(), north.sum(), lon.size)) for name in ("psl", "pr")}
    columns = {name: series(out, 0, name, SPINUP_ENDS, plan.end(0)) for name in ("ta", "pr", "rlut")}
    for member in range(plan.members):
        for name in SURFACE:
            values = series(out, member, name, SPINUP_ENDS, plan.end(member))
            for k in range(firsts.size):
                means[name][member, k] = values[month == k].mean(0, dtype=float)
            if member < some and name in winters:
                winters[name][member] = values[winter][:, north]
    place = {"lat": lat, "lon": lon}
    here = {"member": np.arange(plan.members, dtype=np.int32)}
    return [
        _write(out / "monthly.nc", "Climate ensemble, monthly means", means,
               here | {"time": firsts.astype("datetime64[D]")} | place),
        _write(out / "winter_days.nc", "Winter days (DJF) of the Northern Hemisphere, daily means", winters,
               {"member": here["member"][:some], "time": days[winter], "lat": lat[north], "lon": lon}),
        _write(out / "column_days.nc", "One member, daily means: temperature on sigma levels, precipitation, outgoing "
               "long-wave radiation", columns, {"time": days, "level": level} | place, member=0),
        _check_days(out, min(plan.members, 2), 10),
    ]


def pack(values: np.ndarray, name: str) -> np.ndarray:
    """Round values to the 16-bit integers of PACKING.

    Raises ValueError for values that these cannot hold.
    """
    step, offset = PACKING[name]
    whole_steps = np.rint((values.astype(float) - offset) / step)
    if not (np.abs(whole_steps) < -FILL).all():
        raise ValueError(f"{name} from {values.min():g} to {values.max():g} does not fit 16-bit integers of step "
                         f"{step:g} around {offset:g}; such values are no weather: look at the run")
    return whole_steps.astype(np.int16)


def _check_days(out: Path, members: int, days: int) -> Path:
    runs = range(members)
    with np.load(folder(out, 0) / "0000.npz") as piece:
        data = xr.Dataset({name: (name, piece[name], AXES[name]) for name in ("lat", "lon")})
    starts = ", ".join(f"member {m}: {start_date(m)}" for m in runs)
    data.attrs = {"title": "First days of runs, unpacked", "Conventions": "CF-1.8"}
    data["member"] = "member", np.arange(members, dtype=np.int32), AXES["member"]
    data["day"] = "day", np.arange(1, days + 1), {"long_name": f"day since the start of the run ({starts})"}
    for name in ("tas", "psl", "pr"):
        values = [series(out, m, name, start_date(m), start_date(m) + days) for m in runs]
        data[name] = ("member", "day", "lat", "lon"), np.stack(values), {"units": VARIABLES[name].units}
    with replacing(out / "check_days.nc") as part:
        data.to_netcdf(part, engine="netcdf4", encoding={n: {"zlib": True, "complevel": 9} for n in data.data_vars})
    return out / "check_days.nc"


def _write(path: Path, title: str, fields: dict, axes: dict, **attrs) -> Path:
    data = xr.Dataset(attrs={"title": title, "Conventions": "CF-1.8", **attrs})
    for axis, values in axes.items():
        if axis == "time":
            values = (values - SPINUP_ENDS).astype(np.int32)
        data[axis] = axis, values, AXES[axis]
    chunks = {"member": 1, "time": 24 if path.stem == "monthly" else 90 if "member" in axes else 30}
    for name, values in fields.items():
        dims = [d for d in axes if d != "level" or values.ndim == 4]
        canon, (step, offset) = VARIABLES[name], PACKING[name]
        data[name] = dims, pack(values, name), {
            "standard_name": canon.standard_name, "long_name": canon.long_name, "units": canon.units,
            "cell_methods": "time: mean", "scale_factor": step, "add_offset": offset, "_FillValue": np.int16(FILL)}
        sizes = [min(chunks.get(d, n), n) for d, n in zip(dims, values.shape, strict=True)]
        data[name].encoding = {"zlib": True, "complevel": 9, "shuffle": True, "chunksizes": sizes}
    with replacing(path) as part:
        data.to_netcdf(part, engine="netcdf4")
    return path

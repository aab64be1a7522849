"""Where fields come from, always in canonical CF names and units: the packaged archive, or the user's own files."""

import json

_said: set[tuple[str, str]] = set()


def open_field(source, variable: str, *, members: bool = True):
    """Open one variable in canonical form and, the first time, print what was done to it.

    source: "archive" (its monthly means), "archive:winter_days", "archive:column_days", or a path or glob to NetCDF,
    GRIB or Zarr; variable: a canonical name ("tas" [K], "psl" [Pa], "pr" [mm day-1], "rlut" [W m-2], "ta" [K], ...);
    members: whether a member axis is demanded.

    Return (member, time, [level], lat, lon), float32, lat ascending, lon ascending from 0 to 360 (a region that crosses
    Greenwich runs on beyond 360), with attrs units, long_name, standard_name, `identity` (json) and `opened`.
    Without a member axis in the source, and members=False, the array has none either. psl of the archive is an
    extrapolation over high ground (`archive.fixed().orog` above about 1500 m).

    Raises ValueError, FileNotFoundError or ImportError that name the file, what was found and the remedy; RuntimeError
    where a file of the archive is damaged.
    """
    name, _, collection = str(source).partition(":")
    if name == "archive":
        from latentkit.sources import archive

        return archive.open_field(variable, collection or "monthly")
    from latentkit.sources import files

    da = files.open_field(source, variable, members)
    done = (identity(da)["name"], da.attrs["opened"])
    if done not in _said:
        _said.add(done)
        print(f"{done[0]}: {done[1]}")
    return da


def identity(da) -> dict:
    """Return what an opened field is made of: name, period, sha256 and what that is taken of."""
    return json.loads(da.attrs["identity"])

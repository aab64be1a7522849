"""Fields from the user's own files: NetCDF, GRIB (extra era5) and Zarr (extra era5), one or many by a glob.

Each is opened by what its first bytes say it is. What cannot be read whole is refused by name; many files are put
together by what they hold (see `joining`).
"""

import glob
import hashlib
import importlib.util
import json
import re
import warnings
from pathlib import Path

import xarray as xr

from latentkit.sources.axes import SourceError, text
from latentkit.sources.canonical import canonicalize, pick
from latentkit.sources.joining import together
from latentkit.sources.variables import nearest

LOADED = 500_000_000  # bytes of one variable: larger ones stay lazy
HASHED = 256_000_000  # bytes of all files: larger sets are identified by names, sizes, heads and tails
EDGE = 1_000_000  # bytes of a head or tail
EXTRA = 'install it in the checkout with pip install -e ".[era5]"'


def open_field(source: str | Path, variable: str, members: bool = True) -> xr.DataArray:
    """Open one variable of the user's own files in canonical form.

    source: a path, a glob, or the address of a Zarr store (gs://...); variable: a canonical name or one of the file's;
    members: whether a member axis is demanded (where there is one it is kept in either case).

    Return (member, time, [level], lat, lon), float32, in memory where it takes less than 500 MB and lazy beyond;
    attrs hold `identity` (json) and `opened`, what was done.

    Raises SourceError (a ValueError) naming the file, what was found, what was expected and the remedy;
    FileNotFoundError where there is no such file; ImportError where an extra is missing.
    """
    source = str(source)
    paths = [source] if "://" in source else _paths(source)
    parts = []
    for path in paths:
        parts.append((_name(path), *_open_one(path, variable, LOADED / len(paths))))
    da, steps = together(parts)
    if members and "member" not in da.dims:
        one = f", only member {int(da.member)}" if "member" in da.coords else ""
        raise SourceError(
            f"{_name(source)}: {variable} has no member axis{one} (its axes: {', '.join(map(str, da.dims))}); one "
            "named member, number, realization or ensemble was expected. Give a glob of files with one run each, or "
            "open it with members=False where a single run will do")
    identity = _identity(source, paths, da, variable)
    da = da.drop_vars("member") if "member" in da.coords and "member" not in da.dims else da
    da.attrs |= {"identity": json.dumps(identity), "opened": "; ".join(steps) or "nothing to change"}
    return da


def _paths(source: str) -> list[str]:
    path = Path(source).expanduser()
    if any(c in source for c in "*?[") and not path.exists():
        found = sorted(glob.glob(str(path), recursive=True))
        if not found:
            raise FileNotFoundError(f"{path.name}: no file matches this pattern in its folder; files were expected; "
                                    "check the folder and the pattern")
        return found
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        where = nearest(path.name, beside) if beside else " (nor is there such a folder)"
        raise FileNotFoundError(f"{path.name}: there is no such file{where}; a path or glob to NetCDF, GRIB or Zarr "
                                "was expected")
    return [str(path)]


def _kind(path: str) -> str:
    """Return "netcdf", "netcdf3", "grib" or "zarr", from what is in the file."""
    name, place = _name(path), Path(path)
    if "://" in path:
        return "zarr"
    if place.is_dir():
        if any((place / mark).exists() for mark in ("zarr.json", ".zgroup", ".zmetadata")):
            return "zarr"
        raise SourceError(f"{name}: found a folder that is no Zarr store; give the files in it by a glob, {name}/*.nc")
    with place.open("rb") as file:
        head = file.read(8)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "netcdf"
    if head.startswith(b"CDF\x05"):  # its one reader here gives zeros for what a truncated file lacks
        raise SourceError(f"{name}: found NetCDF-3 with 64-bit data (CDF-5), which cannot be checked for being whole; "
                          f"NetCDF-4 was expected: nccopy -k nc4 {name} new.nc")
    if head.startswith((b"CDF\x01", b"CDF\x02")):
        return "netcdf3"
    if head.startswith(b"GRIB"):
        _walk_grib(place, name)
        return "grib"
    what = f"a file that starts with {head!r}" if head else "an empty file"
    raise SourceError(f"{name}: found {what}; NetCDF (CDF or HDF), GRIB or a Zarr store was expected; a download that "
                      "failed leaves such a file: look into it and fetch it again")


def _walk_grib(path: Path, name: str) -> None:
    """Step from message to message to the end: a reader would skip a broken one and leave its map missing."""
    size, at, count = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(64)
            if count and not head.strip(b"\0"):  # padding between messages
                at += len(head)
                continue
            at += len(head) - len(head.lstrip(b"\0")) if count else 0
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[4:7] if head[7:8] == b"\x01" else head[8:16], "big")
            if head[7:8] == b"\x01" and head[4] & 0x80:  # beyond 8 MB the length of edition 1 says something else
                return
            whole = head[:4] == b"GRIB" and 16 < length <= size - at
            if whole:
                file.seek(at + length - 4)
                whole = file.read(4) == b"7777"
            if not whole:
                raise SourceError(f"{name}: GRIB message {count + 1} at byte {at:,} of {size:,} is broken or cut off; "
                                  "the file is truncated or damaged: fetch it again")
            at, count = at + length, count + 1


def _datasets(path: str, name: str) -> list[xr.Dataset]:
    kind = _kind(path)
    if kind.startswith("netcdf"):  # the netcdf4 library reads zeros beyond the end of a NetCDF-3 file; scipy refuses
        return [xr.open_dataset(path, engine="scipy" if kind == "netcdf3" else "netcdf4", decode_times=False)]
    needs = {"grib": "cfgrib", "zarr": "zarr"}[kind]
    if importlib.util.find_spec(needs) is None:
        raise ImportError(f"{name}: {kind.upper() if kind == 'grib' else 'Zarr'} needs the package {needs}; {EXTRA}")
    if kind == "zarr":
        return [xr.open_dataset(path, engine="zarr", decode_times=False, chunks={})]
    import cfgrib

    return cfgrib.open_datasets(path, backend_kwargs={"indexpath": "", "errors": "raise"}, decode_times=True)


def _open_one(path: str, variable: str, most: float) -> tuple[xr.DataArray, list[str], dict]:
    """Open one file: the field in canonical form, what was done, the file's attributes; lazy above `most` bytes."""
    name, steps = _name(path), []
    with warnings.catch_warnings():
        # two fill values, dates beyond nanoseconds, defaults to come: all are handled, none helps a reader
        for kind in (xr.SerializationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        datasets = _readable(name, lambda: _datasets(path, name))
        data = _dated(datasets[0] if len(datasets) == 1 else _holding(datasets, variable, name))
        chosen = pick(data, variable, name, steps)
        if chosen.size * 4 > most:
            chosen = chosen.chunk("auto")
            steps.append(f"{chosen.size * 4 / 1e6:.0f} MB: left on disk, read when needed")
        else:
            chosen = _readable(name, chosen.load)
        da, more = canonicalize(chosen, variable, name)
        if da.chunks is None:
            for each in datasets:
                each.close()
    return da, steps + more, dict(data.attrs)


def _readable(name: str, read):
    """Call `read`, and say which file it was where that fails."""
    try:
        return read()
    except (SourceError, ImportError):
        raise
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError) as error:
        said = re.sub(r"'?(/|[A-Za-z]:\\)[^\s'\"]+'?", "the file", str(error).strip() or type(error).__name__)
        raise SourceError(f"{name}: found what cannot be read ({said.splitlines()[0][:160]}); the file is truncated, "
                          "damaged or of a kind not known: fetch it again, or check that ncdump or grib_ls reads it"
                          ) from error


def _holding(datasets: list[xr.Dataset], variable: str, name: str) -> xr.Dataset:
    for each in datasets:
        try:
            pick(each, variable, name, [])
        except SourceError:
            continue
        return each
    return xr.merge([d.drop_vars([c for c in d.coords if d[c].ndim == 0]) for d in datasets], compat="override")


def _dated(data: xr.Dataset) -> xr.Dataset:
    """Decode each time coordinate that can be; leave the others as numbers, for `axes.time` to read or refuse."""
    for name in [c for c in data.coords if " since " in str(data[c].attrs.get("units", ""))]:
        try:
            decoded = xr.decode_cf(data[[name]])[name]
        except (ValueError, OverflowError):
            continue
        data = data.assign_coords({name: decoded})
    return data


def _name(path: str) -> str:
    return path.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1]


def _identity(source: str, paths: list[str], da: xr.DataArray, variable: str) -> dict:
    """Return what the data are: name, period, sha256 and what it is taken of, without any folder."""
    period = [text(da.time.values[0]), text(da.time.values[-1])]
    digest = hashlib.sha256()
    found = {"name": _name(paths[0] if len(paths) == 1 else source), "period": period, "variable": variable}
    if "://" in source:
        digest.update(f"{source} {dict(da.sizes)} {period}".encode())
        return found | {"sha256": digest.hexdigest(), "sha256_of": "address, sizes and period"}
    files = []
    for path in map(Path, paths):
        files += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    total = sum(file.stat().st_size for file in files)
    whole = total < HASHED
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as stream:
            if whole:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
            else:
                digest.update(f"{file.name} {size}".encode() + stream.read(EDGE))
                stream.seek(max(0, size - EDGE))
                digest.update(stream.read())
    if whole and len(files) == 1:
        with files[0].open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
    return found | {"sha256": digest.hexdigest(), "files": len(paths), "bytes": total,
                    "sha256_of": "contents" if whole else "names, sizes, heads and tails"}

"""The packaged climate archive: fields of ten runs of a climate model, coastlines, trained weights.

Each file stands in one manifest with its sha256. A file is checked the first time a process opens it (and again if
it changes on disk); a damaged one is named and nothing of it is used.

Collections (variables; dims):
    monthly      tas, psl, pr, rlut, rsds; member 10, time 96 (months of 1979 to 1986), lat 32, lon 64
    winter_days  psl, pr; member 8, time 722 (days of December to February), lat 16 (northern half), lon 64
    column_days  ta on level 8 (sigma), pr, rlut; member 1 (run 0), time 1461 (days of 1979 to 1982), lat 32, lon 64
Time stamps are at the start of the day or month. psl is reduced to sea level with a constant lapse rate: over high
ground (`fixed().orog` above about 1500 m: Antarctica, Greenland, Tibet) it is an extrapolation, to be masked or
standardized. Over oceans tas follows the prescribed sea-surface temperature, so members agree there.
"""

import hashlib
import json
from pathlib import Path

from latentkit.atomic import replacing

FOLDER = Path(__file__).resolve().parents[1] / "archive"
EXPECTED = {"monthly.nc", "winter_days.nc", "column_days.nc", "check_days.nc", "fixed.nc", "coastline_110m.json"}
MOST_WEIGHTS = 40_000_000  # bytes of weights in all, of four papers, so that a clone stays small

_checked: dict[Path, tuple] = {}  # file -> (size, time of change, sha256 expected) of its last good check


class DamagedFileError(RuntimeError):
    """Name a file of the archive that is not what the manifest says, and the remedy."""


def folder() -> Path:
    """Return the folder that holds the archive and its manifest."""
    return FOLDER


def manifest() -> dict:
    """Return the manifest: recipe, citations, `files` and `weights`, each with sha256 and bytes by name.

    Raises DamagedFileError where it is missing or is no manifest.
    """
    path = folder() / "manifest.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedFileError(f"the archive's manifest.json is missing. {_remedy('manifest.json')}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedFileError(f"the archive's manifest.json is not readable: {error}. "
                               f"{_remedy('manifest.json')}") from None
    for section in ("files", "weights"):
        entries = found.get(section) if isinstance(found, dict) else None
        sound = isinstance(entries, dict) and all(isinstance(e, dict) and "sha256" in e for e in entries.values())
        if not sound or (section == "files" and not EXPECTED <= entries.keys()):
            raise DamagedFileError(f"the archive's manifest.json has no sound section {section!r} (an entry of "
                                   f"each file with its sha256 was expected). {_remedy('manifest.json')}")
    return found


def verify(name: str | None = None) -> None:
    """Check one file (a name in the manifest, weights as weights/NAME.safetensors), or every file, against its sha256.

    Raises DamagedFileError naming each file that is missing, truncated or changed; ValueError for an unknown name.
    """
    index = manifest()
    known = {file: entry["sha256"] for file, entry in index["files"].items()}
    known |= {f"weights/{weights}.safetensors": entry["sha256"] for weights, entry in index["weights"].items()}
    if name is not None and name not in known:
        raise ValueError(f"no file {name!r} in the archive{_known(name, known)}")
    problems = []
    for file in known if name is None else (name,):
        try:
            _check(file, known[file])
        except DamagedFileError as error:
            problems.append(str(error))
    if problems:
        raise DamagedFileError("\n".join(problems))


def open_field(variable: str, collection: str = "monthly"):
    """Open one variable of one collection as a labelled array in canonical names and units, loaded, float32.

    variable: "tas" [K], "psl" [Pa], "pr" [mm day-1], "rlut" [W m-2], "rsds" [W m-2], "ta" [K]; psl is an extrapolation
    over high ground. collection: "monthly", "winter_days" or "column_days" (one run: a member axis of length 1).

    Return (member, time, [level], lat, lon), lat and lon ascending, with `identity` in its attrs.

    Raises ValueError for an unknown variable or collection; DamagedFileError where the file fails its check.
    """
    import numpy as np
    import xarray as xr

    from latentkit.sources.variables import VARIABLES, nearest

    index = manifest()["files"]
    collections = {entry["collection"]: file for file, entry in index.items() if "collection" in entry}
    if collection not in collections:
        raise ValueError(f"no collection {collection!r} in the archive{_known(collection, collections)}")
    file = collections[collection]
    entry = index[file]
    if variable not in entry["variables"]:
        held = "; ".join(f"{c}: {', '.join(index[f]['variables'])}" for c, f in collections.items())
        others = [c for c, f in collections.items() if variable in index[f]["variables"]]
        near = nearest(variable, {v for f in collections.values() for v in index[f]["variables"]})
        hint = f"; open it from 'archive:{others[0]}'" if others else near
        raise ValueError(f"no variable {variable!r} in the archive's collection {collection!r}{hint} (it holds {held})")
    path = _check(file, entry["sha256"])
    with xr.open_dataset(path, engine="netcdf4", mask_and_scale=False) as data:
        packed = data[variable].load()
    scale, offset, fill = (packed.attrs.get(k) for k in ("scale_factor", "add_offset", "_FillValue"))
    values = np.empty(packed.shape, np.float32)
    for i, block in enumerate(packed.values):  # block by block: float64 arithmetic without a second whole array
        values[i] = np.where(block == fill, np.nan, block * scale + offset)
    canon = VARIABLES[variable]
    attrs = {"units": canon.units, "long_name": canon.long_name, "standard_name": canon.standard_name,
             "cell_methods": packed.attrs.get("cell_methods", "time: mean")}
    if variable == "psl":
        attrs["comment"] = "reduced with a constant lapse rate: an extrapolation over high ground (orog > 1500 m)"
    identity = {"name": f"archive:{collection}", "period": entry["period"], "sha256": entry["sha256"],
                "sha256_of": "contents", "variable": variable}
    attrs |= {"identity": json.dumps(identity), "opened": f"unpacked from 16-bit integers of step {scale:g}"}
    da = xr.DataArray(values, packed.coords, packed.dims, variable, attrs)
    if "member" not in da.dims:
        da = da.expand_dims(member=np.array([int(entry["members"])], np.int32)).copy()
    da.time.attrs = {"standard_name": "time", "long_name": "time"}
    da.member.attrs = {"standard_name": "realization", "long_name": "run of the ensemble"}
    return da.transpose("member", "time", ..., "lat", "lon")


def fixed():
    """Open the fixed fields: orog (lat, lon) [m], lsm (lat, lon) land fraction [1], area_weight (lat), sum 1 [1]."""
    import xarray as xr

    path = _check("fixed.nc", manifest()["files"]["fixed.nc"]["sha256"])
    with xr.open_dataset(path, engine="netcdf4") as data:
        return data.load()


def coastline() -> list:
    """Return the world's coastlines as lines (n, 2) of longitude -180 to 180 and latitude [degrees].

    No line crosses the date line, and none runs along it.
    """
    import numpy as np

    path = _check("coastline_110m.json", manifest()["files"]["coastline_110m.json"]["sha256"])
    return [np.array(line) for line in json.loads(path.read_text(encoding="utf-8"))["lines"]]


def weights(name: str) -> Path:
    """Return the path of shipped weights, checked against the manifest.

    name: as registered, with or without the ending .safetensors.

    Raises FileNotFoundError where none of that name are shipped; DamagedFileError where they fail their check.
    """
    shipped = manifest()["weights"]
    stem = name.removesuffix(".safetensors")
    if stem not in shipped:
        raise FileNotFoundError(f"no weights {stem!r} in the archive's manifest{_known(stem, shipped)}")
    return _check(f"weights/{stem}.safetensors", shipped[stem]["sha256"])


def register_weights(path: Path | str, *, notebook: str, seconds: float, **more) -> dict:
    """Enter a weights file into the manifest, or renew its entry; the manifest is replaced whole or not at all.

    path: a .safetensors file in the archive's folder `weights`; notebook: what trains it; seconds: how long that
    took; more: further entries. Return the entry.

    Raises ValueError for a file elsewhere, of another kind, or one that takes the weights beyond 40 MB in all.
    """
    path = Path(path).resolve()
    home = (folder() / "weights").resolve()
    if path.parent != home or path.suffix != ".safetensors":
        raise ValueError(f"{path.name} is not a .safetensors file in the archive's folder weights: put it there first")
    index = manifest()
    entry = {"sha256": _sha256(path), "bytes": path.stat().st_size, "notebook": notebook, "seconds": seconds, **more}
    index["weights"] = dict(sorted((index["weights"] | {path.stem: entry}).items()))
    total = sum(each["bytes"] for each in index["weights"].values())
    if total > MOST_WEIGHTS:
        raise ValueError(f"with {path.name} the weights take {total:,} bytes; the archive holds at most "
                         f"{MOST_WEIGHTS:,}: ship fewer or smaller ones")
    with replacing(folder() / "manifest.json") as part:
        part.write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return entry


def _check(file: str, expected: str) -> Path:
    path = folder() / file
    if not path.is_file():
        raise DamagedFileError(f"archive file {file} is missing (sha256 {expected} was expected). {_remedy(file)}")
    stat = path.stat()
    state = (stat.st_size, stat.st_mtime_ns, expected)
    if _checked.get(path) == state:
        return path
    found = _sha256(path)
    if found != expected:
        listed = {**manifest()["files"], **{f"weights/{k}.safetensors": v for k, v in manifest()["weights"].items()}}
        size = listed.get(file, {}).get("bytes", 0)
        how = f", {stat.st_size:,} bytes where {size:,} were expected" if size != stat.st_size else ""
        raise DamagedFileError(f"archive file {file} is damaged: sha256 {found} was found, {expected} was "
                               f"expected{how}. Nothing of it is used. {_remedy(file)}")
    _checked[path] = state
    return path


def _remedy(file: str) -> str:
    return (f"Restore it in a checkout with `git checkout -- latentkit/archive/{file}` (and manifest.json, should that "
            "have been edited), or reinstall latentkit.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _known(name: str, known) -> str:
    from latentkit.sources.variables import nearest

    return f"{nearest(name, known)} (there are: {', '.join(sorted(known)) or 'none'})"

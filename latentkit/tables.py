"""Tidy tables of many runs: a run keeps its rows, a sweep gathers those of all, a notebook holds its own against them.

A table is one csv beside the figures, `figures/<size>/NAME.csv`, and a json that says how it was made; `latentkit sweep
NOTEBOOK ... --table NAME` makes both from the rows that each run of the grid kept under that name. With --merge these
are added to what is stored (`merging`), and the json has "earlier", a list of what it said of former makings.
"""

import collections
import dataclasses
import hashlib
import io
import json
import math
import re
from pathlib import Path

from latentkit import provenance
from latentkit.atomic import replacing
from latentkit.record import Run


def rows_files(folder: Path, name: str) -> tuple[Path, Path]:
    """Return where a run keeps its rows of the table `name`, and what they depend on: a csv and a json."""
    return folder / f"{name}.rows.csv", folder / f"{name}.rows.json"


def check_name(name: str) -> str:
    """Return the name of a table. Raises ValueError where it is none that a file can have everywhere."""
    if not re.fullmatch(r"\w[\w-]*", name):
        raise ValueError(f"a table is called {name!r}; expected letters, digits, _ and -, such as 'lccvae_tab02'")
    return name


def keep(run: Run, frame, name: str, keys: list[str] | None = None) -> None:
    """Write a run's own rows of the table `name` into the folder of its figures, for `latentkit sweep --table`.

    frame: a pandas.DataFrame, a row a result, with the parameters that the row is for (SEED, ...) in columns of their
    own; its index is left out. Numbers are written such that they read back exactly equal. keys: the columns that
    identify a row in the table of all runs, which --merge needs.

    Raises ValueError for no rows, two columns of one name, what is neither text nor a number nor missing, and keys that
    are no columns or do not tell these rows apart.
    """
    about, content = rows_files(run.folder, check_name(name))[::-1]
    if not len(frame) or not len(frame.columns):
        raise ValueError(f"table {name} has no rows or no columns; a run keeps one row at least")
    columns = [str(column) for column in frame.columns]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise ValueError(f"table {name} has more than one column {', '.join(twice)}; give each a name of its own")
    frame = frame.set_axis(columns, axis=1).map(_plain)
    odd = {c: v for c in columns for v in frame[c] if not (v is None or isinstance(v, str | int | float))}
    if odd:
        told = ", ".join(f"{type(value).__name__} in {column}" for column, value in odd.items())
        raise ValueError(f"table {name} holds {told}; expected numbers and text: convert them first")
    if keys is not None:
        _check_keys(name, frame, keys := list(keys))
    depends = {"preset": dataclasses.asdict(run.preset), "data": run.data, "overrides": run.overrides, "seed": run.seed}
    depends |= {"keys": keys}
    texts = {content: frame.to_csv(index=False, lineterminator="\n"), about: json.dumps(depends, indent=1) + "\n"}
    for path, text in texts.items():
        with replacing(path) as part:
            part.write_bytes(text.encode())


def gathered(run: Run, name: str, keys: list[str]):
    """Return the stored table `name` at the run's size, or None, with a printed line that says which and why.

    keys: the columns that identify a row. None is returned where there is no such table, and where it was made with
    another preset (fields on the sweep's grid apart) or from other data than the run's.

    Returns a pandas.DataFrame with all rows of all runs. It is read from the project's `figures/`, wherever the run
    itself saves.
    """
    path = provenance.project_root() / "figures" / run.preset.size / f"{check_name(name)}.csv"
    try:
        content, about = path.read_bytes(), json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        made = f"`latentkit sweep {run.notebook.split('_')[0]} ... --table {name}` makes it"
        print(f"no {path.name} with a json beside it at size {run.preset.size}; {made}")
        return None
    table = _read(content)
    preset = json.loads(json.dumps(dataclasses.asdict(run.preset)))
    why = unfit(content, about, preset, run.data, [key for key in keys if key not in table])
    print(f"{path.name} not used: {why}" if why else f"{len(table)} rows of {_runs(about)} runs from {path.name}")
    return None if why else table


def settled(run: Run, name: str, own, stored, keys: list[str]):
    """Keep a run's own rows of the table `name`, and return those of all runs, or its own where none are stored.

    own, stored: pandas.DataFrame, stored None where there is none (`gathered`); keys: the columns that identify a row.
    How far rows in common are apart is printed (`compare`).
    """
    keep(run, own, name, keys)
    if stored is None:
        return own
    apart, count = compare(stored, own, keys)
    if count:
        most = max(apart.values(), default=math.nan)
        print(f"{count} rows computed again: apart by {most:.1e} of the largest value of a column at most")
    return stored


def compare(stored, own, keys: list[str]) -> tuple[dict[str, float], int]:
    """Hold a run's own rows against the stored ones with the same keys.

    stored, own: pandas.DataFrame (`gathered`, and what was given to `keep`); keys: the columns that identify a row.

    Returns, for each further column of `own`, the largest |a - b| of all rows in common over the largest |a| among them
    (0 where both are missing or equal, infinite where one is missing or texts differ), and how many rows these are:
    relative to the column, since a correlation near 0 has no digits of its own. With no row in common it is ({}, 0).

    Raises ValueError where a column is missing, or the keys do not tell the rows of a table apart.
    """
    own = _read(own.map(_plain).to_csv(index=False).encode())  # both as they are read
    both = []
    for title, frame in (("stored", stored), ("own", own)):
        missing = [column for column in [*keys, *own] if column not in frame]
        if missing:
            raise ValueError(f"the {title} table has no column {', '.join(missing)}; it has {', '.join(frame)}")
        both.append({tuple(plain_key(row[key]) for key in keys): row for row in frame.to_dict("records")})
        if len(both[-1]) < len(frame):
            raise ValueError(f"the {title} table has several rows of one {', '.join(keys)}; name more columns as keys")
    theirs, ours = both
    common = [key for key in ours if key in theirs]
    values = [column for column in own if column not in keys]
    return {c: _apart([(theirs[k][c], ours[k][c]) for k in common]) for c in values if common}, len(common)


def unfit(content: bytes, about: dict, preset: dict, data: list[dict], missing: list[str]) -> str | None:
    """Return why a stored table does not go with a preset and data, or None where it does.

    content, about: the table and its json; missing: columns that are asked for and that it does not have.
    """
    from latentkit.models.weights import differences

    if hashlib.sha256(content).hexdigest() != about["sha256"]:
        return "it is not the one that its json describes; sweep again"
    if missing:
        return f"it has no column {', '.join(missing)}"
    # A field that the table does not know is one that its runs differ in, or one that came after it: a new setting for
    # one notebook of a series does not retire the tables of all others. What a notebook computes again tells the rest.
    found = differences(about["preset"], {k: v for k, v in preset.items() if k in about["preset"]})
    if found:
        return "made with another preset: " + "; ".join(f"{field} is {told}" for field, told in found.items())
    if about["data"] is not None and data_sums(about["data"]) != data_sums(data):
        named = [", ".join(str(entry.get("name")) for entry in one) or "none" for one in (about["data"], data)]
        return f"made from other data: {named[0]} there and {named[1]} here"
    return None


def _makings(about: dict) -> list[dict]:
    """Return what a table's json says of each time that rows were added to it, the newest last."""
    return [*about.get("earlier", []), about]


def _runs(about: dict) -> int:
    """Return of how many runs a table has rows: one that was made again counts once."""
    runs = collections.Counter()
    for making in _makings(about):
        grid, missing = ([json.dumps(label, sort_keys=True) for label in making[part]] for part in ("grid", "missing"))
        runs |= collections.Counter(grid) - collections.Counter(missing)
    return runs.total()


def data_sums(data: list[dict]) -> list:
    """Return the checksums of the data of a run, which tell whether two runs used the same."""
    return [entry.get("sha256") for entry in data]


def _check_keys(name: str, frame, keys: list[str]) -> None:
    """Raise ValueError for keys that are no columns of a frame, or do not tell its rows apart."""
    strange = [key for key in keys if key not in frame]
    if strange or not keys:
        told = f"no column {', '.join(strange)}" if keys else "an empty list"
        raise ValueError(f"table {name}: keys name {told}; expected one or more of {', '.join(frame)}")
    if len({tuple(map(plain_key, row)) for row in frame[keys].itertuples(index=False)}) < len(frame):
        raise ValueError(f"table {name} has several rows of one {', '.join(keys)}; name more columns as keys")


def _read(content: bytes):
    """Return the table in a csv: numbers to the bit, and text such as "NA" as text."""
    import pandas as pd

    # From pandas 3.1 on every number is read exactly, and asking for it is deprecated.
    exact = {"float_precision": "round_trip"} if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1) else {}
    return pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=[""], **exact)


def _plain(value):
    """Return a number of numpy or torch as Python's."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def plain_key(value):
    """Return what two equal keys have in common, however their columns were read: 1, 1.0 and "1" are one."""
    try:
        return "" if value != value else float(value)
    except (TypeError, ValueError):
        return str(value)


def _apart(pairs: list[tuple]) -> float:
    """Return the largest difference of some pairs (stored, own) over the largest stored number among them."""
    pairs = [(plain_key(a), plain_key(b)) for a, b in pairs]
    apart = [(a, b) for a, b in pairs if a != b]
    size = [abs(a) for a, _ in pairs if not isinstance(a, str) and math.isfinite(a)]
    if any(isinstance(v, str) or math.isinf(v) for pair in apart for v in pair):
        return float("inf")
    return max((abs(a - b) for a, b in apart), default=0.0) / (max(size, default=0.0) or 1.0)

"""Rows of a new sweep merged into a stored table: what stands there stays, but for rows that were made again.

Numbers are text here, so that no digit is lost.
"""

import io
import json
from pathlib import Path

from latentkit import tables
from latentkit.catalog import BadRequest


def shared_keys(name: str, about: list[dict]) -> list[str]:
    """Return the columns that identify a row of the table `name`, of which all runs say the same.

    about: what `tables.keep` wrote beside the rows of each run.

    Raises BadRequest where the runs name none, or differ.
    """
    told = [one.get("keys") for one in about]
    if not told[0]:
        remedy = f"name the columns that identify a row in the notebook: tables.keep(run, frame, {name!r}, keys=[...])"
        raise BadRequest(f"table {name}: --merge needs keys, and the runs kept none; {remedy}, and sweep again")
    if any(keys != told[0] for keys in told):
        other = next(keys for keys in told if keys != told[0])
        raise BadRequest(f"table {name}: runs name the keys {told[0]} and {other}; expected the same of all of them")
    return told[0]


def merged(path: Path, rows, keys: list[str], making: dict, varied: set[str]):
    """Return the rows of a stored table with new ones, and the making that describes both.

    path: the stored table, which may be missing; rows: a pandas.DataFrame of text; keys: the columns that identify a
    row; making: notebook, table, preset and data of the new rows; varied: fields of the preset in which these differ.

    Rows stay where they stood; new ones with the keys of one of them take its place, the others follow in their own
    order. So do columns; where a row has none of its own, it is empty. The making gets "earlier", a list of what was
    told of former ones, the newest last, and keeps of the preset what all have in common.

    Raises BadRequest where the stored table is damaged, of another notebook, preset or data, where it lacks a key, and
    where keys do not tell the rows of either apart.
    """
    beside = path.with_name(path.name + ".json")
    if not path.exists() and not beside.exists():
        _by_keys(path.name, "new", rows, keys)
        return rows, making
    import pandas as pd

    try:
        content, about = path.read_bytes(), json.loads(beside.read_text(encoding="utf-8"))
        stored = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise _refused(path.name, f"it and the json beside it cannot both be read: {error}") from error
    if about["notebook"] != making["notebook"]:
        raise _refused(path.name, f"it is of another notebook: {about['notebook']} there and {making['notebook']} here")
    preset = making["preset"] | {field: about["preset"][field] for field in varied if field in about["preset"]}
    data = about["data"] if making["data"] is None else making["data"]
    why = tables.unfit(content, about, preset, data, [key for key in keys if key not in stored])
    if why:
        raise _refused(path.name, why)
    both = _by_keys(path.name, "stored", stored, keys) | _by_keys(path.name, "new", rows, keys)
    frame = pd.DataFrame(list(both.values()), columns=list(dict.fromkeys([*stored, *rows]))).fillna("")
    told = {k: about[k] for k in ("grid", "inputs", "commit", "dirty", "created", "runs", "missing")}
    common = {field: value for field, value in making["preset"].items() if field in about["preset"]}
    one = None if about["data"] is None else making["data"]
    return frame, making | {"preset": common, "data": one, "earlier": [*about.get("earlier", []), told]}


def _by_keys(table: str, whose: str, frame, keys: list[str]) -> dict[tuple, dict]:
    """Return the rows of a table by their keys, in order."""
    found = {tuple(tables.plain_key(row[key]) for key in keys): row for row in frame.to_dict("records")}
    if len(found) < len(frame):
        told = f"{table} would have several {whose} rows of one {', '.join(keys)}"
        raise BadRequest(f"{told}: name more columns as keys of `tables.keep`, and sweep again")
    return found


def _refused(table: str, why: str) -> BadRequest:
    remedy = "leave out --merge to replace it, or restore it (git checkout) and sweep as it was made"
    return BadRequest(f"{table} takes no more rows: {why}. The runs are kept: {remedy}")

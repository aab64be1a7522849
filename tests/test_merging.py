"""Rows merged into a stored table: what stays, what is replaced, and which tables take no more rows."""

import hashlib
import json

import pandas as pd
import pytest

from latentkit import merging
from latentkit.catalog import BadRequest

PRESET = {"size": "teaching", "batch": 100, "latent_dim": 2}
DATA = [{"name": "archive", "sha256": "0"}]
MAKING = {"notebook": "00_tiny", "table": "tab", "preset": PRESET, "data": DATA}
TOLD = {"grid": [{"SEED": 0}], "inputs": ["a"], "commit": "c", "dirty": False, "created": "d", "runs": 1, "missing": []}


def table(text: str) -> pd.DataFrame:
    """Return a table of text: lines parted by a blank, the first of them names."""
    names, *rows = (line.split(",") for line in text.split())
    return pd.DataFrame(rows, columns=names, dtype=str)


def store(folder, text: str, **more):
    """Store a table and its json; return its path."""
    path = folder / "tab.csv"
    path.write_text(text.replace(" ", "\n") + "\n")
    about = MAKING | TOLD | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} | more
    path.with_name("tab.csv.json").write_text(json.dumps(about))
    return path


def test_rows_stay_are_replaced_in_place_and_follow(tmp_path):
    path = store(tmp_path, "seed,way,x 0,b,1.50 0,a,0.1000000000000000055 1,a,3e-7")
    frame, making = merging.merged(path, table("way,seed,y a,2,7 b,0.0,8 a,1,9"), ["seed", "way"], MAKING, set())
    assert frame.to_csv(index=False).split() == [
        "seed,way,x,y",
        "0.0,b,,8",
        "0,a,0.1000000000000000055,",
        "1,a,,9",
        "2,a,,7",
    ]
    assert making == MAKING | {"earlier": [TOLD]}


def test_a_missing_table_is_begun(tmp_path):
    rows = table("seed,x 1,2 0,3")
    frame, making = merging.merged(tmp_path / "tab.csv", rows, ["seed"], MAKING, set())
    assert frame is rows and making is MAKING


def test_former_makings_are_kept_the_newest_last(tmp_path):
    first, second = TOLD | {"grid": [{"batch": 1}]}, TOLD | {"commit": "e"}
    path = store(tmp_path, "seed,x 0,1", earlier=[first], **second)
    _, making = merging.merged(path, table("seed,x 1,2"), ["seed"], MAKING, set())
    assert making["earlier"] == [first, second]


def test_the_preset_is_what_all_have_in_common(tmp_path):
    stored = {field: value for field, value in PRESET.items() if field != "batch"}
    path = store(tmp_path, "seed,x 0,1", preset=stored, grid=[{"batch": 1}, {"batch": 2}])
    new = MAKING | {"preset": {field: value for field, value in PRESET.items() if field != "latent_dim"}, "data": None}
    _, making = merging.merged(path, table("seed,x 1,2"), ["seed"], new, {"latent_dim"})
    assert making["preset"] == {"size": "teaching"} and making["data"] is None
    path = store(tmp_path, "seed,x 0,1", data=None)
    assert merging.merged(path, table("seed,x 1,2"), ["seed"], MAKING, set())[1]["data"] is None


@pytest.mark.parametrize(
    "stored, told",
    [
        ({"notebook": "01_other"}, "it is of another notebook: 01_other there and 00_tiny here"),
        ({"preset": PRESET | {"batch": 64}}, "made with another preset: batch is 64 there and 100 here"),
        ({"preset": PRESET | {"gone": 1}}, "gone is 1 there and null here"),
        ({"data": [{"name": "mine.nc", "sha256": "1"}]}, "made from other data: mine.nc there and archive here"),
        ({"sha256": "0"}, "it is not the one that its json describes"),
    ],
)
def test_tables_of_another_making_take_no_more_rows(tmp_path, stored, told):
    path = store(tmp_path, "seed,x 0,1", **stored)
    with pytest.raises(BadRequest, match=f"tab.csv takes no more rows: .*{told}.* leave out --merge to replace it"):
        merging.merged(path, table("seed,x 1,2"), ["seed"], MAKING, set())


def test_tables_without_what_identifies_a_row_take_no_more_rows(tmp_path):
    path = store(tmp_path, "seed,x 0,1 0,2")
    with pytest.raises(BadRequest, match="it has no column way"):
        merging.merged(path, table("seed,way,x 1,a,2"), ["seed", "way"], MAKING, set())
    with pytest.raises(BadRequest, match="several stored rows of one seed: name more columns as keys"):
        merging.merged(path, table("seed,x 1,2"), ["seed"], MAKING, set())
    with pytest.raises(BadRequest, match="several new rows of one x"):
        merging.merged(path, table("seed,x 1,3 2,3"), ["x"], MAKING, set())
    path.with_name("tab.csv.json").unlink()
    with pytest.raises(BadRequest, match="the json beside it cannot both be read"):
        merging.merged(path, table("seed,x 1,2"), ["seed"], MAKING, set())


def test_runs_say_the_same_of_keys():
    assert merging.shared_keys("tab", [{"keys": ["seed"]}] * 2) == ["seed"]
    with pytest.raises(BadRequest, match="needs keys, and the runs kept none; name the columns"):
        merging.shared_keys("tab", [{"keys": None}, {"keys": None}])
    with pytest.raises(BadRequest, match=r"name the keys \['seed'\] and \['x'\]"):
        merging.shared_keys("tab", [{"keys": ["seed"]}, {"keys": ["x"]}])

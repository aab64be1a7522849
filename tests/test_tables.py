"""Tidy tables: rows read back to the bit, a sweep gathers them, a run is held against the stored ones."""

import json
import math
import signal

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from test_sweep import wait_for
from tiny import NAME, answer, command, write_notebook

from latentkit import catalog, execute, tables
from latentkit.presets import preset
from latentkit.record import Run

DATA = {"name": "archive", "period": ["a", "b"], "sha256": "0"}
KEEP = """import pandas as pd
from latentkit import tables
rows = [{"seed": SEED, "latent_dim": P.latent_dim, "k": k, "value": (SEED + 0.1) / (k + 3)} for k in range(2)]
own = pd.DataFrame(rows)
tables.keep(run, own, "tiny_tab01")
stored = tables.gathered(run, "tiny_tab01", ["seed", "latent_dim", "k"])
if stored is not None:
    print(tables.compare(stored, own, ["seed", "latent_dim", "k"]))"""


@pytest.fixture
def run(project):
    return Run(NAME, preset("start", "teaching"), 0, data=DATA)


@pytest.fixture
def keeper(project):
    """Return the small project, whose notebook keeps two rows."""
    write_notebook(project, NAME, "tiny_fig01", (KEEP,))
    return project


def stored(project, run):
    """Sweep two seeds, as if on the run's data, and return the table's path and json."""
    code = KEEP.replace("tables.keep", f"run.data = [{DATA}]\ntables.keep", 1)
    write_notebook(project, NAME, "tiny_fig01", (code,))
    rc, out, err = answer(project, "sweep", "0", "--grid", "SEED=1,0", "--table", "tiny_tab01")
    assert rc == 0, err
    assert "table tiny_tab01: 2 of 2 runs finished; 4 rows in " in out
    path = project / "figures" / "teaching" / "tiny_tab01.csv"
    return path, json.loads(path.with_name("tiny_tab01.csv.json").read_text())


def test_rows_read_back_exactly(run):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.standard_normal(500) * 10.0 ** rng.integers(-300, 300, 500)})
    frame["single"] = rng.standard_normal(500).astype("float32")
    frame["whole"] = 2**62 + np.arange(500)
    frame["word"] = ["NA", "a, b"] * 250
    frame["gap"] = [1.5, np.nan] * 250
    frame[7] = [torch.tensor(0.1), np.bool_(True)] * 250
    tables.keep(run, frame, "tab")
    back = tables._read((run.folder / "tab.rows.csv").read_bytes())
    assert list(back) == ["x", "single", "whole", "word", "gap", "7"]
    for column in ("x", "single", "whole", "word"):
        assert (back[column] == frame[column]).all()
    assert back["gap"].isna().sum() == 250
    assert float(back["7"][0]) == float(torch.tensor(0.1))
    depends = json.loads((run.folder / "tab.rows.json").read_text())
    assert (depends["seed"], depends["data"], depends["preset"]["size"]) == (0, [DATA], "teaching")
    assert not list(run.folder.glob("*.part"))


@pytest.mark.parametrize(
    "frame, name, keys, words",
    [
        (pd.DataFrame({"a": []}), "tab", None, "no rows"),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), "tab", None, "more than one column 1"),
        (pd.DataFrame({"a": [[1, 2]]}), "tab", None, "holds list in a"),
        (pd.DataFrame({"a": [1]}), "../tab", None, "letters, digits"),
        (pd.DataFrame({"a": [1], "b": 2}), "tab", ["b", "c"], "keys name no column c; expected one or more of a, b"),
        (pd.DataFrame({"a": [1]}), "tab", [], "keys name an empty list"),
        (pd.DataFrame({"a": [1, 1], "b": [1, 2]}), "tab", ["a"], "several rows of one a; name more columns as keys"),
    ],
)
def test_rows_that_make_no_table_are_refused(run, frame, name, keys, words):
    with pytest.raises(ValueError, match=words):
        tables.keep(run, frame, name, keys)
    assert not run.folder.exists()


def test_a_swept_table_fits_the_run_and_no_other(project, run, capsys, monkeypatch):
    keys = ["seed", "k"]
    assert tables.gathered(run, "tiny_tab01", keys) is None
    assert "no tiny_tab01.csv with a json beside it at size teaching; `latentkit sweep 00" in capsys.readouterr().out
    path, about = stored(project, run)
    assert about["notebook"] == NAME and about["table"] == "tiny_tab01" and about["data"] == [DATA]
    assert about["grid"] == [{"SEED": 1}, {"SEED": 0}] and about["runs"] == 2 and about["missing"] == []
    assert about["preset"]["latent_dim"] == 2 and {"commit", "dirty", "inputs", "created", "sha256"} <= about.keys()

    monkeypatch.setenv("LATENTKIT_FIGURES", str(project / "elsewhere"))
    table = tables.gathered(run, "tiny_tab01", keys)
    assert capsys.readouterr().out == "4 rows of 2 runs from tiny_tab01.csv\n"
    assert table["seed"].tolist() == [1, 1, 0, 0], "in the order of the grid"
    assert table["value"].tolist() == [(s + 0.1) / (k + 3) for s in (1, 0) for k in (0, 1)]

    def told(other=run, keys=keys):
        assert tables.gathered(other, "tiny_tab01", keys) is None
        return capsys.readouterr().out

    assert "another preset: latent_dim is 2 there and 3 here" in told(
        Run(NAME, preset("start", "teaching", latent_dim=3), 0, data=DATA)
    )
    other = Run(NAME, run.preset, 0, data={"name": "mine.nc", "sha256": "1"})
    assert told(other) == "tiny_tab01.csv not used: made from other data: archive there and mine.nc here\n"
    assert "it has no column member" in told(keys=["seed", "member"])
    beside = path.with_name(path.name + ".json")
    about["preset"].pop("latent_dim")  # a field that came after the table
    beside.write_text(json.dumps(about))
    assert (
        tables.gathered(Run(NAME, preset("start", "teaching", latent_dim=3), 0, data=DATA), "tiny_tab01", keys)
        is not None
    )
    capsys.readouterr()
    path.write_text(path.read_text().replace("1,2,0", "1,2,5"))
    assert "not the one that its json describes" in told()


def test_comparison_is_row_by_row():
    table = pd.DataFrame({"seed": [0, 0, 1], "way": ["a", "b", "01"], "x": [1.0, 2.0, 0.0], "y": [np.nan, 4.0, np.inf]})
    own = pd.DataFrame({"way": ["b", "a"], "seed": [0.0, 0.0], "x": [2.0, 1.1], "y": [np.nan, np.nan]})
    found, count = tables.compare(table, own, ["seed", "way"])
    assert count == 2 and found == {"x": pytest.approx(0.1 / 2.0), "y": math.inf}
    alone = pd.DataFrame({"seed": [1], "way": ["01"], "x": [np.float32(0.0)], "y": [np.inf]})
    assert tables.compare(table, alone, ["seed", "way"]) == ({"x": 0.0, "y": 0.0}, 1)
    assert tables.compare(table, alone.assign(seed=9), ["seed", "way"]) == ({}, 0)
    with pytest.raises(ValueError, match="stored table has several rows of one seed"):
        tables.compare(table, alone, ["seed"])
    with pytest.raises(ValueError, match="stored table has no column z"):
        tables.compare(table, alone.assign(z=1), ["seed", "way"])
    assert tables.compare(table, alone.drop(columns="y"), ["seed", "way"]) == ({"x": 0.0}, 1)


def test_own_rows_give_way_to_those_of_all_runs(run, capsys):
    own = pd.DataFrame({"seed": [0], "x": [1.1]})
    assert tables.settled(run, "tiny_tab01", own, None, ["seed"]) is own and not capsys.readouterr().out
    every = pd.DataFrame({"seed": [0, 1], "x": [1.0, 2.0]})
    assert tables.settled(run, "tiny_tab01", own, every, ["seed"]) is every
    assert "1 rows computed again: apart by 1.0e-01" in capsys.readouterr().out
    tables.settled(run, "tiny_tab01", own.assign(seed=7), every, ["seed"])
    assert not capsys.readouterr().out  # nothing in common
    assert (run.folder / "tiny_tab01.rows.csv").read_text() == "seed,x\n7,1.1\n"


def test_fields_on_the_grid_fit_any_run_of_it(keeper, capsys):
    words = ("sweep", "0", "--grid", "latent_dim=2,3", "--set", "batch=64", "--table", "tiny_tab01")
    rc, _, err = answer(keeper, *words)
    assert rc == 0, err
    for fields, fits in (({"latent_dim": 3, "batch": 64}, True), ({"latent_dim": 3}, False), ({"batch": 64}, True)):
        run = Run(NAME, preset("start", "teaching", **fields), 0, overrides=fields)
        assert (tables.gathered(run, "tiny_tab01", ["seed"]) is not None) == fits, capsys.readouterr().out


def test_a_notebook_reads_its_table_and_figures_leave_its_rows_behind(keeper):
    write_notebook(keeper, NAME, "tiny_fig01", (KEEP, 'tables.keep(run, own, "tiny_fig01")'))
    rc, _, err = answer(keeper, "sweep", "0", "--grid", "SEED=0,1", "--table", "tiny_tab01")
    assert rc == 0, err
    outcome = execute.execute(catalog.find("0"), keeper / "runs" / "one", {})
    assert outcome.error is None and list(outcome.records) == ["tiny_fig01"]
    assert "4 rows of 2 runs from tiny_tab01.csv" in outcome.copy.read_text()
    assert "({'value': 0.0}, 2)" in outcome.copy.read_text()
    rc, _, err = answer(keeper, "figures")
    assert rc == 0, err
    made = sorted(path.name for path in (keeper / "figures" / "teaching").iterdir())
    assert made == ["tiny_fig01.json", "tiny_fig01.png", "tiny_tab01.csv", "tiny_tab01.csv.json"]


def test_what_is_finished_is_gathered(keeper):
    table = keeper / "figures" / "teaching" / "tiny_tab01.csv"
    words = ("sweep", "0", "--grid", "SEED=0,1,2", "--set", "FAIL=1", "--table", "tiny_tab01")
    rc, out, _ = answer(keeper, *words)
    assert rc == 1 and "table tiny_tab01: 2 of 3 runs finished; 4 rows" in out
    assert pd.read_csv(table)["seed"].tolist() == [0, 0, 2, 2]
    assert json.loads((table.parent / "tiny_tab01.csv.json").read_text())["missing"] == [{"FAIL": 1, "SEED": 1}]
    rc, out, _ = answer(keeper, "sweep", "0", "--grid", "SEED=1", "--set", "FAIL=1", "--table", "tiny_tab01")
    assert rc == 1 and "table tiny_tab01: 0 of 1 runs finished; nothing to gather" in out
    assert len(pd.read_csv(table)) == 4, "what was there stays"


def test_a_sweep_is_merged_into_what_is_stored(keeper, capsys):
    path = keeper / "figures" / "teaching" / "tiny_tab01.csv"
    base = ("sweep", "0", "--table", "tiny_tab01")
    rc, _, err = answer(keeper, *base, "--grid", "SEED=1,0")
    assert rc == 0, err
    before = path.read_text()
    rc, _, err = answer(keeper, *base, "--grid", "SEED=2,1", "--merge")
    assert rc == 2 and "--merge needs keys, and the runs kept none; name the columns that identify a row in" in err
    assert path.read_text() == before
    code = KEEP.replace('own, "tiny_tab01")', 'own.assign(more=SEED), "tiny_tab01", ["seed", "latent_dim", "k"])', 1)
    write_notebook(keeper, NAME, "tiny_fig01", (code.replace("SEED + 0.1", "SEED + 0.2"),))
    rc, out, err = answer(keeper, *base, "--grid", "SEED=2,1", "--grid", "latent_dim=2,3", "--merge")
    assert rc == 0 and "4 of 4 runs finished; 10 rows in" in out, err
    lines, old = path.read_text().splitlines(), before.splitlines()
    assert lines[0] == old[0] + ",more" and lines[3:5] == [f"{line}," for line in old[3:]], "to the digit"
    found = [line.split(",") for line in lines[1:]]
    order = [(1, 2), (0, 2), (2, 2), (2, 3), (1, 3)]
    assert [(int(s), int(d)) for s, d, *_ in found] == [pair for pair in order for _ in range(2)]
    assert [float(row[3]) for row in found if row[0] != "0"] == [
        (s + 0.2) / (k + 3) for s, _ in order if s for k in (0, 1)
    ]
    about = json.loads(path.with_name("tiny_tab01.csv.json").read_text())
    (earlier,) = about["earlier"]
    assert earlier["grid"] == [{"SEED": 1}, {"SEED": 0}] and earlier["runs"] == 2 and about["runs"] == 4
    assert set(earlier) == {"grid", "inputs", "commit", "dirty", "created", "runs", "missing"}
    assert "latent_dim" not in about["preset"] and about["preset"]["size"] == "teaching"
    for fields, fits in (({}, True), ({"latent_dim": 3}, True), ({"batch": 64}, False)):
        run = Run(NAME, preset("start", "teaching", **fields), 0, overrides=fields)
        assert (tables.gathered(run, "tiny_tab01", ["seed", "latent_dim"]) is not None) == fits
    assert "10 rows of 6 runs from tiny_tab01.csv" in capsys.readouterr().out


def test_sweeps_along_different_fields_make_one_table_where_rows_name_them(keeper):
    code = KEEP.replace('own, "tiny_tab01")', 'own, "tiny_tab01", ["seed", "latent_dim", "k"])', 1)
    write_notebook(keeper, NAME, "tiny_fig01", (code,))
    base = ("sweep", "0", "--table", "tiny_tab01", "--merge", "--grid", "SEED=0", "--grid")
    for value, rows in (("latent_dim=2", 2), ("latent_dim=3", 4)):
        rc, out, err = answer(keeper, *base, value)
        assert rc == 0 and f"{rows} rows in" in out, err
    rc, _, err = answer(keeper, *base, "latent_dim=3", "--grid", "batch=64")
    assert rc == 2 and "batch" in err, "of which rows say nothing"


def test_a_killed_worker_costs_no_row_and_ctrl_c_gathers_the_rest(keeper):
    words = ("sweep", "0", "--grid", "SEED=0,1,2,3,4,5", "--set", "WAIT=3", "--table", "tiny_tab01")
    process = command(keeper, *words)
    psutil.Process(wait_for(process, keeper, finished=1)[0].ppid()).kill()
    wait_for(process, keeper, finished=2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    done = len(list((keeper / "runs").glob("*/result.json")))
    assert 2 <= done < 6 and f"table tiny_tab01: {done} of 6 runs finished; {2 * done} rows" in out
    rc, out, _ = answer(keeper, *words)
    assert rc == 0 and "table tiny_tab01: 6 of 6 runs finished; 12 rows" in out
    seeds = pd.read_csv(keeper / "figures" / "teaching" / "tiny_tab01.csv")["seed"]
    assert seeds.tolist() == sorted([*range(6)] * 2)


def test_runs_that_make_no_one_table_are_refused(keeper):
    rc, _, err = answer(keeper, "sweep", "0", "--grid", "SIZE=quick,teaching", "--table", "tiny_tab01")
    assert rc == 2 and "--table takes runs of one size, and these are quick, teaching" in err
    rc, _, err = answer(keeper, "sweep", "0", "--grid", "SEED=0", "--table", "../up")
    assert rc == 2 and "letters, digits" in err
    assert not (keeper / "runs").exists()
    rc, _, err = answer(keeper, "sweep", "0", "--grid", "SEED=0", "--table", "other")
    assert rc == 2 and "the run SEED=0 kept no rows called 'other'" in err
    for change, told in (
        ('run.preset = preset("start", SIZE, batch=100 + SEED)', "differ in batch, which the grid does not vary"),
        ('run.data = [{"name": "a", "sha256": str(SEED)}]', "differ in their data"),
    ):
        write_notebook(keeper, NAME, "tiny_fig01", (change, KEEP))
        rc, _, err = answer(keeper, "sweep", "0", "--grid", "SEED=0,1", "--table", "tiny_tab01")
        assert rc == 2 and told in err
    assert not (keeper / "figures").exists()

"""Sweeps on real worker processes: killed workers, failing runs, Ctrl-C, going on, clusters by address."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from tiny import NAME, answer, command

from latentkit import catalog, grid
from latentkit.catalog import BadRequest


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def kernels(process):
    """Return the kernel processes below a running command."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "ipykernel_launcher" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue  # it ended meanwhile
    return found


def wait_for(process, project, finished):
    """Wait until some runs are finished and another is on its way; return the kernels."""
    for _ in range(1200):
        assert process.poll() is None, process.communicate()
        running = kernels(process)
        if running and len(list((project / "runs").glob("*/result.json"))) >= finished:
            return running
        time.sleep(0.05)
    raise AssertionError(f"no {finished} finished runs within a minute")


def test_a_killed_worker_loses_nothing(project):
    table = project / "table.csv"
    process = command(project, "sweep", "0", "--grid", "SEED=0,1,2,3", "--set", "WAIT=2", "--out", str(table))
    victim = psutil.Process(wait_for(process, project, finished=1)[0].ppid())
    kept = {path: path.stat().st_mtime_ns for path in (project / "runs").glob("*/result.json")}
    victim.send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = rows(table)
    assert [(row["SEED"], row["status"], row["verdict:tiny.even"]) for row in found] == [
        (str(seed), "done", "held" if seed % 2 == 0 else "not held") for seed in range(4)
    ]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items()), "finished runs are left alone"
    assert not list(project.rglob("*.part"))


def test_a_failing_run_stops_no_other_and_is_tried_again_next_time(project):
    table = project / "table.csv"
    words = ("sweep", "0", "--grid", "SEED=0,1,2", "--set", "FAIL=1", "--out", str(table))
    rc, out, _ = answer(project, *words)
    assert rc == 1 and "SEED=1: FAILED: 00_start_tiny stopped in cell 5" in out
    found = rows(table)
    assert [row["status"] for row in found] == ["done", "failed", "done"]
    assert found[1]["error"].endswith("ArithmeticError: no luck with seed 1")
    assert "ArithmeticError" in (project / found[1]["copy"]).read_text(), "the failing run's notebook is there to read"
    assert (project / found[0]["copy"]).is_file() and found[0]["score:latent_dim"] == "2.0"
    about = json.loads((project / "table.csv.json").read_text())
    assert about["notebook"] == NAME and len(about["inputs"]) == 1
    rc, out, _ = answer(project, *words, "--retries", "1")
    assert rc == 1 and "2 finished before, 1 to do" in out


def test_ctrl_c_leaves_a_table_and_the_rest_can_go_on(project):
    table = project / "table.csv"
    words = ("sweep", "0", "--grid", "SEED=0,1", "--grid", "latent_dim=2,3", "--set", "WAIT=4", "--out", str(table))
    process = command(project, *words, start_new_session=True)
    running = wait_for(process, project, finished=1)
    # Dask's workers have it, and kernels would be up to ten times slower with it.
    assert running and not [k for k in running if "MALLOC_TRIM_THRESHOLD_" in k.environ()]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    done = [row for row in rows(table) if row["status"] == "done"]
    assert 1 <= len(done) < 4 and {row["status"] for row in rows(table)} == {"done", "not run"}
    psutil.wait_procs(running, timeout=10)
    assert not [k for k in running if k.is_running()], "no kernel outlives its sweep"
    rc, out, _ = answer(project, *words)
    assert rc == 0 and f"{len(done)} finished before" in out
    assert [row["score:latent_dim"] for row in rows(table)] == ["2.0", "3.0"] * 2
    assert answer(project, *words)[1].count("4 finished before, 0 to do") == 1


CLUSTER = """
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""


def test_a_cluster_by_address_without_this_checkout(project, tmp_path):
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = {k: v for k, v in os.environ.items() if k != "LATENTKIT_ROOT"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(script)], env=env, cwd=elsewhere, **pipes) as cluster:
        address = cluster.stdout.readline().strip()
        rc, out, err = answer(project, "sweep", "0", "--grid", "SEED=0,1", "--scheduler", address)
        cluster.communicate("\n", timeout=60)
    assert rc == 0, err + out
    (table,) = (project / "runs").glob("*.csv")
    assert [row["status"] for row in rows(table)] == ["done", "done"]
    assert len(list((project / "runs").glob("*/figures/teaching/tiny_fig01.png"))) == 2, "results came back by wire"
    assert not list(elsewhere.rglob("*.ipynb"))


def test_grid_names_are_parameters_or_fields(project):
    notebook = catalog.find("0")
    points = grid.plan(notebook, [("SEED", "0,1"), ("hidden", "[64,64],[8]")], [("noise", "unit"), ("SIZE", "quick")])
    assert [p.label["hidden"] for p in points] == [[64, 64], [8], [64, 64], [8]]
    assert points[0].values == {"SIZE": "quick", "SEED": 0, "OVERRIDES": {"noise": "unit", "hidden": [64, 64]}}
    assert len({p.key for p in points}) == 4
    assert [p.values["SIZE"] for p in grid.plan(notebook, [("SIZE", "quick,teaching")])] == ["quick", "teaching"]
    assert len(grid.plan(notebook, [("SEED", "1,1,2")])) == 2, "a point named twice is run once"


@pytest.mark.parametrize(
    "names, told",
    [
        ([("latent_dm", "1")], ["'latent_dm'", "did you mean latent_dim?", "Parameters: SIZE", "Fields: variable"]),
        ([("seed", "1")], ["did you mean SEED?"]),
        ([("SEED", "1,x")], ["SEED is 'x'"]),
        ([("SEED", "1,,2")], ["empty value"]),
        ([("SEED", "1"), ("SEED", "2")], ["SEED is given more than once"]),
        ([("latent_dim", "2,two")], ["latent_dim of the start preset is a int", "'two'"]),
        ([("SIZE", "quick,huge")], ["'huge'"]),
    ],
)
def test_bad_grids_are_refused_before_anything_runs(project, names, told):
    with pytest.raises(BadRequest) as error:
        grid.plan(catalog.find("0"), names)
    for piece in told:
        assert piece in str(error.value)


def test_bad_tables_and_clusters_are_refused_at_the_start(project):
    rc, _, err = answer(project, "sweep", "0", "--grid", "SEED=0", "--out", "table.xlsx")
    assert rc == 2 and "expected a name that ends in .csv or .parquet" in err
    rc, _, err = answer(project, "sweep", "0", "--grid", "SEED=0", "--merge")
    assert rc == 2 and "--merge adds to a table that --table names, and none is named" in err
    rc, _, err = answer(project, "sweep", "0", "--grid", "SEED=0", "--scheduler", "nonsense://x")
    assert rc == 2 and "no Dask scheduler answers at 'nonsense://x'" in err
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        rc, _, err = answer(project, "sweep", "0", "--grid", "SEED=0", "--out", "table.parquet")
        assert rc == 2 and "needs pyarrow" in err

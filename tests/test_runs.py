"""The command on real small notebooks: parameters, errors in words, staleness, stored outputs."""

import json
import subprocess
import sys

import nbformat
import pytest
from tiny import NAME, answer, write_notebook

from latentkit import catalog, execute


def code_of(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_run_takes_parameters_and_keeps_an_executed_copy(project):
    rc, out, err = answer(project, "run", "0", "-p", "SEED", "3", "-p", "OVERRIDES", '{"latent_dim": 5}')
    assert (rc, err) == (0, "")
    assert "not held" in out and "tiny.even: 3" in out
    (copy,) = (project / "runs").glob(f"{NAME}-*/{NAME}.ipynb")
    nbformat.validate(nbformat.read(copy, as_version=4))
    assert "SEED = 3" in code_of(copy)[1], "papermill's cell stands after the notebook's own"
    record = json.loads((copy.parent / "figures" / "teaching" / "tiny_fig01.json").read_text())
    assert (record["seed"], record["overrides"], record["preset"]["latent_dim"]) == (3, {"latent_dim": 5}, 5)
    assert not (project / "figures").exists(), "a run of one's own does not touch the project's figures"


def test_a_tuple_among_overrides_arrives_as_one(project):
    rc, _, err = answer(project, "run", "0", "-p", "OVERRIDES", '{"hidden": (5, 6)}')
    assert (rc, err) == (0, "")
    (record,) = (project / "runs").glob(f"{NAME}-*/figures/teaching/tiny_fig01.json")
    assert json.loads(record.read_text())["preset"]["hidden"] == [5, 6]


@pytest.mark.parametrize(
    "words, told",
    [
        (["-p", "SED", "3"], ["'SED'", "did you mean SEED?", "Known: SIZE, SEED, OVERRIDES, SOURCE, RETRAIN"]),
        (["-p", "SEED", "many"], ["SEED is 'many'", "whole number such as 0"]),
        (["-p", "RETRAIN", "1"], ["RETRAIN is '1'", "truth value such as False"]),
        (["-p", "OVERRIDES", "3"], ["OVERRIDES is '3'", "dict", "in quotes for the shell"]),
        (["-p", "OVERRIDES", '{"latent_dm": 3}'], ["'latent_dm'", "did you mean 'latent_dim'?"]),
        (["-p", "OVERRIDES", '{"latent_dim": "two"}'], ["latent_dim of the start preset is a int", "'two'"]),
        (["--size", "teachin"], ["'teachin'", "did you mean 'teaching'?"]),
        (["-p", "SEED"], ["-p 'SEED' gives a name without a value"]),
    ],
)
def test_bad_parameters_are_refused_in_words(project, words, told):
    rc, out, err = answer(project, "run", NAME, *words)
    assert rc == 2 and "Traceback" not in err
    for piece in told:
        assert piece in err
    assert not (project / "runs").exists()


def test_unknown_and_damaged_notebooks_are_named(project):
    rc, _, err = answer(project, "run", "00_start_tinny")
    assert rc == 2 and f"did you mean {NAME}?" in err
    path = project / "notebooks" / f"{NAME}.ipynb"
    path.write_text(path.read_text()[:200])
    rc, _, err = answer(project, "list")
    assert rc == 2 and f"{NAME}.ipynb is not a notebook that can be read" in err


def test_away_from_any_checkout_the_remedy_is_told(tmp_path, monkeypatch):
    def nowhere():
        raise FileNotFoundError("no project folder; name it in LATENTKIT_ROOT")

    monkeypatch.setattr("latentkit.provenance.project_root", nowhere)
    with pytest.raises(catalog.BadRequest, match="LATENTKIT_ROOT"):
        catalog.notebooks()


def test_text_stays_text_and_a_path_is_found_from_the_working_folder(project, tmp_path, monkeypatch):
    notebook = catalog.find("00")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a1.nc").write_bytes(b"")
    assert catalog.settle(notebook, {"SOURCE": "1979"})["SOURCE"] == "1979"
    assert catalog.settle(notebook, {"SOURCE": "a*.nc"})["SOURCE"] == str(tmp_path / "a*.nc")
    (tmp_path / "archive").mkdir()
    assert catalog.settle(notebook, {"SOURCE": "archive"})["SOURCE"] == "archive"
    assert catalog.settle(notebook, {"WAIT": "2"})["WAIT"] == 2
    assert catalog.settle(notebook, {"OVERRIDES": "{'latent_dim': 4}"})["OVERRIDES"] == {"latent_dim": 4}


def test_run_key_follows_the_content(project, tmp_path):
    notebook, inputs = catalog.find("00"), "inputs"
    key = catalog.run_key(notebook, {}, inputs)
    assert key == catalog.run_key(notebook, {"SEED": 0}, inputs), "a default said aloud is the same run"
    data = tmp_path / "field.nc"
    data.write_bytes(b"1")
    first = catalog.run_key(notebook, {"SOURCE": str(data)}, inputs)
    data.write_bytes(b"12")
    others = [catalog.run_key(notebook, v, i) for v, i in (({"SEED": 1}, inputs), ({}, "other"))]
    assert len({key, first, catalog.run_key(notebook, {"SOURCE": str(data)}, inputs), *others}) == 5


def test_a_failing_cell_is_named_and_its_copy_kept(project):
    rc, out, err = answer(project, "run", "00", "-p", "FAIL", "0")
    assert rc == 1
    assert f"{NAME} stopped in cell 5, which begins `time.sleep(WAIT)`: ArithmeticError: no luck with seed 0" in err
    (copy,) = (project / "runs").glob(f"*/{NAME}.ipynb")
    assert copy.name in out and "ArithmeticError" in copy.read_text()


@pytest.mark.parametrize(
    "code, words",
    [("import time; time.sleep(90)", "CellTimeoutError"), ("import os; os._exit(3)", "DeadKernelError: Kernel died")],
)
def test_a_stuck_or_dead_kernel_is_told(project, code, words):
    write_notebook(project, NAME, "tiny_fig01", early=(code,))
    outcome = execute.execute(catalog.find("00"), project / "runs", {}, timeout=5)
    assert outcome.error.startswith(f"{NAME} stopped in cell 3, which begins `{code}`: {words}")
    assert outcome.copy.is_file() and outcome.records == {}


def test_the_kernel_is_this_interpreter_whatever_is_installed(project, monkeypatch):
    spec = project / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text('{"argv": ["no-such-python"], "display_name": "Other", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(project / "jupyter"))
    write_notebook(project, NAME, "tiny_fig01", ("import sys; print(sys.executable)",))
    outcome = execute.execute(catalog.find("00"), project / "runs", {})
    assert outcome.error is None and sys.executable in outcome.copy.read_text()


def test_figures_runs_what_is_stale_and_nothing_else(project):
    write_notebook(project, "11_start_other", "tiny_fig02")
    rc, out, _ = answer(project, "figures")
    assert rc == 0 and out.count("claims 1 held, 0 not held, 0 not tested (") == 2 and "expected 3 s" in out
    copy = project / "runs" / "figures-teaching" / f"{NAME}.ipynb"
    assert len(code_of(copy)) == 3, "at teaching no cell is injected"
    assert answer(project, "figures")[1].count(": fresh;") == 2
    path = project / "notebooks" / f"{NAME}.ipynb"
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].source = "# Other words"
    nbformat.write(nb, path)
    assert catalog.stale(catalog.find("00"), "teaching") is None, "prose makes no other figure"
    nb.cells[-1].source += "\n# other code"
    nbformat.write(nb, path)
    assert "made from other code" in catalog.stale(catalog.find("00"), "teaching")
    (project / "figures" / "teaching" / "tiny_fig02.png").unlink()
    assert catalog.stale(catalog.find("11"), "teaching") == "tiny_fig02 is missing"
    rc, out, _ = answer(project, "figures", "--notebooks", "11", "--size", "quick")
    assert rc == 0 and "[1/1] 11_start_other" in out and (project / "figures" / "quick" / "tiny_fig02.png").is_file()
    rc, out, _ = answer(project, "list")
    assert rc == 0 and "teaching: stale (tiny_fig02 is missing)" in out and "quick: fresh; claims 1 held" in out


def test_figures_of_another_seed_are_stale(project):
    notebook = catalog.find("00")
    execute.execute(notebook, project / "runs", {"SEED": 4}, figures=catalog.figures_root())
    assert catalog.stale(notebook, "teaching") == "tiny_fig01 was made with SEED = 4"


def test_figures_goes_on_after_a_failing_notebook(project):
    write_notebook(project, NAME, "tiny_fig01", ("1 / 0",))
    write_notebook(project, "05_start_forgets", "tiny_fig03")
    path = project / "notebooks" / "05_start_forgets.ipynb"
    path.write_text(path.read_text().replace('"figures": [', '"figures": ["promised", '))
    write_notebook(project, "11_start_other", "tiny_fig02")
    rc, out, err = answer(project, "figures", "--size", "quick")
    assert rc == 1
    assert "[1/3] 00_start_tiny: FAILED" in err and "ZeroDivisionError" in err
    assert "[2/3] 05_start_forgets: FAILED: it ran through, but saved no promised" in err
    assert "[3/3] 11_start_other" in out and "failed: 00_start_tiny, 05_start_forgets" in err


def test_figures_of_a_run_that_failed_after_saving_do_not_pass_for_fresh(project):
    path = project / "notebooks" / f"{NAME}.ipynb"
    content = json.loads(path.read_text())
    content["cells"].append(dict(content["cells"][-1], source="1 / 0", id="broken"))
    path.write_text(json.dumps(content))
    for _ in range(2):
        rc, _, err = answer(project, "figures", "--size", "quick", "--notebooks", "00")
        assert rc == 1 and "ZeroDivisionError" in err
    assert not (project / "figures" / "quick" / "tiny_fig01.png").exists()


WIDGETS = """import ipywidgets
from IPython.display import display
out = ipywidgets.Output()
with out:
    print("kept in the widget")
display(ipywidgets.VBox([ipywidgets.IntSlider(), out]))"""


def test_stored_notebooks_of_two_runs_are_equal_bytes(project):
    pieces = 'import sys\nfor word in "shown in pieces".split():\n    print(word); sys.stdout.flush(); time.sleep(0.3)'
    path = write_notebook(project, NAME, "tiny_fig01", (WIDGETS, pieces))
    stored = []
    for _ in range(2):
        rc, _, err = answer(project, "figures", "--store", "--force")
        assert rc == 0, err
        stored.append(path.read_bytes())
    assert stored[0] == stored[1]
    nb = nbformat.reads(stored[0].decode(), as_version=4)
    nbformat.validate(nb)
    assert nb.metadata.keys() == {"kernelspec", "language_info", "latentkit"}
    assert nb.metadata.language_info == {"name": "python"}
    counts = [cell.execution_count for cell in nb.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "nbval takes a cell without a count for not run"
    assert all(cell.metadata.keys() <= {"tags"} for cell in nb.cells)
    assert [output.text for output in nb.cells[4].outputs] == ["shown\nin\npieces\n"]
    assert "an explorer: run the notebook" in stored[0].decode()
    assert "widget-view" not in stored[0].decode()
    assert catalog.stale(catalog.find("00"), "teaching") is None


def test_only_teaching_outputs_are_stored(project):
    rc, _, err = answer(project, "figures", "--store", "--size", "quick")
    assert rc == 2 and "size teaching, not quick" in err


def test_the_archive_command_needs_one_length(project):
    rc, _, err = answer(project, "archive", "build", "--out", str(project / "made"), "--days", "1", "--years", "1")
    assert rc == 2 and "--days or as --years" in err


def test_the_command_is_installed():
    done = subprocess.run([sys.executable, "-m", "latentkit.runs", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for name in ("list", "run", "figures", "sweep", "train", "archive"):
        assert name in done.stdout


@pytest.mark.parametrize(
    "which, status, told",
    [
        (["start"], 2, "no notebook of start has shipped weights"),
        (["0", "1"], 2, "'1'"),
        (["0"], 1, "FAILED: 00_start_tiny trained nothing that it keeps"),
    ],
)
def test_training_what_keeps_no_weights_is_refused(project, which, status, told):
    rc, _, err = answer(project, "train", *which)
    assert rc == status and told in err and "Traceback" not in err


def test_notebooks_are_trained_side_by_side_and_one_that_fails_stops_no_other(project):
    keep = "import os; from pathlib import Path; folder = os.environ['LATENTKIT_WEIGHTS']"
    write_notebook(project, "01_start_bad", "bad_fig01", code=("raise ArithmeticError('no luck')",))
    write_notebook(project, "02_start_none", "none_fig01", code=(keep,))
    rc, out, err = answer(project, "train", "01", "02", "--workers", "2")
    assert rc == 1 and out.count(": training") == 2
    assert "no luck" in err and "02_start_none trained nothing" in err
    assert (project / "runs" / "weights-02_start_none" / "weights").is_dir()


def test_a_training_process_that_is_killed_is_told_in_words(project):
    write_notebook(project, "01_start_dead", "dead_fig01", code=("import os; os.kill(os.getppid(), 9)",))
    rc, _, err = answer(project, "train", "01")
    assert rc == 1 and "01_start_dead: a process was killed" in err and "Traceback" not in err

"""Every notebook: its shape, its stored outputs, a run of it at size quick, and the numbers of a re-run."""

import ast
import dataclasses
import json
import os
import re
from pathlib import Path

import nbformat
import pytest

from latentkit import catalog, execute
from latentkit.record import VERDICTS

ROOT = Path(__file__).resolve().parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in PATHS]
PARAMETERS = {"SIZE": "teaching", "SEED": 0, "OVERRIDES": {}, "SOURCE": "archive", "RETRAIN": False}
CELLS, CODE_CELLS = range(18, 31), range(8, 17)
LINES, FUNCTIONS, WORDS_A_LINE = 25, 2, 3.0
STALLS = ("interact", "interactive", "interactive_output", "Output")  # widgets that stall under nbclient

# How far a re-run may be from the stored numbers: one machine repeats them to the bit at one count of threads;
# another rounds otherwise, which training amplifies, but not beyond what another seed would do.
RELATIVE, OF_SPREAD = 0.02, 0.5

# A last cell: every control of every explorer is moved, after all else has run, as a reader would. Of a control with
# many values five are taken, the ends among them: a map is drawn for each.
MOVES = """
def _moved():
    from ipywidgets import HBox, Image, VBox
    from ipywidgets.widgets.widget import _instances

    boxes = [w.children for w in _instances.values() if isinstance(w, VBox)]
    found = [children for children in boxes if [type(c) for c in children[:2]] == [HBox, Image]]
    assert found, "no explorer"
    for controls, image, message in found:
        for control in controls.children:
            values = list(getattr(control, "_options_values", ()))
            if len(values) > 8:
                values = [values[i * (len(values) - 1) // 4] for i in range(5)]
            for value in values:
                control.value = value
                assert not message.value, f"{control.description} at {value!r}: {message.value}"
            if hasattr(control, "buttons"):  # a board: press one more
                place = next(p for p in control.buttons if p not in control.value)
                control.value = (*control.value, place)
                assert not message.value, f"{control.description} with {place}: {message.value}"

_moved()
"""

every_notebook = pytest.mark.parametrize("path", PATHS, ids=NAMES)


def cells(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def code(cell) -> ast.Module:
    return ast.parse("\n".join(line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!"))))


def lines(cell) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def test_numbers_name_one_notebook_each():
    assert PATHS, "no notebooks"
    numbers = [name.split("_")[0] for name in NAMES]
    assert len(set(numbers)) == len(numbers) and all(re.fullmatch(r"\d\d_[a-z0-9_]+", name) for name in NAMES)


@every_notebook
def test_size_and_prose(path):
    every, codes = nbformat.read(path, as_version=4).cells, cells(path, "code")
    assert len(every) in CELLS, f"{len(every)} cells; a notebook has {CELLS.start} to {CELLS[-1]}"
    assert len(codes) in CODE_CELLS, f"{len(codes)} code cells; a notebook has {CODE_CELLS.start} to {CODE_CELLS[-1]}"
    for cell in codes:
        assert lines(cell) <= LINES, f"{lines(cell)} lines in the cell that begins {cell.source.splitlines()[0]!r}"
    words = sum(len(cell.source.split()) for cell in cells(path, "markdown"))
    ratio = words / sum(lines(cell) for cell in codes)
    assert ratio >= WORDS_A_LINE, f"{ratio:.1f} words of prose a line of code; {WORDS_A_LINE} or more explain it"
    assert every[0].cell_type == "markdown" and every[0].source.startswith("# ")


@every_notebook
def test_code_is_the_lesson_and_nothing_else(path):
    nodes = [node for cell in cells(path, "code") for node in ast.walk(code(cell))]
    functions = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    assert len(functions) <= FUNCTIONS, f"functions {functions}: those that are not the lesson go to the package"
    assert not [node.name for node in nodes if isinstance(node, ast.ClassDef)], "classes go to the package"
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert not names & set(STALLS), f"{names & set(STALLS)} stall under papermill; use latentkit.explore"


@every_notebook
def test_parameters_cell(path):
    tagged = [cell for cell in cells(path, "code") if "parameters" in tags(cell)]
    assert len(tagged) == 1
    assert catalog.read(path).parameters.items() >= PARAMETERS.items()


@every_notebook
def test_metadata(path):
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    notebook = catalog.read(path)
    assert notebook.title and notebook.figures
    assert notebook.seconds.keys() == set(catalog.SIZES)
    assert notebook.seconds["quick"] <= 40 and notebook.seconds["teaching"] <= 120
    calls = [n for cell in cells(path, "code") for n in ast.walk(code(cell)) if isinstance(n, ast.Call)]
    saved = [call.args[1].value for call in calls if ast.unparse(call.func) == "run.save"]
    assert set(saved) == set(notebook.figures), "the metadata name the figures that the code saves"


@every_notebook
def test_stored_outputs(path):
    nb = nbformat.read(path, as_version=4)
    assert nb.metadata.keys() == {"kernelspec", "language_info", "latentkit"}, "store notebooks with `make store`"
    assert nb.metadata.kernelspec.name == "python3" and nb.metadata.language_info == {"name": "python"}
    codes = cells(path, "code")
    assert any(cell.outputs for cell in codes), "stored without outputs; `make store` runs it and keeps them"
    for cell in nb.cells:
        assert cell.metadata.keys() <= {"tags"}, f"cell metadata {cell.metadata}"
    counts = [cell.execution_count for cell in codes]
    assert counts == list(range(1, len(codes) + 1)), "run from top to bottom by a fresh kernel, as `make store` does"
    for cell in codes:
        kinds = {output.output_type for output in cell.outputs}
        assert "error" not in kinds, "stored with an error"
        assert not [o for o in cell.outputs if execute.WIDGET in o.get("data", {})], "widgets are stored as text"
    pictures = [o for cell in codes for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= len(catalog.read(path).figures), "each saved figure is shown too"


@every_notebook
def test_claims_cells_are_compared_by_nbval(path):
    for cell in cells(path, "code"):
        if "run.claim(" in cell.source:
            assert "nbval-check-output" in tags(cell), "a claims cell carries the tag nbval-check-output"


@every_notebook
def test_figures_exist_with_their_record(path):
    notebook = catalog.read(path)
    for figure, record in catalog.records(notebook, "teaching", ROOT / "figures").items():
        assert record is not None, f"figures/teaching/{figure}.png or .json is missing"
        assert record["notebook"] == notebook.name and record["size"] == "teaching"
        assert record["caption"] and record["data"], f"{figure} says neither what it shows nor from which data"
        assert all(claim["verdict"] in VERDICTS for claim in record["claims"])


@every_notebook
def test_figures_are_not_stale(path, monkeypatch):
    monkeypatch.delenv("LATENTKIT_FIGURES", raising=False)
    assert catalog.stale(catalog.read(path), "teaching") is None, "`make store` makes them again"


@pytest.mark.notebook
@every_notebook
def test_runs_at_quick_and_its_explorer_answers(path, tmp_path):
    nb = nbformat.read(path, as_version=4)
    nb.cells.append(nbformat.v4.new_code_cell(MOVES))
    longer = tmp_path / "moved" / path.name
    longer.parent.mkdir()
    nbformat.write(nb, longer)
    notebook = dataclasses.replace(catalog.read(path), path=longer)
    outcome = execute.execute(notebook, tmp_path, {"SIZE": "quick"})
    assert outcome.error is None, outcome.error
    assert outcome.records.keys() == set(notebook.figures)
    for figure, record in outcome.records.items():
        assert (tmp_path / "figures" / "quick" / f"{figure}.png").stat().st_size > 1000
        assert (record["size"], record["seed"]) == ("quick", 0)


def apart(stored: dict, again: dict, key: str) -> bool:
    """Say whether a number of a re-run is farther from the stored one than rounding explains."""
    a, b = stored[key], again[key]
    if a is None or b is None:
        return a is not b
    return abs(a - b) > max(RELATIVE * abs(a), OF_SPREAD * (stored["spread"] or 0), 1e-9)


@pytest.mark.verify
@every_notebook
def test_a_rerun_gives_the_stored_numbers(path):
    folder = os.environ.get("LATENTKIT_RERUN")
    if not folder:
        pytest.skip("no re-run to compare: `make verify` makes one and names it in LATENTKIT_RERUN")
    notebook = catalog.read(path)
    again = catalog.records(notebook, "teaching", Path(folder))
    if not any(again.values()):
        pytest.skip(f"{notebook.name} was not run again")
    for figure, stored in catalog.records(notebook, "teaching", ROOT / "figures").items():
        new = again[figure]
        assert stored and new, f"{figure} is missing"
        assert json.dumps(stored["preset"]) == json.dumps(new["preset"]), f"{figure} is stored from another preset"
        claims = {claim["id"]: claim for claim in new["claims"]}
        assert claims.keys() == {claim["id"] for claim in stored["claims"]}
        assert new["scores"].keys() == stored["scores"].keys()
        for claim in stored["claims"]:
            other = claims[claim["id"]]
            assert claim["verdict"] == other["verdict"], f"{claim['id']}: {claim['verdict']}, now {other['verdict']}"
            assert not apart(claim, other, "ours"), f"{claim['id']}: {claim['ours']}, now {other['ours']}"
        for name, score in stored["scores"].items():
            if score["unit"] == "s / s":  # of what the clock said in that run
                continue
            other = new["scores"][name]
            assert not apart(score, other, "value"), f"{figure}, {name}: {score['value']}, now {other['value']}"

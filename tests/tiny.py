"""A small project in a folder of its own: real notebooks of a second each, for the tests of the command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

NAME = "00_start_tiny"
PARAMETERS = 'SIZE = "teaching"\nSEED = 0\nOVERRIDES = {}\nSOURCE = "archive"\nRETRAIN = False\nWAIT = 0.0\nFAIL = -1'
SETUP = """import time
from matplotlib.figure import Figure
from latentkit.presets import preset
from latentkit.record import Run
P = preset("start", SIZE, **OVERRIDES)
run = Run("{name}", P, SEED, overrides=OVERRIDES)"""
SAVE = """time.sleep(WAIT)
if SEED == FAIL:
    raise ArithmeticError(f"no luck with seed {{SEED}}")
run.save(Figure(figsize=(1, 1)), "{figure}", "An empty figure.")
run.claim("tiny.even", "The seed is even.", SEED, rule="even", holds=SEED % 2 == 0, figure="{figure}")
run.score("latent_dim", P.latent_dim, "1", figure="{figure}")"""


def write_notebook(root: Path, name: str, figure: str, code: tuple[str, ...] = (), early: tuple[str, ...] = ()) -> Path:
    """Write a notebook that waits WAIT seconds, fails for SEED == FAIL, and else saves a figure with a claim.

    early, code: more cells, before and after the set-up.
    """
    cells = [
        new_markdown_cell("# Tiny"),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        *map(new_code_cell, early),
        new_code_cell(SETUP.format(name=name)),
        *map(new_code_cell, code),
        new_code_cell(SAVE.format(figure=figure)),
    ]
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"
    seconds = {"quick": 2, "teaching": 3, "paper": None}
    about = {"paper": "start", "title": "Tiny", "figures": [figure], "seconds": seconds}
    nb = new_notebook(cells=cells, metadata={"latentkit": about})
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)
    return path


def command(root: Path, *words: str, **more) -> subprocess.Popen:
    """Start the `latentkit` command on a project."""
    env = {k: v for k, v in os.environ.items() if k != "LATENTKIT_FIGURES"} | {"LATENTKIT_ROOT": str(root)}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "stdin": subprocess.DEVNULL} | more
    # A shell that runs the tests in the background has Ctrl-C ignored, and children inherit that.
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([sys.executable, "-m", "latentkit.runs", *words], env=env, **options)


def answer(root: Path, *words: str) -> tuple[int, str, str]:
    """Run the command to its end; return exit status, output and errors."""
    process = command(root, *words)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err

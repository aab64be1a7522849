"""The `latentkit train` command of maintainers: make shipped weights again, and put them into the archive.

Notebooks are trained side by side, each in a process of one thread: networks this small gain little by a second one.
"""

import multiprocessing
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from latentkit import catalog
from latentkit.atomic import replacing
from latentkit.catalog import BadRequest, Notebook, expected, runs_folder, shown
from latentkit.progress import Progress

LIMIT = 12 * 3600.0  # seconds that a cell may take: all its models on a slow machine


def train(
    which: Annotated[
        list[str], typer.Argument(metavar="PAPER|NOTEBOOK...", help='"lccvae" for all of a paper, or "12 13" for some')
    ],
    workers: Annotated[int, typer.Option("--workers", min=1, help="notebooks trained side by side")] = 2,
    timeout: Annotated[float, typer.Option("--timeout", help="seconds a cell may take, or half a day")] = LIMIT,
) -> None:
    """(maintainers) Train notebooks' models again at teaching and ship their weights in the archive.

    Of a paper, the notebooks that have shipped weights are trained again, the longest first.
    """
    spent = _spent()
    chosen = {nb.name: nb for each in which for nb in _owners(each, spent)}
    waiting = sorted(chosen.values(), key=lambda nb: -spent.get(nb.name, 0.0))
    failed = []
    with ProcessPoolExecutor(min(workers, len(waiting)), multiprocessing.get_context("spawn")) as pool:
        runs = {pool.submit(_train, nb, timeout, len(waiting) == 1): nb for nb in waiting}
        for run in as_completed(runs):
            try:
                outcome = run.result()
            except BrokenProcessPool:  # the pool takes the others down with it
                failed.append(runs[run].name)
                print(f"FAILED: {runs[run].name}: a process was killed (out of memory?) before it had finished; the "
                      "weights in the archive are untouched. Fewer --workers need less.", file=sys.stderr)  # fmt: skip
                continue
            if outcome.error:
                failed.append(runs[run].name)
                print(f"FAILED: {outcome.error}\nexecuted copy: {shown(outcome.copy)}", file=sys.stderr, flush=True)
            else:
                _ship(runs[run], outcome.seconds)
    if failed:
        raise typer.Exit(1)


def _owners(which: str, spent: dict[str, float]) -> list[Notebook]:
    """Return the notebook of a name, or those of a paper that have shipped weights."""
    paper = [nb for nb in catalog.notebooks() if nb.paper == which]
    if paper and not any(nb.name in spent for nb in paper):
        raise BadRequest(f"no notebook of {which} has shipped weights; name the notebook that is to make some")
    return [nb for nb in paper if nb.name in spent] or [catalog.find(which)]


def _spent() -> dict[str, float]:
    """Return how long each notebook with shipped weights took to train them [s]."""
    from latentkit.sources import archive

    spent: dict[str, float] = {}
    for entry in archive.manifest()["weights"].values():
        spent[entry["notebook"]] = max(spent.get(entry["notebook"], 0.0), entry["seconds"])
    return spent


def _made(nb: Notebook) -> Path:
    return runs_folder() / f"weights-{nb.name}" / "weights"


def _train(nb: Notebook, timeout: float, alone: bool):
    """Run one notebook such that it trains and keeps its models; return the outcome."""
    from latentkit.execute import execute

    made = _made(nb)
    shutil.rmtree(made.parent, ignore_errors=True)
    made.mkdir(parents=True)
    values = catalog.settle(nb, {"RETRAIN": "True", "SIZE": "teaching"})
    kept = {"LATENTKIT_WEIGHTS": str(made)}
    if not alone:  # two lines that are written over would write over each other
        print(f"{nb.name}: training", flush=True)
    with Progress(nb.name, expected(nb, "teaching")) if alone else nullcontext() as progress:
        on_cell = progress.at_cell if progress else None
        outcome = execute(nb, made.parent, values, environment=kept, timeout=timeout, on_cell=on_cell)
    names = sorted(name for name, _ in _files(nb))
    if not outcome.error and not names:
        outcome.error = f"{nb.name} trained nothing that it keeps; only notebooks with shipped weights can do this"
    if not outcome.error and len(set(names)) < len(names):
        outcome.error = f"{nb.name} trained weights of one name twice, which cannot both be shipped: {names}"
    return outcome


def _files(nb: Notebook) -> list[tuple[str, Path]]:
    """Return the weights that a notebook has kept, each with the name that it is shipped under."""
    from latentkit.models.weights import shipped_name

    return [(shipped_name(file.name), file) for file in sorted(_made(nb).glob("*.safetensors"))]


def _ship(nb: Notebook, seconds: float) -> None:
    """Put the weights that a notebook has kept into the archive."""
    from latentkit.sources import archive

    for name, file in _files(nb):
        target = archive.folder() / "weights" / name
        with replacing(target) as part:
            shutil.copyfile(file, part)
        archive.register_weights(target, notebook=nb.name, seconds=round(seconds))
        print(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB", flush=True)
    print(f"{nb.name}: {seconds:.0f} s", flush=True)

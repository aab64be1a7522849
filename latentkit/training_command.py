"""The `latentkit train` command of maintainers: make shipped weights again, and put them into the archive."""

import os
import shutil
import sys
from typing import Annotated

import typer

from latentkit import catalog
from latentkit.atomic import replacing
from latentkit.catalog import BadRequest, Notebook, expected, runs_folder, shown
from latentkit.progress import Progress

LIMIT = 12 * 3600.0  # seconds that a cell may take: all its models on a slow machine
THREADS = "2"  # what bounds on training are counted for; networks this small gain little by more


def train(
    which: Annotated[
        str, typer.Argument(metavar="PAPER|NOTEBOOK", help='"lccvae" for all of a paper, or "12" for one')
    ],
    timeout: Annotated[float, typer.Option("--timeout", help="seconds a cell may take, or half a day")] = LIMIT,
) -> None:
    """(maintainers) Train a notebook's models again at teaching and ship their weights in the archive.

    Of a paper, the notebooks that have shipped weights are trained again, one after the other.
    """
    from latentkit.sources import archive

    owners = {entry["notebook"] for entry in archive.manifest()["weights"].values()}
    paper = [nb for nb in catalog.notebooks() if nb.paper == which]
    if paper and not any(nb.name in owners for nb in paper):
        raise BadRequest(f"no notebook of {which} has shipped weights; name the notebook that is to make some")
    for nb in [nb for nb in paper if nb.name in owners] or [catalog.find(which)]:
        _ship(nb, timeout)


def _ship(nb: Notebook, timeout: float) -> None:
    """Run one notebook such that it trains, and put the weights that it keeps into the archive."""
    values = catalog.settle(nb, {"RETRAIN": "True", "SIZE": "teaching"})
    from latentkit.execute import execute
    from latentkit.models.weights import shipped_name
    from latentkit.sources import archive

    folder = runs_folder() / f"weights-{nb.name}"
    shutil.rmtree(folder, ignore_errors=True)
    made = folder / "weights"
    made.mkdir(parents=True)
    with Progress(nb.name, expected(nb, "teaching")) as progress:
        outcome = execute(
            nb,
            folder,
            values,
            environment={"LATENTKIT_WEIGHTS": str(made), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", THREADS)},
            timeout=timeout,
            on_cell=progress.at_cell,
        )
    if outcome.error:
        print(f"FAILED: {outcome.error}\nexecuted copy: {shown(outcome.copy)}", file=sys.stderr)
        raise typer.Exit(1)
    files = sorted(made.glob("*.safetensors"))
    if not files:
        raise BadRequest(f"{nb.name} trained nothing that it keeps; only notebooks with shipped weights can do this")
    shipped = archive.folder() / "weights"
    names = [shipped_name(file.name) for file in files]
    if len(set(names)) < len(names):
        raise BadRequest(f"{nb.name} trained weights of one name twice, which cannot both be shipped: {sorted(names)}")
    for file, name in zip(files, names, strict=True):
        target = shipped / name
        with replacing(target) as part:
            shutil.copyfile(file, part)
        archive.register_weights(target, notebook=nb.name, seconds=round(outcome.seconds))
        print(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB")

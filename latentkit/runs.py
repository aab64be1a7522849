"""The `latentkit` command: what there is, one run, all stale figures, sweeps, the archive.

Papermill, Dask and the sources load inside the commands that need them: `latentkit list` answers at once.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from latentkit import archive_command, catalog, provenance, training_command
from latentkit.catalog import BadRequest, Notebook, expected, runs_folder, shown
from latentkit.progress import Progress

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Run the notebooks of latentkit: one, all that are stale, or many.",
)
app.add_typer(archive_command.app, name="archive")
app.command("train")(training_command.train)

Which = Annotated[str, typer.Argument(metavar="NOTEBOOK", help='number or name: "11", "11_lccvae_fragmentation"')]
Size = Annotated[str | None, typer.Option("--size", help="quick, teaching or paper")]
Timeout = Annotated[float | None, typer.Option("--timeout", help="seconds a cell may take")]


def main() -> None:
    """Run the command; a bad request is told in words, without a traceback."""
    try:
        app(args=_joined(sys.argv[1:]))
    except BadRequest as error:
        print(f"latentkit: {error}", file=sys.stderr)
        sys.exit(2)


@app.command("list")
def list_notebooks() -> None:
    """Show papers, notebooks, figures, minutes at each size, and the last verdicts."""
    paper = None
    for nb in catalog.notebooks():
        if nb.paper != paper:
            paper = nb.paper
            print(f"{paper}")
        print(f"  {nb.name}: {nb.title}")
        minutes = ", ".join(f"{size} {_minutes(nb.seconds.get(size))}" for size in catalog.SIZES)
        print(f"      figures {', '.join(nb.figures) or 'none'}; minutes {minutes}")
        for size in catalog.SIZES:
            records = catalog.records(nb, size)
            if size == "teaching" or any(records.values()):
                why = catalog.stale(nb, size)
                state = f"stale ({why})" if why else "fresh"
                print(f"      {size}: {state}; claims {_counts(catalog.verdicts(records))}")
    if paper is None:
        print(f"no notebooks in {catalog.root() / 'notebooks'}")


@app.command()
def run(
    notebook: Which,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", metavar="NAME VALUE", help="set a parameter; repeatable")
    ] = None,
    size: Size = None,
    timeout: Timeout = None,
) -> None:
    """Run one notebook with parameters of your own, into a folder of its own under runs/."""
    nb = catalog.find(notebook)
    values = catalog.settle(nb, _given(parameter, size))
    chosen = values.get("SIZE", nb.parameters.get("SIZE", ""))
    key = catalog.run_key(nb, values, provenance.inputs_key(nb.name, chosen))
    folder = runs_folder() / f"{nb.name}-{key}"
    from latentkit.execute import execute

    with Progress(nb.name, expected(nb, chosen)) as progress:
        outcome = execute(nb, folder, values, timeout=timeout, on_cell=progress.at_cell)
    print_claims(outcome.claims)
    print(f"{outcome.seconds:.0f} s; executed copy: {shown(outcome.copy)}")
    if outcome.error:
        print(f"FAILED: {outcome.error}", file=sys.stderr)
        raise typer.Exit(1)
    print(f"figures: {shown(folder / 'figures')}")


@app.command()
def figures(
    size: Size = "teaching",
    notebooks: Annotated[str, typer.Option("--notebooks", help='only these: "10 11"')] = "",
    force: Annotated[bool, typer.Option("--force", help="also what is fresh")] = False,
    store: Annotated[bool, typer.Option("--store", help="keep the outputs in the notebooks (maintainers)")] = False,
    timeout: Timeout = None,
) -> None:
    """Run every stale notebook, one after the other, and save its figures under figures/<size>/.

    Stale means: a figure is missing, or its notebook's code, the package files that it imports, the presets or the
    archive have changed since. At teaching a notebook runs as it is stored.
    """
    if size not in catalog.SIZES:
        raise BadRequest(f"size is {size!r}; expected one of {', '.join(catalog.SIZES)}")
    if store and size != "teaching":
        raise BadRequest(f"notebooks are stored with the outputs of size teaching, not {size}; leave out --size")
    chosen = [catalog.find(which) for which in notebooks.replace(",", " ").split()] or catalog.notebooks()
    reasons = {nb.name: "asked for" if force else catalog.stale(nb, size) for nb in chosen}
    waiting = sum((expected(nb, size) or 0) for nb in chosen if reasons[nb.name])
    print(f"{sum(map(bool, reasons.values()))} of {len(chosen)} notebooks to run at {size}, about {waiting:.0f} s")
    failed = []
    for place, nb in enumerate(chosen, 1):
        head = f"[{place}/{len(chosen)}] {nb.name}"
        if not reasons[nb.name]:
            counts = _counts(catalog.verdicts(catalog.records(nb, size)))
            print(f"{head}: fresh; claims {counts} (--force, or FORCE=1 with make, runs it anyway)", flush=True)
            continue
        error = _figures_of(nb, size, head, reasons[nb.name], store, timeout)
        if error:
            failed.append(nb.name)
            print(f"{head}: FAILED: {error}", file=sys.stderr, flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        raise typer.Exit(1)


def _figures_of(nb: Notebook, size: str, head: str, why: str, store: bool, timeout: float | None) -> str | None:
    """Run one notebook for its figures, print a line, and return what went wrong."""
    from latentkit import execute

    own = {"SIZE": size} if nb.parameters.get("SIZE") != size else {}
    about, made = expected(nb, size), runs_folder() / f"figures-{size}" / "figures"
    with Progress(head, about) as progress:
        outcome = execute.execute(
            nb,
            runs_folder() / f"figures-{size}",
            own,
            figures=made,
            timeout=timeout,
            on_cell=progress.at_cell,
        )
    missing = [figure for figure in nb.figures if figure not in outcome.records]
    if not outcome.error and missing:
        outcome.error = f"it ran through, but saved no {', '.join(missing)}, which its metadata promise"
    if outcome.error:
        return f"{outcome.error}\nexecuted copy: {shown(outcome.copy)}"
    execute.publish(nb, made / size, catalog.figures_root() / size)
    if store:
        execute.store(outcome.copy, nb.path)
    promised = f", expected {about:.0f} s" if about else ""
    claims = _counts(catalog.verdicts(catalog.records(nb, size)))
    print(f"{head}: {outcome.seconds:.0f} s{promised}; claims {claims} ({why})", flush=True)
    return None


@app.command()
def sweep(
    notebook: Which,
    grid: Annotated[list[str], typer.Option("--grid", metavar="NAME=A,B,C", help="values to try; repeatable")],
    fixed: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="one value; repeatable")
    ] = None,
    size: Size = None,
    workers: Annotated[int, typer.Option("--workers", help="processes on this machine")] = 2,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="a Dask cluster: tcp://host:8786")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="results table, .csv or .parquet")] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", metavar="NAME", help="gather rows the runs keep; repeatable")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="keep what these tables hold of other runs")] = False,
    retries: Annotated[int, typer.Option("--retries", help="more tries for a run that fails")] = 0,
    timeout: Timeout = None,
) -> None:
    """Run one notebook at every point of a grid, on Dask; finished runs are not run again.

    Names are parameters of the notebook (SEED, SIZE, ...) or fields of its preset (latent_dim, ...). With --table the
    rows that each finished run kept under a name (`latentkit.tables.keep`) become figures/<size>/NAME.csv; with --merge
    they are added to it, in place of rows with the same keys.
    """
    nb = catalog.find(notebook)
    from latentkit import grid as grids
    from latentkit import results
    from latentkit import sweep as sweeps

    pairs = [("SIZE", size)] if size else []
    points = grids.plan(nb, _split(grid, "--grid"), pairs + _split(fixed or [], "--set"))
    path = out or runs_folder() / f"{nb.name}-{grids.grid_key(points)}.csv"
    made = results.Table(nb, points, path, runs_folder(), tuple(table or ()), merge=merge)
    try:
        failed = sweeps.sweep(nb, points, made, workers=workers, scheduler=scheduler, retries=retries, timeout=timeout)
        print(f"results: {shown(made.path)}")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:  # also what a stopped sweep finished
        for name in made.names:
            print(made.gather(name))
    if failed:
        raise typer.Exit(1)


def print_claims(claims: list[dict]) -> None:
    """Print each claim's line."""
    from latentkit.record import describe

    for claim in claims:
        print(describe(claim))


def _joined(arguments: list[str]) -> list[str]:
    """Return arguments with each `-p NAME VALUE` as `-p NAME=VALUE`: typer takes one value an option."""
    joined, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        joined.append(word)
        if word in ("-p", "--parameter") and rest:
            name = rest.pop(0)
            joined.append(name if "=" in name or not rest else f"{name}={rest.pop(0)}")
    return joined


def _split(pairs: list[str], option: str) -> list[tuple[str, str]]:
    for pair in pairs:
        if "=" not in pair:
            raise BadRequest(f"{option} {pair!r} gives a name without a value; write {option} NAME=VALUE")
    return [tuple(pair.split("=", 1)) for pair in pairs]


def _given(pairs: list[str] | None, size: str | None) -> dict[str, str]:
    return ({"SIZE": size} if size else {}) | dict(_split(pairs or [], "-p"))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 60:.1f}"


if __name__ == "__main__":
    main()

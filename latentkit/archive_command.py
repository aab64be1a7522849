"""The `latentkit archive` commands: make the climate archive again, or hold it against its manifest."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from latentkit import catalog
from latentkit.catalog import BadRequest

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Check the climate archive, or make it.")


@app.command("build")
def build(
    out: Annotated[Path | None, typer.Option(help="folder to build in, runs/archive if not given; resumes")] = None,
    members: Annotated[int, typer.Option("--members")] = 10,
    days: Annotated[int | None, typer.Option("--days", help="days of each run, from its own start")] = None,
    years: Annotated[int | None, typer.Option("--years", help="years of each run, from 1979-01-01")] = None,
    processes: Annotated[int, typer.Option("--processes", help="members computed side by side")] = 1,
) -> None:
    """Compute the archive again with the climate model (extra gcm), and compare its first days."""
    if (days is None) == (years is None):
        raise BadRequest("give the length as --days or as --years, one of the two")
    from latentkit.sources import climate_check, climate_model

    out = out or catalog.root() / "runs" / "archive"
    try:
        climate_model.build(out, members, days=days, years=years, progress=True, processes=processes)
        print(climate_check.compare(out))
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        print(f"latentkit: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@app.command("verify")
def verify() -> None:
    """Hold every file of the archive against the manifest."""
    from latentkit.sources import archive

    try:
        archive.verify()
    except (OSError, RuntimeError) as error:
        print(f"latentkit: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"every file in {os.path.relpath(archive.folder())} is what the manifest says")

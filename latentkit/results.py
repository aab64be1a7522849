"""The results of a sweep: a json a run in a folder of its own, and one table made from them."""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from latentkit import provenance
from latentkit.catalog import BadRequest, Notebook
from latentkit.grid import Point, cell


class Table:
    """Keep the results of a sweep: a json a run in its own folder, and the table made from them.

    path: the table, .csv or .parquet (which needs pyarrow); folder: takes a folder for each run.
    """

    def __init__(self, notebook: Notebook, points: list[Point], path: Path, folder: Path):
        if path.suffix not in (".csv", ".parquet"):
            raise BadRequest(f"the results table is {path.name!r}; expected a name that ends in .csv or .parquet")
        if path.suffix == ".parquet":
            try:
                import pyarrow  # noqa: F401
            except ImportError as error:
                raise BadRequest("a .parquet table needs pyarrow: pip install pyarrow, or write .csv") from error
        self.notebook, self.points, self.path, self.folder = notebook, points, path, folder

    def home(self, point: Point) -> Path:
        """Return the folder of one run: its executed copy, figures and result."""
        return self.folder / f"{self.notebook.name}-{point.key}"

    def result(self, point: Point) -> dict | None:
        """Return what is known of a run, or None where it has not ended yet."""
        try:
            return json.loads((self.home(point) / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def finished(self, point: Point) -> bool:
        """Say whether a run has ended well."""
        result = self.result(point)
        return result is not None and result["status"] == "done"

    def keep(self, point: Point, result: dict, files: dict[str, bytes]) -> None:
        """Write what a run made, its result last, and the table anew."""
        home = self.home(point)
        for name, content in files.items():
            _write(home / name, content)
        _write(home / "result.json", json.dumps(result, indent=1).encode())
        self.write()

    def write(self) -> None:
        """Write the table, and beside it a json that says how it was made."""
        import pandas as pd

        rows = [self._row(point) for point in self.points]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        last = ("error", "copy")
        frame = pd.DataFrame(rows, columns=[c for c in columns if c not in last] + list(last))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        frame.to_csv(part, index=False) if self.path.suffix == ".csv" else frame.to_parquet(part, index=False)
        os.replace(part, self.path)
        about = {
            "notebook": self.notebook.name,
            "grid": [point.label for point in self.points],
            "inputs": sorted({point.inputs for point in self.points if point.inputs}),
            **provenance.git_state(self.notebook.name),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest(),
        }
        _write(self.path.with_name(self.path.name + ".json"), json.dumps(about, indent=1).encode())

    def _row(self, point: Point) -> dict:
        row = {"run": point.key, **{name: cell(value) for name, value in point.label.items()}}
        result = self.result(point)
        if result is None:
            return row | {"status": "not run"}
        row |= {"status": result["status"], "seconds": result["seconds"]}
        for figure, record in result["records"].items():
            for claim in record.get("claims", ()):
                row |= {f"verdict:{claim['id']}": claim["verdict"], f"ours:{claim['id']}": claim["ours"]}
            for name, score in record.get("scores", {}).items():
                column = f"score:{name}"
                row[f"score:{figure}/{name}" if column in row else column] = score["value"]
        copy = self.home(point) / self.notebook.path.name
        shown = os.path.relpath(copy, self.path.parent) if copy.exists() else None
        return row | {"error": (result["error"] or "").split("\n")[0] or None, "copy": shown}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)

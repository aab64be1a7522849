"""The results of a sweep: a json a run in a folder of its own, one table made from them, and tables of their rows."""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from latentkit import merging, provenance, tables
from latentkit.atomic import replacing
from latentkit.catalog import BadRequest, Notebook
from latentkit.grid import Point, cell, named


class Table:
    """Keep the results of a sweep: a json a run in its own folder, and the table made from them.

    path: the table, .csv or .parquet (which needs pyarrow); folder: takes a folder for each run; names: of the tables
    to gather from rows that the runs kept (`tables.keep`); then all runs are of one size; merge: gather into the rows
    that are stored (`merging`), not in their place.
    """

    def __init__(
        self,
        notebook: Notebook,
        points: list[Point],
        path: Path,
        folder: Path,
        names: tuple[str, ...] = (),
        *,
        merge: bool = False,
    ):
        if path.suffix not in (".csv", ".parquet"):
            raise BadRequest(f"the results table is {path.name!r}; expected a name that ends in .csv or .parquet")
        if path.suffix == ".parquet":
            try:
                import pyarrow  # noqa: F401
            except ImportError as error:
                raise BadRequest("a .parquet table needs pyarrow: pip install pyarrow, or write .csv") from error
        if merge and not names:
            raise BadRequest("--merge adds to a table that --table names, and none is named; add --table NAME")
        self.notebook, self.points, self.path, self.folder, self.merge = notebook, points, path, folder, merge
        sizes = list(dict.fromkeys(str(self._full(point).get("SIZE")) for point in points))
        if names and len(sizes) > 1:
            raise BadRequest(f"--table takes runs of one size, and these are {', '.join(sizes)}; sweep each by itself")
        self.size = sizes[0]
        try:
            self.names = tuple(dict.fromkeys(map(tables.check_name, names)))
        except ValueError as error:
            raise BadRequest(f"--table: {error}") from error

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
        with replacing(self.path) as part:
            frame.to_csv(part, index=False) if self.path.suffix == ".csv" else frame.to_parquet(part, index=False)
        self._describe(self.path, notebook=self.notebook.name)

    def gather(self, name: str) -> str:
        """Write the rows of the finished runs into figures/<size>/NAME.csv in grid order; return a line on it.

        Raises BadRequest where a run kept no such rows, or where presets or data differ though the grid does not, and
        as `merging.merged` does.
        """
        import pandas as pd

        done = [point for point in self.points if self.finished(point)]
        told = f"{len(done)} of {len(self.points)} runs finished"
        if not done:
            return f"table {name}: {told}; nothing to gather"
        frames, about = [], []
        for point in done:
            content, depends = tables.rows_files(self.home(point) / "figures" / self.size, name)
            try:
                frames.append(pd.read_csv(content, dtype=str, keep_default_na=False))  # text, so that no digit is lost
                about.append(json.loads(depends.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                told = f"the run {named(point)} kept no rows called {name!r}; `tables.keep` in the notebook does"
                raise BadRequest(told) from error
        making = {"notebook": self.notebook.name, "table": name, **self._shared(name, about)}
        path = provenance.project_root() / "figures" / self.size / f"{name}.csv"
        frame = pd.concat(frames, ignore_index=True)
        if self.merge:
            keys, varied = merging.shared_keys(name, about), about[0]["preset"].keys() - making["preset"].keys()
            frame, making = merging.merged(path, frame.fillna(""), keys, making, varied)
        _write(path, frame.to_csv(index=False, lineterminator="\n").encode())
        missing = [_portable(point.label) for point in self.points if point not in done]
        self._describe(path, **making, runs=len(done), missing=missing)
        return f"table {name}: {told}; {len(frame)} rows in {os.path.relpath(path)}"

    def _shared(self, name: str, about: list[dict]) -> dict:
        """Return what runs share: the preset without the fields that the grid varies or that rows name, and the data.

        Where the grid varies `SOURCE` or fields, data may differ, and are None.
        """
        given = [self._full(point).get("OVERRIDES", {}) for point in self.points]
        varied = {name for one in given for name in one if any(name not in o or o[name] != one[name] for o in given)}
        preset, data = about[0]["preset"], about[0]["data"]
        differ = sorted(f for f in preset if f not in varied and any(a["preset"].get(f) != preset[f] for a in about))
        alike = all(tables.data_sums(a["data"]) == tables.data_sums(data) for a in about)
        if not alike and not varied and len({self._full(point).get("SOURCE") for point in self.points}) == 1:
            differ.append("their data")
        if differ:
            raise BadRequest(f"table {name}: the runs differ in {', '.join(differ)}, which the grid does not vary")
        told = varied.union(*(one.get("keys") or [] for one in about))  # each row says these of itself
        return {"preset": {f: v for f, v in preset.items() if f not in told}, "data": data if alike else None}

    def _full(self, point: Point) -> dict:
        return self.notebook.parameters | point.values

    def _describe(self, path: Path, **more) -> None:
        """Write beside a table the json that says how it was made."""
        about = {
            **more,
            "grid": [_portable(point.label) for point in self.points],
            "inputs": sorted({point.inputs for point in self.points if point.inputs}),
            **provenance.git_state(self.notebook.name),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        _write(path.with_name(path.name + ".json"), json.dumps(about, indent=1).encode() + b"\n")

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


def _portable(label: dict) -> dict:
    """Return the label of a point without the folders of this machine."""
    return {k: os.path.basename(v) if isinstance(v, str) and os.path.isabs(v) else v for k, v in label.items()}


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(content)

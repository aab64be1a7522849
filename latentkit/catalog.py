"""The catalog of notebooks: what is there, what each takes, what it made, and whether that is still true.

Reads notebooks and json files and nothing heavier, since `latentkit list` answers from here.
"""

import ast
import difflib
import glob
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from latentkit import presets, provenance

SIZES = presets.SIZES
KINDS = {bool: "truth value", int: "whole number", float: "number", dict: "dict", list: "list", tuple: "list"}


class BadRequest(ValueError):
    """Say what was asked for, what there is, and the nearest to it."""


@dataclass(frozen=True)
class Notebook:
    """Describe one notebook: where it is, what it makes and which parameters it takes, with their defaults."""

    name: str
    path: Path
    paper: str
    title: str
    figures: tuple[str, ...]
    seconds: dict  # expected seconds by size
    parameters: dict  # default values of the cell tagged `parameters`

    @property
    def number(self) -> str:
        """Return the digits the name begins with."""
        return self.name.split("_")[0]


def root() -> Path:
    """Return the project's folder. Raises BadRequest where there is none to be found."""
    try:
        return provenance.project_root()
    except FileNotFoundError as error:
        raise BadRequest(str(error)) from error


def notebooks() -> list[Notebook]:
    """Return all notebooks of the project in the order of their numbers."""
    return [read(path) for path in sorted((root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))]


def read(path: Path) -> Notebook:
    """Return the description of one notebook file.

    Raises BadRequest, naming the file, where it is no notebook, or has no `latentkit` metadata or parameters cell.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = content["cells"]
    except (ValueError, KeyError) as error:
        raise BadRequest(f"{path.name} is not a notebook that can be read ({error}); restore it with git") from error
    about = content.get("metadata", {}).get("latentkit")
    if not about:
        raise BadRequest(f"{path.name} has no metadata 'latentkit' (paper, title, figures, seconds); add them")
    return Notebook(
        path.stem,
        path,
        about["paper"],
        about.get("title", ""),
        tuple(about.get("figures", ())),
        about.get("seconds", {}),
        _parameters(path.name, cells),
    )


def find(which: str) -> Notebook:
    """Return the notebook of a number ("11") or name ("11_lccvae_fragmentation", with or without .ipynb)."""
    wanted = Path(which).name.removesuffix(".ipynb")
    files = sorted((root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    for path in files:
        if wanted in (path.stem, path.stem.split("_")[0]) or wanted.zfill(2) == path.stem.split("_")[0]:
            return read(path)
    raise BadRequest(_unknown("notebook", wanted, [path.stem for path in files]))


def settle(notebook: Notebook, given: dict[str, str]) -> dict:
    """Return the parameters to pass on, read from text and checked against the notebook's own.

    given: text by name, such as {"SEED": "3", "OVERRIDES": '{"latent_dim": 2}'}.

    Raises BadRequest for an unknown name, a value of another type, an unknown size or a bad override.
    """
    for name in given:
        if name not in notebook.parameters:
            raise BadRequest(_unknown(f"parameter of {notebook.name}", name, list(notebook.parameters)))
    values = {name: value_of(name, text, notebook.parameters[name]) for name, text in given.items()}
    check_preset(notebook, values)
    paths = {name: _found_from_here(v) for name, v in values.items() if isinstance(v, str) and name != "SIZE"}
    return values | paths


def check_preset(notebook: Notebook, values: dict) -> None:
    """Raise BadRequest where the size or the overrides in `values` are none of the notebook's presets."""
    full = notebook.parameters | values
    if notebook.paper in presets.PRESETS and "SIZE" in full:
        try:
            presets.preset(notebook.paper, full["SIZE"], **full.get("OVERRIDES", {}))
        except (ValueError, TypeError) as error:
            raise BadRequest(f"{notebook.name}: {error}") from error


def value_of(name: str, text: str, default):
    """Return the value that a text stands for, where `default` tells the type.

    JSON and Python literals are read; everything else is text, and so is all that replaces a text.
    """
    if isinstance(default, str):
        return text
    value = literal(text)
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits = (
        default is None
        or type(value) is type(default)
        or (isinstance(default, float) and whole)
        or (isinstance(default, list | tuple) and isinstance(value, list | tuple))
    )
    if not fits:
        raise BadRequest(
            f"{name} is {text!r}; expected a {KINDS.get(type(default), 'value')} such as {default!r}"
            + (""" (in quotes for the shell: '{"latent_dim": 2}')""" if isinstance(default, dict) else "")
        )
    return value


def literal(text: str):
    """Return the JSON or Python value written in a text, or the text itself."""
    for reader in (json.loads, ast.literal_eval):
        try:
            return reader(text)
        except (ValueError, SyntaxError):
            continue
    return text


def run_key(notebook: Notebook, values: dict, inputs: str | None) -> str:
    """Return a short key over all that a run depends on: its inputs and every parameter, given or not.

    inputs: the key over code, presets and archive (`provenance.inputs_key`) at the run's size. A `SOURCE` on disk
    counts with the size and time of its files, so that other data make another run.
    """
    full = notebook.parameters | values
    named = [part.strip() for part in str(full.get("SOURCE", "")).split(";")]  # a pair has a semicolon
    files = [f for part in named if os.path.isabs(part) for f in sorted(glob.glob(part))]
    stamps = [(f, os.stat(f).st_size, os.stat(f).st_mtime_ns) for f in files]
    text = json.dumps([inputs, full, stamps], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def figures_root() -> Path:
    """Return the folder that figures are saved under: LATENTKIT_FIGURES, or `figures/` of the project."""
    return Path(os.environ.get("LATENTKIT_FIGURES") or root() / "figures")


def records(notebook: Notebook, size: str, root: Path | None = None) -> dict[str, dict | None]:
    """Return the json beside each of the notebook's figures, None where the json or the picture is missing."""
    folder = (root or figures_root()) / size
    found: dict[str, dict | None] = {}
    for figure in notebook.figures:
        path = folder / f"{figure}.json"
        try:
            found[figure] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found[figure] = None
        if not path.with_suffix(".png").is_file():
            found[figure] = None
    return found


def stale(notebook: Notebook, size: str) -> str | None:
    """Return why the notebook should be run again at a size, or None where its figures are what it would make."""
    inputs = provenance.inputs_key(notebook.name, size)
    for figure, record in records(notebook, size).items():
        if record is None:
            return f"{figure} is missing"
        if record.get("inputs") != inputs:
            return f"{figure} was made from other code, presets or archive"
        data = [str(entry.get("name")) for entry in record.get("data", ())]
        own = ("archive", "made:")  # the default data: packaged, or computed by the notebook itself
        if notebook.parameters.get("SOURCE") == "archive" and not all(d.startswith(own) for d in data):
            return f"{figure} was made from {', '.join(data)}"
        for name, key in (("SEED", "seed"), ("OVERRIDES", "overrides")):
            if name in notebook.parameters and record.get(key) != notebook.parameters[name]:
                return f"{figure} was made with {name} = {record.get(key)!r}"
    return None


def verdicts(found: dict[str, dict | None]) -> dict[str, int]:
    """Return how many claims of some records are held, not held and not tested."""
    counts = {"held": 0, "not held": 0, "not tested": 0}
    for record in filter(None, found.values()):
        for claim in record.get("claims", ()):
            counts[claim["verdict"]] += 1
    return counts


def nearest(found: str, known: list[str]) -> str:
    """Return "; did you mean X?" for the name nearest to `found`, or nothing."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(found.lower(), list(by_lower), n=1)
    return f"; did you mean {by_lower[near[0]]}?" if near else "."


def _unknown(what: str, found: str, known: list[str]) -> str:
    return f"unknown {what}: {found!r}{nearest(found, known)} Known: {', '.join(known) or 'none'}."


def _found_from_here(source: str) -> str:
    """Return absolute paths for what lies in the user's working folder; the kernel works in another."""
    if ";" in source:  # a pair
        return "; ".join(_found_from_here(part.strip()) for part in source.split(";"))
    path = Path(source).expanduser()
    named = source == "archive" or source.startswith("archive:")
    return str(Path.cwd() / path) if not named and glob.glob(str(path)) else source


def _parameters(name: str, cells: list[dict]) -> dict:
    for cell in cells:
        if "parameters" in cell.get("metadata", {}).get("tags", ()):
            break
    else:
        raise BadRequest(f"{name} has no cell tagged 'parameters'; tag the one that sets SIZE, SEED, ...")
    values = {}
    for statement in ast.parse("".join(cell["source"])).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                values[statement.targets[0].id] = ast.literal_eval(statement.value)
            except ValueError as error:
                target = statement.targets[0].id
                raise BadRequest(f"{name} sets {target} to an expression; parameters are literals") from error
    return values


def runs_folder() -> Path:
    """Return the folder of executed copies and results, which git ignores."""
    return root() / "runs"


def expected(nb: Notebook, size: str) -> float | None:
    """Return the seconds that a run should take by the notebook's metadata, else those it took last."""
    took = [record.get("seconds") or 0 for record in filter(None, records(nb, size).values())]
    return nb.seconds.get(size) or max(took, default=None)


def shown(path: Path) -> str:
    """Return a path as seen from the working folder."""
    return os.path.relpath(path)

"""Where a run stands: the project's folder, the commit it is made from, and a key over everything it depends on."""

import ast
import dataclasses
import functools
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def project_root() -> Path:
    """Return the folder that holds `notebooks/` and `latentkit/`.

    The environment variable LATENTKIT_ROOT is taken first, then the working folder and its parents, then the folder
    this file was installed from.

    Raises FileNotFoundError where none of them is a checkout.
    """
    named = os.environ.get("LATENTKIT_ROOT")
    if named:
        return Path(named).resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents, PACKAGE.parent):
        if (folder / "notebooks").is_dir() and (folder / "latentkit" / "__init__.py").is_file():
            return folder
    raise FileNotFoundError(
        "no project folder (one with notebooks/ and latentkit/) above the working folder; "
        "change into a checkout of latentkit or name it in LATENTKIT_ROOT"
    )


def code_cells(path: Path) -> list[str]:
    """Return the source of each code cell of a notebook file."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def imported_modules(source: str) -> set[str]:
    """Return the dotted names of the latentkit modules that a piece of Python source imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "latentkit"}


def package_files(sources: list[str]) -> list[Path]:
    """Return the package files that some source imports, directly or through one another, sorted."""
    wanted = set().union(*map(imported_modules, sources)) if sources else set()
    seen: dict[str, Path] = {}
    while wanted:
        name = wanted.pop()
        stem = PACKAGE.joinpath(*name.split(".")[1:])
        path = next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()), None)
        if path is None or name in seen:
            continue
        seen[name] = path
        wanted |= _imports_of(path, path.stat().st_mtime_ns) - seen.keys()
    return sorted(set(seen.values()))


@functools.cache
def _imports_of(path: Path, changed: int) -> frozenset[str]:
    """Return what a file imports; `changed`, its time stamp, keeps an answer from outliving the text it is of."""
    return frozenset(imported_modules(path.read_text(encoding="utf-8")))


def inputs_key(notebook: str, size: str) -> str | None:
    """Return a sha256 over all that a figure of `notebook` at `size` depends on, or None for no such notebook.

    Taken in: the code cells, the package files they import, the presets they name, and what the archive's manifest says
    of the data and of the notebook's own weights.
    """
    path = project_root() / "notebooks" / f"{notebook}.ipynb"
    if not path.is_file():
        return None
    cells = [_without_magics(cell) for cell in code_cells(path)]
    digest = hashlib.sha256(f"{notebook}/{size}".encode())
    for text in cells:
        digest.update(b"\0" + text.encode())
    named = _presets(cells, size)
    for file in package_files(cells):
        if named and file.parent.name == "presets":  # values count: another paper's are none of its business
            continue
        digest.update(b"\0" + file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    digest.update(b"\0" + json.dumps([named, _archive(notebook, cells)], sort_keys=True).encode())
    return digest.hexdigest()


def git_state(notebook: str) -> dict:
    """Return {"commit", "dirty"} of the project: dirty where the package or the notebook's own code is uncommitted.

    Figures and the outputs stored in notebooks do not count: making them is what a run is for.
    """
    root = project_root()
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    changed = _git(root, "status", "--porcelain", "--", "latentkit", "pyproject.toml", "constraints.txt")
    name = f"notebooks/{notebook}.ipynb"
    stored = _git(root, "show", f"HEAD:./{name}")
    here = root / name
    same = stored is not None and here.is_file() and _sources(stored) == _sources(here.read_text(encoding="utf-8"))
    return {"commit": commit.strip(), "dirty": bool(changed) or not same}


def _presets(cells: list[str], size: str) -> dict:
    """Return the values of the presets that cells ask for by name, at a size; none where there is no such size."""
    from latentkit import presets

    slugs = set(re.findall(r'\bpreset\(\s*"(\w+)"', "\n".join(cells))) & presets.PRESETS.keys()
    if size not in presets.SIZES:
        return {}
    return {slug: dataclasses.asdict(presets.preset(slug, size)) for slug in slugs}


def _archive(notebook: str, cells: list[str]) -> list:
    """Return the checksums of the packaged data, and of the weights that a notebook made or names in its cells."""
    manifest = PACKAGE / "archive" / "manifest.json"
    if not manifest.is_file():
        return []
    try:
        listed = json.loads(manifest.read_text(encoding="utf-8"))
        listed["files"]
    except (ValueError, KeyError):  # `sources.archive` says so where data are opened; here it is one more state
        return ["damaged"]
    code = "\n".join(cells)
    every = listed.get("weights", {}).items()
    own = {name: entry for name, entry in every if entry.get("notebook") == notebook or f'"{name}"' in code}
    return [{name: entry["sha256"] for name, entry in part.items()} for part in (listed["files"], own)]


def _sources(text: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"]]


@functools.cache
def _has_git() -> bool:
    from shutil import which

    return which("git") is not None


def _git(root: Path, *arguments: str) -> str | None:
    if not _has_git():
        return None
    done = subprocess.run(("git", *arguments), cwd=root, capture_output=True, encoding="utf-8")
    return done.stdout if done.returncode == 0 else None


def _without_magics(cell: str) -> str:
    """Return the cell without lines that IPython alone understands."""
    return "\n".join(line for line in cell.splitlines() if not line.lstrip().startswith(("%", "!")))

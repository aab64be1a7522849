"""One set of dependencies, said three times: pyproject.toml, environment.yml, constraints.txt."""

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

CONDA = {"torch": "pytorch", "playwright": "playwright-python"}  # other names on conda-forge
IMPORTED = {"scikit-learn": "sklearn", "pot": "ot", "netcdf4": "netCDF4"}  # other names in Python
# Declared although nothing imports them, and why.
USED_OTHERWISE = {
    "netcdf4": "xarray's engine for the archive",
    "h5netcdf": "xarray's engine for files netcdf4 cannot open",
    "dask": "xarray opens many files at once with it; distributed is built on it",
    "ipykernel": "runs the notebooks",
    "jupyterlab": "make lab",
    "pytest-xdist": "make test",
    "pytest-timeout": "stops a test that hangs",
    "pytest-benchmark": "make bench",
    "nbval": "make test, make verify",
    "ruff": "tests/test_style.py",
    "eccodes": "what cfgrib reads with",
    "zarr": "xarray's engine for Zarr",
}
# Imported although nothing declares them, and why.
COMES_WITH = {
    "jupyter_client": "nbclient",
    "nbformat": "nbclient",
    "packaging": "pytest",
    "IPython": "ipykernel",
    "pyarrow": "the user's own: only for --out table.parquet",
    "psutil": "distributed",
    "jax": "jcm",
}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> dict[str, Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    return {plain((r := Requirement(line)).name): r for line in lines}


def bounds(text: str) -> set[str]:
    return {part.strip() for part in text.split(",") if part.strip()}


def conda() -> dict[str, set[str]]:
    """Return the bounds in environment.yml by conda-forge's names, of what does not come by pip."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8").split("dependencies:")[1]
    lines = re.findall(r"^  - ([\w-]+) ?([<>=!].*)?$", text, re.MULTILINE)
    return {name: bounds(spec) for name, spec in lines}


def pins() -> dict[str, list[str]]:
    """Return the pinned versions by name; more than one where they differ between Pythons or platforms."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, version = line.partition(";")[0].partition("==")
            found.setdefault(plain(name.strip()), []).append(version.strip())
    return found


def test_conda_has_the_same_names_and_bounds():
    ours = {CONDA.get(name, name): bounds(str(r.specifier)) for name, r in declared("test").items()}
    theirs = conda()
    assert theirs.pop("python") == bounds(PROJECT["requires-python"])
    assert theirs.pop("pip") == set()
    assert theirs.keys() == ours.keys()
    assert theirs == ours
    assert "- pip:\n      - -e .\n" in (ROOT / "environment.yml").read_text(encoding="utf-8")


def test_every_dependency_is_pinned_within_its_bounds():
    pinned = pins()
    for name, requirement in declared(*EXTRAS).items():
        assert name in pinned, f"{name} has no pin in constraints.txt"
        for version in pinned[name]:
            assert version in requirement.specifier, f"{name}=={version} is outside {requirement}"


def test_the_pins_are_portable():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert not [line for line in lines if not re.match(r"^[\w.-]+==[\w.]+( ; .+)?$", line)], "only name==version lines"
    assert not [line for line in lines if line.startswith(("nvidia-", "cuda-", "triton"))], "torch brings its own CUDA"
    assert [line for line in lines if line.startswith("torch==")], "the Makefile reads torch's pin here"
    assert tuple(map(int, pins()["jsonschema"][0].split(".")[:2])) < (4, 25), "slower to import by seconds"


def third_party() -> dict[str, str]:
    """Return the names that package, tests and notebooks import from elsewhere, each with one file that does."""
    sources = {}
    for path in [*(ROOT / "latentkit").rglob("*.py"), *(ROOT / "tests").glob("*.py")]:
        sources[path] = path.read_text(encoding="utf-8")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        sources[path] = "\n".join(line for line in code.splitlines() if not line.lstrip().startswith(("%", "!")))
    own = {"latentkit", *(p.stem for p in (ROOT / "tests").glob("*.py"))}
    found = {}
    for path, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - own - sys.stdlib_module_names:
                found[top] = path.name
    return found


def test_only_what_is_used_is_declared():
    used = third_party()
    for name in declared(*EXTRAS):
        module = IMPORTED.get(name, name.replace("-", "_"))
        assert module in used or name in USED_OTHERWISE, f"{name} is declared, but nothing imports it"
        assert not (module in used and name in USED_OTHERWISE), f"{name} is imported now: take it off USED_OTHERWISE"


def test_all_that_is_used_is_declared():
    names = {IMPORTED.get(name, name.replace("-", "_")) for name in declared(*EXTRAS)} | COMES_WITH.keys()
    missing = {name: file for name, file in third_party().items() if name not in names}
    assert not missing, f"imported, but not declared in pyproject.toml: {missing}"

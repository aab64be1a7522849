"""The floors of the house: an import points down, or sideways without a circle; two towers and one bridge."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "latentkit"

# module: (floor, third-party names it may import, at its top or inside a function)
HOUSE = {
    "": (0, set()),
    "presets": (0, set()),
    "presets.sizes": (0, set()),
    "presets.start": (0, set()),
    "presets.lccvae": (0, set()),
    "presets.llaae": (0, set()),
    "presets.levda": (0, set()),
    "presets.slams": (0, set()),
    "provenance": (0, set()),
    "atomic": (0, set()),
    "record": (0, {"numpy", "torch"}),
    "layout": (0, {"numpy", "xarray"}),
    "fields": (0, {"numpy", "xarray", "torch"}),
    "normalization": (0, {"numpy", "xarray"}),
    "cells": (0, {"numpy", "xarray"}),
    "testbeds": (0, set()),
    "testbeds.harmonics": (0, {"numpy", "torch"}),
    "testbeds.planet": (0, {"torch"}),
    "models": (0, set()),
    "localization": (0, {"torch"}),
    "finite": (0, {"torch"}),
    "spent": (0, {"psutil"}),
    "sphere": (0, {"numpy", "torch", "scipy"}),
    "models.nets": (0, {"torch"}),
    "models.train": (0, {"numpy", "torch", "tqdm"}),
    "models.weights": (1, {"torch", "safetensors"}),
    "models.cvae": (1, {"torch"}),
    "models.tied": (1, {"numpy", "torch"}),
    "models.modes": (0, {"numpy", "torch", "sklearn"}),
    "models.ldnet": (1, {"torch"}),
    "models.taught": (1, {"torch"}),
    "models.emulator": (0, {"torch"}),
    "models.surrogates": (1, {"torch"}),
    "models.extremes": (0, {"torch"}),
    "models.convolutions": (0, {"torch"}),
    "models.llaae": (1, {"torch"}),
    "models.components": (0, {"torch"}),
    "models.linear": (0, {"torch"}),
    "models.modal": (1, {"torch"}),
    "models.adjusting": (1, {"numpy", "torch"}),
    "pairs": (1, {"numpy", "torch"}),
    "models.resampling": (0, {"torch"}),
    "regional": (1, {"numpy"}),
    "models.tcvae": (1, {"torch"}),
    "models.smooth": (1, {"torch"}),
    "models.rivals": (1, {"torch"}),
    "models.growth": (0, {"torch"}),
    "models.stencils": (0, {"torch"}),
    "models.diffusion": (0, {"torch", "tqdm"}),
    "models.conjugate": (0, {"torch"}),
    "models.zonal": (0, {"torch"}),
    "models.conditioned": (0, {"torch"}),
    "models.readout": (0, {"torch"}),
    "assimilation.analyses": (1, {"torch"}),
    "assimilation.judged": (1, {"torch", "scoringrules"}),
    "models.denoiser": (0, {"torch"}),
    "models.autoencoder": (1, {"torch"}),
    "models.slams": (1, {"torch"}),
    "columns": (1, {"numpy", "torch"}),
    "assimilation.views": (0, {"torch"}),
    "models.downscaling": (1, {"torch"}),
    "models.chlorophyll": (1, {"torch"}),
    "models.waves": (1, {"torch"}),
    "models.started": (1, {"torch"}),
    "assimilation.anywhere": (1, {"torch"}),
    "models.published": (1, {"torch"}),
    "models.lstm": (0, {"torch"}),
    "models.sensors": (1, {"torch"}),
    "models.observers": (1, {"torch"}),
    "models.basis": (1, {"torch"}),
    "models.coupled": (1, {"torch"}),
    "assimilation.encoded": (1, {"torch"}),
    "assimilation.full_space": (1, {"torch"}),
    "testbeds.cases": (1, {"numpy", "torch", "scipy"}),
    "assimilation.latent": (1, {"torch"}),
    "assimilation.levda": (1, {"torch"}),
    "assimilation.twins": (1, {"torch"}),
    "assimilation.ranks": (0, {"torch"}),
    "assimilation.benchmarks": (1, {"torch"}),
    "assimilation.contest": (1, {"torch"}),
    "assimilation.dressing": (1, {"torch"}),
    "assimilation.gridding": (1, {"torch", "scipy"}),
    "assimilation.contenders": (1, {"torch"}),
    "assimilation.kriged": (1, {"torch"}),
    "assimilation.ablations": (1, {"torch"}),
    "assimilation.design": (1, {"torch"}),
    "models.completion": (0, {"torch"}),
    "testbeds.lorenz": (0, {"torch"}),
    "testbeds.rain": (0, {"torch"}),
    "assimilation": (0, set()),
    "assimilation.observations": (0, {"torch"}),
    "assimilation.interpolation": (0, {"torch"}),
    "assimilation.minimize": (0, {"torch"}),
    "assimilation.drivers": (1, {"torch"}),
    "assimilation.ensemble": (1, {"torch"}),
    "assimilation.inflation": (1, {"torch"}),
    "assimilation.etkf": (1, {"torch"}),
    "assimilation.enkf": (1, {"torch"}),
    "assimilation.gaussian": (1, {"torch"}),
    "assimilation.plain": (1, {"torch"}),
    "assimilation.particle": (1, {"torch"}),
    "assimilation.ensf": (1, {"torch"}),
    "assimilation.envar": (1, {"torch"}),
    "assimilation.ienks": (1, {"torch"}),
    "assimilation.fourdvar": (1, {"torch"}),
    "models.latent_gp": (0, {"torch", "gpytorch", "sklearn"}),
    "models.interpolation": (0, {"numpy", "torch", "sklearn"}),
    "models.place_codes": (0, {"torch"}),
    "testbeds.kolmogorov": (0, {"torch"}),
    "testbeds.tsunami": (0, {"torch"}),
    "testbeds.plankton": (0, {"torch"}),
    "testbeds.sea": (0, {"torch"}),
    "testbeds.chlorophyll": (0, {"torch"}),
    "testbeds.joint": (0, {"torch"}),
    "sources": (1, set()),
    "sources.variables": (1, set()),
    "sources.archive": (1, {"numpy", "xarray"}),
    "sources.axes": (1, {"numpy", "xarray"}),
    "sources.canonical": (1, {"numpy", "xarray"}),
    "sources.joining": (1, {"numpy", "xarray"}),
    "sources.files": (1, {"numpy", "xarray", "cfgrib"}),
    "sources.climate_build": (1, {"numpy", "tqdm"}),
    "sources.climate_files": (1, {"numpy", "xarray"}),
    "sources.climate_check": (1, {"numpy", "xarray"}),
    "sources.climate_model": (1, {"numpy", "xarray", "jax", "jcm"}),
    "scores": (1, {"numpy", "xarray", "scipy", "scoringrules"}),
    "spectra": (1, {"numpy", "xarray"}),
    "fragmentation": (1, {"numpy", "scipy", "sklearn"}),
    "disentanglement": (1, {"numpy", "scipy", "sklearn"}),
    "realizations": (1, {"numpy"}),
    "tails": (1, {"numpy", "scipy"}),
    "tables": (1, {"pandas"}),
    "plots": (1, {"numpy", "matplotlib", "cmocean", "cartopy"}),
    "explore": (2, {"numpy", "matplotlib", "ipywidgets"}),
    "board": (2, {"ipywidgets", "traitlets"}),
    "catalog": (2, set()),
    "readme": (2, set()),
    "progress": (2, set()),
    "execute": (2, {"papermill", "nbclient", "nbformat", "nbstripout", "jupyter_client"}),
    "grid": (2, set()),
    "merging": (2, {"pandas"}),
    "results": (2, {"pandas", "pyarrow"}),
    "sweep": (2, {"distributed"}),
    "archive_command": (2, {"typer"}),
    "training_command": (2, {"typer"}),
    "runs": (2, {"typer"}),
}
BRIDGE = "fields"


def modules(package: Path) -> dict[str, Path]:
    """Return the files of a package by dotted name below it, "" for the package itself."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, name: str, package: str, known: set[str]) -> list[tuple[int, str]]:
    """Return (line, absolute dotted name) of every import in a file, those inside functions too."""
    found = []
    inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = [package, *filter(None, inside.split("."))]
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                below = full.partition(".")[2]
                found.append((node.lineno, full if base.split(".")[0] == package and below in known else base))
    return found


def violations(package: Path, house: dict[str, tuple[int, set[str]]], bridge: str) -> list[str]:
    """Return a sentence for each import that breaks a rule of the house."""
    files = modules(package)
    found = [f"{files[m].name}: module {m!r} stands on no floor; add it to HOUSE" for m in files if m not in house]
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        if name not in house:
            continue
        floor, allowed = house[name]
        graph[name], towers = set(), set()
        for line, full in imports(path, name, package.name, set(files)):
            where = f"{path.relative_to(package.parent)}:{line}: import of {full}"
            top, _, below = full.partition(".")
            if top in sys.stdlib_module_names:
                continue
            if top != package.name:
                towers |= {top} & {"torch", "xarray"}
                if top not in allowed:
                    found.append(f"{where}: {name or package.name} may import {sorted(allowed) or 'nothing'} besides")
            elif below in house:
                graph[name] |= {below} - {name}
                if house[below][0] > floor:
                    found.append(f"{where} points up, from floor {floor} to floor {house[below][0]}")
            elif below not in files:
                found.append(f"{where}: there is no such module")
        if len(towers) == 2 and name != bridge:
            found.append(f"{path.relative_to(package.parent)}: imports torch and xarray; only {bridge}.py may")
    return found + _circles(graph)


def _circles(graph: dict[str, set[str]]) -> list[str]:
    found, done = [], set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            found.append(f"imports in a circle: {' -> '.join([*trail[trail.index(name) :], name])}")
        elif name not in done:
            for below in sorted(graph.get(name, ())):
                walk(below, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        walk(name, ())
    return found


def test_the_house_stands():
    found = violations(PACKAGE, HOUSE, BRIDGE)
    assert not found, "\n" + "\n".join(found)


SMALL = {"": (0, set()), "low": (0, {"torch"}), "deep": (0, set()), "deep.in": (0, {"xarray"}), "high": (1, {"torch"})}


def tree(root: Path, **sources: str) -> Path:
    package = root / "house"
    (package / "deep").mkdir(parents=True)
    for name in ("__init__", "low", "high", "deep/__init__", "deep/in"):
        (package / f"{name}.py").write_text(sources.get(name.replace("/", "_"), "import json\n"))
    return package


@pytest.mark.parametrize(
    "sources, words",
    [
        ({"low": "from house import high\n"}, "low.py:1: import of house.high points up, from floor 0 to floor 1"),
        ({"low": "def f():\n    import house.high as h\n"}, "low.py:2: import of house.high points up"),
        ({"low": "from house.high import thing\n"}, "low.py:1: import of house.high points up"),
        ({"deep_in": "from ..high import thing\n"}, "in.py:1: import of house.high points up"),
        ({"deep_in": "from .. import high\n"}, "in.py:1: import of house.high points up"),
        ({"deep___init__": "from ..high import thing\n"}, "__init__.py:1: import of house.high points up"),
        ({"low": "import pandas\n"}, "low.py:1: import of pandas: low may import ['torch'] besides"),
        ({"low": "from house import deep\n", "deep___init__": "import house.low\n"}, "circle: deep -> low -> deep"),
        ({"high": "from house import lo\n", "low": "from house.nothing import x\n"}, "house.nothing: there is no such"),
    ],
)
def test_a_breach_is_found(tmp_path, sources, words):
    found = violations(tree(tmp_path, **sources), SMALL, "low")
    assert any(words in sentence for sentence in found), found


def test_a_sound_tree_passes(tmp_path):
    package = tree(tmp_path, high="from house.low import f\nfrom .deep import in_\n", low="import torch\n")
    assert violations(package, SMALL, "low") == []


def test_both_towers_only_on_the_bridge(tmp_path):
    house = SMALL | {"low": (0, {"torch", "xarray"})}
    package = tree(tmp_path, low="import torch\ndef f():\n    from xarray import Dataset\n")
    assert violations(package, house, "low") == []
    assert "only deep.py may" in violations(package, house, "deep")[0]


def test_a_new_module_needs_a_floor(tmp_path):
    package = tree(tmp_path)
    (package / "new.py").write_text("")
    assert "'new' stands on no floor" in violations(package, SMALL, "low")[0]


@pytest.mark.parametrize(
    "module, absent",
    [
        ("latentkit", {"numpy", "torch", "xarray", "pandas"}),
        ("latentkit.runs", {"numpy", "torch", "xarray", "pandas", "papermill", "distributed", "matplotlib"}),
    ],
)
def test_heavy_packages_wait_until_needed(module, absent):
    told = f"import {module}, sys; print(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

"""Shared fixtures: where the data outside the project lie, a test's own folder for figures, a small project."""

import os
from pathlib import Path

import pytest
from tiny import NAME, write_notebook

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of small real data sets, or skip where it is absent."""
    folder = Path(os.environ.get("LATENTKIT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data sets at {folder.name}: set LATENTKIT_DATA to the folder that holds them")
    return folder


@pytest.fixture
def figures(tmp_path, monkeypatch) -> Path:
    """Send what a test saves to its own folder."""
    monkeypatch.setenv("LATENTKIT_FIGURES", str(tmp_path / "figures"))
    return tmp_path / "figures"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return the folder of a small project, for this process and the command."""
    monkeypatch.setenv("LATENTKIT_ROOT", str(tmp_path))
    monkeypatch.delenv("LATENTKIT_FIGURES", raising=False)
    write_notebook(tmp_path, NAME, "tiny_fig01")
    return tmp_path

"""Shared fixtures: where the data outside the project lie, and a test's own folder for figures."""

import os
from pathlib import Path

import pytest

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

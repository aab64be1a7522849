"""A run's streams are named and repeatable, its claims are judged by their rule, its figures carry their provenance."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from latentkit import presets, provenance
from latentkit.presets import preset
from latentkit.record import Run, describe

KEYS = set(
    "figure caption notebook paper size preset overrides seed commit dirty inputs versions device data seconds "
    "peak_memory_mb created claims scores".split()
)


@pytest.fixture
def run(figures):
    return Run("00_start", preset("start", "quick"), 3, data={"name": "archive", "period": ["a", "b"], "sha256": "0"})


def drawn():
    fig = Figure(figsize=(2, 1))
    fig.subplots().plot([0, 1])
    return fig


def test_streams_depend_on_seed_and_name_alone(run, figures):
    same = Run("11_other", preset("start", "quick"), 3)
    assert torch.equal(torch.rand(4, generator=run.stream("init")), torch.rand(4, generator=same.stream("init")))
    assert np.array_equal(run.random("pick").random(4), same.random("pick").random(4))
    seeds = {run.stream_seed(name, copy) for name in ("init", "noise") for copy in range(3)}
    assert len(seeds) == 6


def test_copy_i_of_a_run_is_the_first_copy_of_the_next_seed(run):
    later = Run("00_start", run.preset, 5)
    assert run.stream_seed("init", 2) == later.stream_seed("init")


def test_figure_and_json_lie_side_by_side(run, figures):
    run.save(drawn(), "start_fig01", "A line\n  from 0 to 1.", formats=("png", "pdf"))
    path = figures / "quick" / "start_fig01.png"
    entry = json.loads(path.with_suffix(".json").read_text())
    assert path.exists() and path.with_suffix(".pdf").exists()
    assert set(entry) == KEYS
    assert entry["caption"] == "A line from 0 to 1." and entry["preset"]["latent_dim"] == 2
    assert not list(path.parent.glob("*.part"))


def test_equal_figures_have_equal_bytes(run):
    pictures = []
    for _ in range(2):
        run.save(drawn(), "start_fig01", "A line.")
        pictures.append((run.folder / "start_fig01.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_claims_are_judged_by_their_rule_and_written(run, capsys):
    run.save(drawn(), "start_fig01", "A line.")
    common = dict(rule="above one", figure="start_fig01")
    run.claim("a.high", "High.", [2, 3, 4.5], holds=lambda v: (v > 1).all(), paper=3, **common)
    run.claim("a.low", "Low.", [2, 3, 0.5], holds=lambda v: (v > 1).all(), **common)
    run.claim("a.open", "Open.", [2, 3, 0.5], holds=None, **common)
    run.claim("a.nan", "Lost.", [2, float("nan")], holds=True, **common)
    run.claim("a.inf", "Beyond.", float("inf"), holds=None, **common)
    run.score("error", [1, 2, 3], "K", figure="start_fig01")
    entry = json.loads((run.folder / "start_fig01.json").read_text())
    assert [c["verdict"] for c in entry["claims"]] == ["held", "not held", "not tested", "not held", "not tested"]
    high = entry["claims"][0]
    assert high["ours"] == pytest.approx(19 / 6, abs=1e-5) and high["spread"] == pytest.approx(1.258306, abs=1e-5)
    assert high["seeds"] == [3, 4, 5]
    assert entry["claims"][3]["ours"] is None
    assert entry["scores"] == {"error": {"value": 2.0, "spread": 1.0, "unit": "K"}}
    assert capsys.readouterr().out.splitlines()[0] == "held       a.high: 3.2 ± 1.3 (paper 3.0); rule: above one"


def test_a_claim_made_again_replaces_the_first(run):
    run.save(drawn(), "start_fig01", "A line.")
    for value in (0.0, 2.0):
        run.claim("a.high", "High.", value, rule="above one", holds=lambda v: v[0] > 1, figure="start_fig01")
    claims = json.loads((run.folder / "start_fig01.json").read_text())["claims"]
    assert [c["verdict"] for c in claims] == ["held"]
    assert describe(claims[0]) == "held       a.high: 2.0; rule: above one"


def test_mistakes_are_named(run):
    with pytest.raises(ValueError, match="has not saved .saved: none yet"):
        run.claim("a", "A.", 1.0, rule="r", holds=True, figure="start_fig09")
    with pytest.raises(ValueError, match="no caption"):
        run.save(drawn(), "start_fig01", " ")
    with pytest.raises(ValueError, match="'svg' of start_fig01; expected 'png' or 'pdf'"):
        run.save(drawn(), "start_fig01", "A line.", formats=("svg",))
    with pytest.raises(ValueError, match="seed is -1"):
        Run("00_start", run.preset, -1)


def test_inputs_key_changes_with_a_cell_and_with_an_imported_file(tmp_path, monkeypatch):
    package, notebooks = tmp_path / "latentkit", tmp_path / "notebooks"
    package.mkdir(), notebooks.mkdir()
    (package / "__init__.py").write_text("")
    (package / "near.py").write_text("from latentkit import far\n")
    (package / "far.py").write_text("X = 1\n")
    (package / "other.py").write_text("X = 1\n")
    monkeypatch.setenv("LATENTKIT_ROOT", str(tmp_path))
    monkeypatch.setattr(provenance, "PACKAGE", package)
    cell = {"cell_type": "code", "source": ["%matplotlib inline\n", "from latentkit import near"], "outputs": []}

    def key(size="quick", text=None):
        source = cell if text is None else cell | {"source": [text]}
        (notebooks / "01_a.ipynb").write_text(json.dumps({"cells": [source]}))
        return provenance.inputs_key("01_a", size)

    first = key()
    cell["outputs"] = [{"text": "new"}]
    (package / "other.py").write_text("X = 2\n")
    assert key() == first
    assert key("teaching") != first
    assert key(text="from latentkit import near, near") != first
    (package / "far.py").write_text("X = 2\n")
    assert key() != first
    assert provenance.inputs_key("02_b", "quick") is None


def test_inputs_key_holds_the_values_of_the_presets_that_are_named(tmp_path, monkeypatch):
    package, notebooks = tmp_path / "latentkit", tmp_path / "notebooks"
    (package / "presets").mkdir(parents=True), notebooks.mkdir()
    (package / "presets" / "__init__.py").write_text("from latentkit.presets import other\n")
    (package / "presets" / "other.py").write_text("X = 1\n")
    monkeypatch.setenv("LATENTKIT_ROOT", str(tmp_path))
    monkeypatch.setattr(provenance, "PACKAGE", package)
    source = ["from latentkit.presets import preset\n", 'P = preset("start", SIZE)']
    (notebooks / "01_a.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": source}]}))
    first = provenance.inputs_key("01_a", "quick")
    (package / "presets" / "other.py").write_text("X = 2  # of another paper\n")
    assert provenance.inputs_key("01_a", "quick") == first
    changed = [dataclasses.replace(p, steps=p.steps + 1) for p in presets.PRESETS["start"]]
    monkeypatch.setitem(presets.PRESETS, "start", tuple(changed))
    assert provenance.inputs_key("01_a", "quick") != first

"""The record of a run: named random streams, claims with their spread, scores, provenance, and saved figures.

A notebook makes one `Run`, asks it for every random number, states what it claims, and saves its figures through
it. Beside each PNG stands a json with all that is needed to make the figure again and to judge it.
"""

import hashlib
import json
import math
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from latentkit import provenance
from latentkit.atomic import replacing

VERDICTS = ("held", "not held", "not tested")
PACKAGES = ("latentkit", "numpy", "torch", "xarray", "matplotlib")


class Run:
    """Record one run of a notebook.

    notebook: its name, such as "11_lccvae_fragmentation"; preset: a frozen dataclass of `presets`; seed: the seed
    all streams grow from; data: the identity of the fields used (`sources.identity`), or a list of them;
    overrides: what the user changed in the preset.
    """

    def __init__(self, notebook: str, preset, seed: int, *, data=(), overrides: dict | None = None):
        if int(seed) != seed or seed < 0:
            raise ValueError(f"seed is {seed!r}; expected a whole number from 0 on")
        self.notebook, self.preset, self.seed = notebook, preset, int(seed)
        self.data = [data] if isinstance(data, dict) else list(data)
        self.overrides = dict(overrides or {})
        self.started = time.perf_counter()
        self.claims: dict[str, list[dict]] = {}
        self.scores: dict[str, dict] = {}
        self._records: dict[str, dict] = {}

    @property
    def folder(self) -> Path:
        """Return the folder that figures of this run go to."""
        root = os.environ.get("LATENTKIT_FIGURES") or provenance.project_root() / "figures"
        return Path(root) / self.preset.size

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of the models trained side by side: seed, seed + 1, ..."""
        return [self.seed + i for i in range(self.preset.seeds)]

    def stream_seed(self, name: str, copy: int = 0) -> int:
        """Return the integer seed of the stream `name` of one copy: equal seeds and names give equal numbers."""
        text = f"{self.seed + copy}/{name}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1

    def stream(self, name: str, copy: int = 0):
        """Return a torch generator (CPU) for one purpose, such as "init" or "noise"."""
        import torch

        return torch.Generator().manual_seed(self.stream_seed(name, copy))

    def random(self, name: str, copy: int = 0):
        """Return a numpy generator for one purpose."""
        import numpy as np

        return np.random.default_rng(self.stream_seed(name, copy))

    def claim(self, id: str, sentence: str, ours, *, rule: str, holds, figure: str, paper=None, seeds=None) -> str:
        """Judge a sentence by a stated rule and record the verdict; print one line; never raise for a failure.

        id: such as "lccvae.fragmentation"; sentence: the paper's, or the notebook's own; ours: one number or one a
        seed; rule: in words; holds: a bool, a callable of `ours` as an array, or None where this size cannot test
        it; figure: the saved figure it belongs to; paper: the paper's number; seeds: those `ours` was made with.
        """
        import numpy as np

        values = np.atleast_1d(np.asarray(ours, dtype=float))
        verdict = "not tested"
        if holds is not None:  # a number that could not be computed supports nothing
            finite = values.size and np.isfinite(values).all()
            verdict = "held" if finite and bool(np.all(holds(values) if callable(holds) else holds)) else "not held"
        if seeds is None:
            seeds = self.seeds[: values.size] if values.size > 1 else []
        mean = float(values.mean()) if values.size else float("nan")
        spread = float(values.std(ddof=1)) if values.size > 1 else None
        entry = {
            "id": id,
            "sentence": sentence,
            "rule": rule,
            "ours": _plain(mean),
            "spread": _plain(spread),
            "paper": None if paper is None else paper if isinstance(paper, str) else _plain(float(paper)),
            "seeds": [int(s) for s in seeds],
            "verdict": verdict,
        }
        self._known(figure, f"claim {id!r}")
        claims = self.claims.setdefault(figure, [])
        claims[:] = [c for c in claims if c["id"] != id] + [entry]
        self._write(figure)
        print(describe(entry))

    def score(self, name: str, ours, unit: str, *, figure: str) -> None:
        """Record a number (one, or one a seed) under a name, for tables and sweeps."""
        import numpy as np

        values = np.atleast_1d(np.asarray(ours, dtype=float))
        self._known(figure, f"score {name!r}")
        spread = float(values.std(ddof=1)) if values.size > 1 else None
        entry = {"value": _plain(float(values.mean())), "spread": _plain(spread), "unit": unit}
        self.scores.setdefault(figure, {})[name] = entry
        self._write(figure)

    def save(self, fig, figure: str, caption: str, *, formats: tuple[str, ...] = ("png",)) -> None:
        """Save a figure at 200 dpi with its provenance beside it.

        fig: a matplotlib figure; figure: its name, such as "lccvae_fig01"; caption: what it shows; formats: "png",
        and "pdf" on request. Claims and scores made later are added to the json.
        """
        for kind in formats:
            if kind not in ("png", "pdf"):
                raise ValueError(f"format {kind!r} of {figure}; expected 'png' or 'pdf'")
        if not caption.strip():
            raise ValueError(f"{figure} has no caption; say in a sentence what it shows")
        # A fixed creator keeps the bytes of two equal runs equal.
        for kind in dict.fromkeys(("png", *formats)):
            extra = {"Software": "latentkit"} if kind == "png" else {"Creator": "latentkit", "CreationDate": None}
            with replacing(self.folder / f"{figure}.{kind}") as part:
                fig.savefig(part, format=kind, dpi=200, bbox_inches="tight", metadata=extra)
        self._records[figure] = {"figure": figure, "caption": " ".join(caption.split()), **self._provenance()}
        self._write(figure)

    def _known(self, figure: str, what: str) -> None:
        if figure not in self._records:
            saved = ", ".join(self._records) or "none yet"
            raise ValueError(
                f"{what} belongs to {figure!r}, which this run has not saved (saved: {saved}); save it first"
            )

    def _provenance(self) -> dict:
        import dataclasses

        torch = sys.modules.get("torch")
        return {
            "notebook": self.notebook,
            "paper": self.preset.slug,
            "size": self.preset.size,
            "preset": dataclasses.asdict(self.preset),
            "overrides": self.overrides,
            "seed": self.seed,
            **provenance.git_state(self.notebook),
            "inputs": provenance.inputs_key(self.notebook, self.preset.size),
            "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
            "device": "cuda" if torch is not None and torch.cuda.is_initialized() else "cpu",
            "data": self.data,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _write(self, figure: str) -> None:
        entry = self._records[figure] | {
            "seconds": round(time.perf_counter() - self.started, 1),
            "peak_memory_mb": _peak_memory_mb(),
            "claims": self.claims.get(figure, []),
            "scores": self.scores.get(figure, {}),
        }
        with replacing(self.folder / f"{figure}.json") as part:
            part.write_text(json.dumps(entry, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def describe(claim: dict) -> str:
    """Return one line for a claim: verdict, id, our number and spread to two digits, the paper's, the rule."""
    paper = "" if claim["paper"] is None else f" (paper {claim['paper']})"
    return f"{claim['verdict']:10} {claim['id']}: {ours(claim)}{paper}; rule: {claim['rule']}"


def ours(claim: dict) -> str:
    """Return our number of a claim and its spread to two digits, or nothing where it was not computed."""
    if claim["ours"] is None:
        return "no number"
    return " ± ".join(f"{v:#.2g}".removesuffix(".") for v in (claim["ours"], claim["spread"]) if v is not None)


def _plain(value: float | None) -> float | None:
    """Return a float that json can carry and a person can read: six significant digits, None where it is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _peak_memory_mb() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no such count
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))

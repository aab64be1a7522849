"""Weights of one's own: kept in a folder, and found there again by their identity.

Not all weights that teaching needs are shipped: their room is limited. With the environment variable LATENTKIT_WEIGHTS
naming a folder, what was trained once is loaded the next time.
"""

import os
from collections.abc import Callable
from pathlib import Path

from torch import nn

from latentkit.models import weights
from latentkit.models.train import History


def obtain(
    model: nn.Module,
    name: str,
    identity: dict,
    fit: Callable[[nn.Module, Path], History],
    *,
    retrain: bool = False,
    half: bool = False,
) -> History:
    """Load the weights `name` from that folder where they have this identity; else do as `weights.obtain` does."""
    path = Path(os.environ.get("LATENTKIT_WEIGHTS") or ".") / f"{name}.safetensors"
    if not retrain and os.environ.get("LATENTKIT_WEIGHTS") and path.is_file():
        try:
            history = weights.load(model, path, identity)
        except weights.MismatchError:
            pass  # it will say that it trains anew, and why
        else:
            print(f"{name}: weights of one's own, trained in {history.seconds:.0f} s")
            return history
    return weights.obtain(model, name, identity, fit, retrain=retrain, half=half)

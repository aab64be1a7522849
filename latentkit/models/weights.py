"""Trained weights as safetensors, each tied to the preset, seeds and data it was made with.

A file's metadata carries its identity; loading it under another one is an error that lists the differences, never a
silent load. `obtain` is what a notebook calls: shipped weights where they fit, training where they do not, and a
printed line that says which.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from latentkit import provenance
from latentkit.atomic import replacing
from latentkit.models.train import History


class MismatchError(ValueError):
    """Say how the identity of weights differs from the one asked for; `where` names the entries."""

    def __init__(self, file: str, found: dict[str, str]):
        self.where = list(found)
        told = "; ".join(f"{where} is {phrase}" for where, phrase in found.items())
        super().__init__(f"weights {file} are of another training: {told}. Train anew (RETRAIN)")


def identity(preset, seeds, data: dict, *, only: Sequence[str] = (), **more) -> dict:
    """Return what weights depend on: the preset but for its size, the seeds, the data, what else is named.

    only: the fields of the preset that this training depends on, all if none are named.
    """
    fields = dataclasses.asdict(preset)
    fields = {k: fields[k] for k in ("slug", *(only or [k for k in fields if k not in ("slug", "size")]))}
    keep = {k: data.get(k) for k in ("name", "period", "sha256")}
    return json.loads(json.dumps({"preset": fields, "seeds": list(seeds), "data": keep, **more}))


def save(model: nn.Module, path: Path, identity: dict, history: History, *, half: bool = False) -> None:
    """Write a model's parameters, in half precision if half, and its training's history, with its identity."""
    from safetensors.torch import save_file

    state = {k: v.half() if half and v.is_floating_point() else v for k, v in model.state_dict().items()}
    tensors = {f"model/{k}": v.detach().cpu().contiguous() for k, v in state.items()}
    tensors |= {f"history/{k}": torch.from_numpy(v) for k, v in history.values.items()}
    about = {"identity": json.dumps(identity), "every": str(history.every), "seconds": f"{history.seconds:.1f}"}
    with replacing(path) as part:
        save_file(tensors, part, about)


def load(model: nn.Module, path: Path, identity: dict) -> History:
    """Load parameters into a model and return the history of their training.

    Raises MismatchError where the file was made with another identity, listing what differs.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        found = differences(json.loads(metadata.get("identity", "{}")), identity)
        if found:
            raise MismatchError(path.name, found)
        tensors = {k: file.get_tensor(k) for k in file.keys()}
    model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    model.eval()
    values = {k.removeprefix("history/"): v.numpy() for k, v in tensors.items() if k.startswith("history/")}
    return History(values, int(metadata["every"]), float(metadata["seconds"]))


def obtain(
    model: nn.Module,
    name: str,
    identity: dict,
    fit: Callable[[nn.Module, Path], History],
    *,
    retrain: bool = False,
    half: bool = False,
) -> History:
    """Load the weights `name`, shipped or one's own, where they have exactly this identity, else fit; print which.

    half: round trained parameters to half precision, in which they are shipped: half the bytes, and the same numbers
    from a model that was loaded as from one just trained.

    fit: called with the model and a checkpoint file that belongs to this identity alone, so that a training that was
    killed goes on; it is removed once the training is done.

    Weights of one's own are those in the folder that the environment variable LATENTKIT_WEIGHTS names, where it does:
    new ones are written to it, each identity to a file of its own, and found there the next time. The room for shipped
    weights is limited.
    """
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder, why = os.environ.get("LATENTKIT_WEIGHTS"), "shipped weights not wanted"
    own = Path(folder) / own_name(name, key) if folder else None
    if not retrain:
        found, why = _found(name, own, model, identity)
        if found is not None:
            print(f"{name}: {why}, trained in {found.seconds:.0f} s")
            return found
    checkpoint = provenance.project_root() / "runs" / "checkpoints" / f"{name}-{key}.pt"
    history = fit(model, checkpoint)
    checkpoint.unlink(missing_ok=True)
    if half:
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.data = tensor.data.half().float()
    print(f"{name}: trained anew ({why})")
    if own is not None:
        save(model, own, identity, history, half=half)
    return history


def own_name(name: str, key: str) -> str:
    """Return the file's name of weights of one's own."""
    return f"{name}-{key}.safetensors"


def shipped_name(own: str) -> str:
    """Return the name under which weights of one's own are shipped."""
    return own.removesuffix(".safetensors").rpartition("-")[0] + ".safetensors"


def _found(name: str, own: Path | None, model: nn.Module, identity: dict) -> tuple[History | None, str]:
    """Load shipped weights or one's own; return their history and whose they are, or None and why there are none."""
    from latentkit.sources import archive

    why = "none are shipped"
    try:
        return load(model, archive.weights(name), identity), "shipped weights"
    except FileNotFoundError:
        pass
    except MismatchError as error:
        why = f"the shipped ones differ in {', '.join(error.where)}"
    if own is not None and own.is_file():
        return load(model, own, identity), "weights of one's own"
    return None, why


def differences(found: dict, wanted: dict, path: str = "") -> dict[str, str]:
    """Return a phrase for each entry in which two nested dictionaries differ, by its dotted name."""
    phrases = {}
    for key in sorted(found.keys() | wanted.keys()):
        a, b, where = found.get(key), wanted.get(key), f"{path}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            phrases |= differences(a, b, f"{where}.")
        elif a != b:
            phrases[where] = f"{_short(a)} there and {_short(b)} here"
    return phrases


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else text[:20] + "…"
